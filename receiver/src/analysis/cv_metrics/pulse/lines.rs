//! Arithmetic on equally spaced values: moving averages, normalisation, a hyperbolic tangent for whole series.

/// Below this deviation there is no signal to speak of.
const FLAT: f64 = 1e-9;

/// Subtracts from each place of `values` the mean over `window` places around it; beyond the ends count zeros.
/// `result` is replaced. Every channel by itself, all in one pass, since each sum waits for the one before.
pub(super) fn without_trend<const N: usize>(values: &[[f64; N]], window: usize, result: &mut Vec<[f64; N]>) {
    // Of an even window the longer half lies before, as in a centred convolution.
    let ahead = (window - 1) / 2;
    let mut sum = [0.0; N];
    for value in values.iter().take(ahead) {
        sum = std::array::from_fn(|n| sum[n] + value[n]);
    }
    result.clear();
    result.extend(values.iter().enumerate().map(|(index, value)| {
        if let Some(entering) = values.get(index + ahead) {
            sum = std::array::from_fn(|n| sum[n] + entering[n]);
        }
        if let Some(leaving) = (index + ahead).checked_sub(window).map(|leaving| values[leaving]) {
            sum = std::array::from_fn(|n| sum[n] - leaving[n]);
        }
        std::array::from_fn(|n| value[n] - sum[n] / window as f64)
    }));
}

/// Mean and sample standard deviation of each channel of at least two `values`.
pub(super) fn moments<const N: usize>(values: &[[f64; N]]) -> [(f64, f64); N] {
    let mut sums = [0.0; N];
    for value in values {
        sums = std::array::from_fn(|n| sums[n] + value[n]);
    }
    let means = sums.map(|sum| sum / values.len() as f64);
    let mut squares = [0.0; N];
    for value in values {
        squares = std::array::from_fn(|n| squares[n] + (value[n] - means[n]).powi(2));
    }
    std::array::from_fn(|n| (means[n], (squares[n] / (values.len() - 1) as f64).sqrt()))
}

/// Makes mean 0 and deviation 1 of each channel; `None` where one does not vary.
pub(super) fn normalise<const N: usize>(values: &mut [[f64; N]]) -> Option<()> {
    let moments = moments(values);
    if !moments.iter().all(|moments| moments.1 > FLAT) {
        return None;
    }
    for value in values {
        *value = std::array::from_fn(|n| (value[n] - moments[n].0) / moments[n].1);
    }
    Some(())
}

/// The hyperbolic tangent of `factor` times each value, to 2e-16. The same on every machine, unlike the one of a
/// system's library, and without branches, so that several are computed at once.
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
