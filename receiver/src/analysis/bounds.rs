//! Boxes of findings: left, top, width and height in pixels of the picture.

use serde_json::Value;

/// Left, top, width, height.
pub(crate) type Bounds = [f64; 4];

/// `value` as a list of exactly so many numbers, four for a box.
pub(crate) fn numbers<const N: usize>(value: &Value) -> Option<[f64; N]> {
    let numbers: Vec<f64> = value.as_array()?.iter().map_while(Value::as_f64).collect();
    numbers.try_into().ok()
}

/// What two boxes share of what they cover together (intersection over union), 0 to 1.
pub(crate) fn overlap(one: Bounds, other: Bounds) -> f64 {
    let side = |axis: usize| {
        let end = (one[axis] + one[axis + 2]).min(other[axis] + other[axis + 2]);
        (end - one[axis].max(other[axis])).max(0.0)
    };
    let common = side(0) * side(1);
    let union = one[2] * one[3] + other[2] * other[3] - common;
    if union > 0.0 { common / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn overlap_is_the_common_share() {
        let bounds = [10.0, 10.0, 20.0, 20.0];
        assert_eq!(overlap(bounds, bounds), 1.0);
        assert_eq!(overlap(bounds, [30.0, 10.0, 20.0, 20.0]), 0.0);
        assert!((overlap(bounds, [20.0, 10.0, 20.0, 20.0]) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(overlap([0.0; 4], [0.0; 4]), 0.0);
    }

    #[test]
    fn a_box_has_four_numbers_and_nothing_else() {
        assert_eq!(numbers(&json!([1, 2, 3, 4.5])), Some([1.0, 2.0, 3.0, 4.5]));
        for nonsense in [json!([1, 2, 3]), json!([1, 2, "3", 4]), json!([1, 2, 3, 4, 5]), json!(null)] {
            assert_eq!(numbers::<4>(&nonsense), None, "{nonsense}");
        }
    }
}
