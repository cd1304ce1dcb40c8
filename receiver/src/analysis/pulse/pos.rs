//! From the colour of skin to its pulse: the plane orthogonal to skin (POS).
//!
//! Wang, den Brinker, Stuijk and de Haan 2017, "Algorithmic principles of remote PPG", IEEE Transactions on Biomedical
//! Engineering 64(7), algorithm 1: in every stretch of 1.6 s the colours are divided by their mean, projected on
//! two axes that light's intensity does not reach, and combined so that what is left of it cancels out; the stretches
//! are added up. Here the sum is divided by the number of stretches, so that both ends are as strong as the middle.

use super::trace::RATE;

/// Samples of a stretch: 1.6 s, which holds one beat from 38 beats a minute up.
pub(super) const STRETCH: usize = (1.6 * RATE) as usize;

/// The pulse signal of uniform `colours`, as a share of the skin's brightness around 0; empty where they
/// are shorter than a stretch.
pub(super) fn pulse(colours: &[[f64; 3]]) -> Vec<f64> {
    if colours.len() < STRETCH {
        return Vec::new();
    }
    let mut pulse = vec![0.0; colours.len()];
    for (start, stretch) in colours.windows(STRETCH).enumerate() {
        add_stretch(stretch, &mut pulse[start..][..STRETCH]);
    }
    let last = colours.len() - STRETCH;
    for (index, value) in pulse.iter_mut().enumerate() {
        let stretches = index.min(last) + 1 - (index + 1).saturating_sub(STRETCH);
        *value /= stretches as f64;
    }
    pulse
}

/// Adds the signal of one stretch to `sum`, without its mean.
fn add_stretch(colours: &[[f64; 3]], sum: &mut [f64]) {
    let count = colours.len() as f64;
    let mean = [0, 1, 2].map(|channel| colours.iter().map(|colour| colour[channel]).sum::<f64>() / count);
    let mut axes = [[0.0; 2]; STRETCH];
    let mut squares = [0.0; 2];
    for (axes, colour) in axes.iter_mut().zip(colours) {
        // Without its mean a normalised colour has none on either axis.
        let [r, g, b] = [0, 1, 2].map(|channel| colour[channel] / mean[channel] - 1.0);
        *axes = [g - b, g + b - 2.0 * r];
        squares = [squares[0] + axes[0] * axes[0], squares[1] + axes[1] * axes[1]];
    }
    let share = if squares[1] > 0.0 { (squares[0] / squares[1]).sqrt() } else { 0.0 };
    for (sum, [first, second]) in sum.iter_mut().zip(axes) {
        *sum += first + share * second;
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// Skin under light that is `light(seconds)`, with a pulse of 1.2 Hz and a green amplitude of `beat`.
    fn skin(beat: f64, light: impl Fn(f64) -> f64) -> Vec<[f64; 3]> {
        let colour = |step: usize| {
            let seconds = step as f64 / RATE;
            let wave = beat * (TAU * 1.2 * seconds).sin();
            [(180.0, 0.4), (130.0, 1.0), (100.0, 0.7)].map(|(mean, share)| mean * light(seconds) * (1.0 + share * wave))
        };
        (0..300).map(colour).collect()
    }

    fn rms(values: &[f64]) -> f64 {
        (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn a_pulse_comes_through_and_light_that_changes_ten_times_as_much_does_not() {
        let clean = pulse(&skin(0.005, |_| 1.0));
        let light = |seconds: f64| 1.0 + 0.05 * (TAU * 0.9 * seconds).sin();
        let lit = pulse(&skin(0.005, light));
        let difference: Vec<f64> = clean.iter().zip(&lit).map(|(one, other)| one - other).collect();
        assert!(rms(&clean) > 0.002, "{}", rms(&clean));
        assert!(rms(&difference) < 0.2 * rms(&clean), "{} {}", rms(&difference), rms(&clean));
    }

    #[test]
    fn both_ends_are_as_strong_as_the_middle() {
        let signal = pulse(&skin(0.005, |_| 1.0));
        let [start, middle, end] = [0, 125, 250].map(|from| rms(&signal[from..from + 50]));
        assert!((start / middle - 1.0).abs() < 0.2 && (end / middle - 1.0).abs() < 0.2, "{start} {middle} {end}");
    }

    #[test]
    fn still_skin_and_short_series_have_no_signal() {
        assert!(pulse(&[[180.0, 130.0, 100.0]; 200]).iter().all(|value| *value == 0.0));
        assert!(pulse(&[[180.0, 130.0, 100.0]; STRETCH - 1]).is_empty());
    }
}
