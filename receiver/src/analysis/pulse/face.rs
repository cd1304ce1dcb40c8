//! The face in which skin is looked for, where another analyzer finds faces.

use cv_core::geometry::{Rect, Size};
use serde_json::Value;

/// The first of a finding's `objects`, which is the surest one, as far as it lies in the picture; at least two pixels
/// wide and high, at even places, as chroma wants it.
pub(super) fn surest(finding: &Value, picture: Size) -> Option<Rect> {
    let sides: Vec<f64> = finding["objects"][0]["box"].as_array()?.iter().filter_map(Value::as_f64).collect();
    let &[left, top, width, height] = sides.as_slice() else { return None };
    let (x, width) = inside(left, width, picture.width())?;
    let (y, height) = inside(top, height, picture.height())?;
    Some(Rect { x, y, size: Size::new(width, height).ok()? })
}

/// Where a side begins, and its length, in even pixels of a picture of `most`.
fn inside(begin: f64, length: f64, most: u32) -> Option<(u32, u32)> {
    let even = |place: f64| (place.clamp(0.0, f64::from(most)) / 2.0).round() as u32 * 2;
    let (begin, end) = (even(begin), even(begin + length).min(most / 2 * 2));
    end.checked_sub(begin).filter(|length| *length >= 2).map(|length| (begin, length))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn surest_in(finding: &Value, width: u32, height: u32) -> Option<(u32, u32, u32, u32)> {
        let Rect { x, y, size } = surest(finding, Size::new(width, height).unwrap())?;
        Some((x, y, size.width(), size.height()))
    }

    #[test]
    fn the_first_face_counts_as_far_as_it_lies_in_the_picture() {
        let faces = json!({"objects": [{"box": [10.2, 20.9, 30.0, 40.0]}, {"box": [0, 0, 5, 5]}]});
        assert_eq!(surest_in(&faces, 100, 100), Some((10, 20, 30, 40)));
        let outside = json!({"objects": [{"box": [-10.0, 90.0, 30.0, 40.0]}]});
        assert_eq!(surest_in(&outside, 101, 101), Some((0, 90, 20, 10)));
    }

    #[test]
    fn what_is_no_face_in_the_picture_is_none() {
        for finding in [
            json!(null),
            json!({"objects": []}),
            json!({"objects": [{"box": [1, 2, 3]}]}),
            json!({"objects": [{"box": [500, 2, 30, 30]}]}),
            json!({"objects": [{"box": [5, 2, -30, 30]}]}),
            json!({"objects": [{"box": [1e300, 2, 1e300, 30]}]}),
        ] {
            assert_eq!(surest_in(&finding, 100, 100), None, "{finding}");
        }
        assert_eq!(surest_in(&json!({"objects": [{"box": [0, 0, 1, 1]}]}), 1, 1), None);
    }
}
