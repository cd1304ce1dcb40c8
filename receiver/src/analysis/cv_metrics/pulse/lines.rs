//! Arithmetic on equally spaced values: moving averages, normalisation, a hyperbolic tangent for whole series.

/// Below this deviation there is no signal to speak of.
const FLAT: f64 = 1e-9;

/// Subtracts from each place of `values` the mean over `window` places around it; beyond the ends count zeros.
/// `result` is replaced. Every channel by itself, all in one pass, since each sum waits for the one before.
pub(super) fn without_trend<const N: usize>(values: &[[f64; N]], window: usize, result: &mut Vec<[f64; N]>) {
    // Of an even window the longer half lies before, as in a centred convolution.
    let ahead = ((window - 1) / 2).min(values.len());
    let share = 1.0 / window as f64;
    let mut sum = sums(&values[..ahead], |value| value);
    let nothing = || std::iter::repeat(&[0.0; N]);
    let entering = values[ahead..].iter().chain(nothing());
    let leaving = nothing().take(window - ahead).chain(values);
    result.clear();
    result.extend(values.iter().zip(entering).zip(leaving).map(|((value, entering), leaving)| {
        sum = std::array::from_fn(|n| sum[n] + (entering[n] - leaving[n]));
        std::array::from_fn(|n| value[n] - sum[n] * share)
    }));
}

/// Mean and sample standard deviation of each channel of at least two `values`.
pub(super) fn moments<const N: usize>(values: &[[f64; N]]) -> [(f64, f64); N] {
    let means = sums(values, |value| value).map(|sum| sum / values.len() as f64);
    let squares = sums(values, |value| std::array::from_fn(|n| (value[n] - means[n]).powi(2)));
    std::array::from_fn(|n| (means[n], (squares[n] / (values.len() - 1) as f64).sqrt()))
}

/// Sums over each channel of what is made of `values`: four at once, each waiting for its own predecessor only.
fn sums<const N: usize>(values: &[[f64; N]], of: impl Fn([f64; N]) -> [f64; N]) -> [f64; N] {
    let add = |sum: [f64; N], more: [f64; N]| std::array::from_fn(|n| sum[n] + more[n]);
    let (fours, rest) = values.as_chunks::<4>();
    let parts = fours.iter().fold([[0.0; N]; 4], |parts, four| std::array::from_fn(|i| add(parts[i], of(four[i]))));
    let rest = rest.iter().fold([0.0; N], |sum, &value| add(sum, of(value)));
    add(add(add(parts[0], parts[1]), add(parts[2], parts[3])), rest)
}

/// Makes mean 0 and deviation 1 of each channel; `None` where one does not vary.
pub(super) fn normalise<const N: usize>(values: &mut [[f64; N]]) -> Option<()> {
    let moments = moments(values);
    if !moments.iter().all(|moments| moments.1 > FLAT) {
        return None;
    }
    let scales = moments.map(|moments| 1.0 / moments.1);
    for value in values {
        *value = std::array::from_fn(|n| (value[n] - moments[n].0) * scales[n]);
    }
    Some(())
}

/// The hyperbolic tangent of `factor` times each value, to 2e-16. Without branches, unlike the one of a system's
/// library, so that several are computed at once.
pub(super) fn tanh(values: &mut [[f64; 1]], factor: f64) {
    for [value] in values {
        *value = 1.0 - 2.0 / (exp((2.0 * factor * *value).clamp(-40.0, 40.0)) + 1.0);
    }
}

/// Coefficients of the exponential's series from 1/13! down; on ±ln 2 / 2 the rest is below 1e-17.
const SERIES: [f64; 14] = {
    let mut series = [1.0; 14];
    let mut degree = 13;
    while degree > 0 {
        // Place 13 - n holds 1/n!.
        let mut factorial = 1.0;
        let mut n = 1;
        while n <= degree {
            factorial *= n as f64;
            n += 1;
        }
        series[13 - degree] = 1.0 / factorial;
        degree -= 1;
    }
    series
};

/// The exponential of a number within ±700: 2ᵏ times the series of what is left.
fn exp(x: f64) -> f64 {
    /// Added to a number below 2⁵¹, its unit is the last bit of the sum, whose low bits then hold the nearest integer.
    const UNIT: f64 = 6_755_399_441_055_744.0;
    /// ln 2 in two parts; the first has zeros at its end, so that k times it is exact.
    const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];
    let shifted = x * std::f64::consts::LOG2_E + UNIT;
    let k = shifted - UNIT;
    let rest = (x - k * LN_2[0]) - k * LN_2[1];
    let series = SERIES.iter().fold(0.0, |sum, coefficient| sum * rest + coefficient);
    // The integer's low bits, moved to where a float keeps its exponent; what lies above them falls off.
    let power = (shifted.to_bits() << 52).wrapping_add(1023 << 52);
    series * f64::from_bits(power)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_trend_is_a_centred_convolution_with_zeros_beyond_the_ends(
            values in prop::collection::vec(-1.0..1.0f64, 1..80), window in 1..90usize,
        ) {
            let mut result = Vec::new();
            without_trend(values.as_chunks::<1>().0, window, &mut result);
            prop_assert_eq!(result.len(), values.len());
            for (index, [got]) in result.iter().enumerate() {
                let last = index + (window - 1) / 2;
                let around = (0..values.len()).filter(|other| *other <= last && other + window > last);
                let expected = values[index] - around.map(|other| values[other]).sum::<f64>() / window as f64;
                prop_assert!((got - expected).abs() < 1e-12, "{} is not {}", got, expected);
            }
        }

        #[test]
        fn the_tangent_is_that_of_the_library(value in -60.0..60.0f64, factor in 0.5..2.0f64) {
            let mut values = [[value], [-value], [value / 100.0]];
            tanh(&mut values, factor);
            for ([got], value) in values.into_iter().zip([value, -value, value / 100.0]) {
                prop_assert!((got - (factor * value).tanh()).abs() < 4e-16, "{value}: {got}");
            }
        }
    }

    #[test]
    fn normalised_channels_have_mean_0_and_deviation_1() {
        let mut values: Vec<[f64; 2]> = (0..37).map(|n| [f64::from(n), f64::from(n * n % 11) * 1e-3 + 5.0]).collect();
        normalise(&mut values).unwrap();
        for (mean, deviation) in moments(&values) {
            assert!(mean.abs() < 1e-12 && (deviation - 1.0).abs() < 1e-12);
        }
        assert_eq!(normalise(&mut [[1.0, 2.0], [2.0, 2.0]]), None, "the second does not vary");
    }
}
