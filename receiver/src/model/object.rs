//! What detectors find.

use serde_json::{Value, json};

use crate::analysis::{bounds, rounded};

/// The most objects of a picture; behind them come weaker ones.
const MOST: usize = 300;

/// Something in a picture, in pixels of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Object {
    /// Which of the model's classes.
    pub(super) class: usize,
    /// How sure the model is, 0 to 1.
    pub(super) score: f32,
    /// Left, top, width and height; it may reach outside of the picture.
    pub(super) rect: [f32; 4],
    /// Points on it, where the model gives some.
    pub(super) points: Vec<[f32; 2]>,
}

impl Object {
    /// Whether it is one: finite, and not without extent.
    pub(super) fn is_real(&self) -> bool {
        let finite = self.rect.iter().chain(self.points.as_flattened()).all(|value| value.abs() < 1e6);
        finite && self.rect[2] > 0.0 && self.rect[3] > 0.0 && self.score.is_finite()
    }

    /// The form in findings.
    pub(super) fn to_json(&self, label: &str) -> Value {
        let mut object = json!({
            "label": label,
            "score": rounded(f64::from(self.score), 4),
            "box": self.rect.map(|value| rounded(f64::from(value), 2)),
        });
        if !self.points.is_empty() {
            let points: Vec<_> =
                self.points.iter().map(|point| point.map(|value| rounded(f64::from(value), 2))).collect();
            object["points"] = json!(points);
        }
        object
    }
}

/// The share that two rectangles have in common of what they cover together, 0 to 1.
pub(super) fn overlap(one: &[f32; 4], other: &[f32; 4]) -> f32 {
    bounds::overlap(one.map(f64::from), other.map(f64::from)) as f32
}

/// The strongest objects first, without those that cover more than `most` of a stronger one of their class
/// (non-maximum suppression).
pub(super) fn strongest(mut objects: Vec<Object>, most: f32) -> Vec<Object> {
    objects.retain(Object::is_real);
    objects.sort_by(|one, other| other.score.total_cmp(&one.score));
    let mut kept: Vec<Object> = Vec::new();
    for object in objects {
        if kept.len() == MOST {
            break;
        }
        let is_other = |known: &Object| known.class != object.class || overlap(&known.rect, &object.rect) <= most;
        if kept.iter().all(is_other) {
            kept.push(object);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(class: usize, score: f32, rect: [f32; 4]) -> Object {
        Object { class, score, rect, points: Vec::new() }
    }

    #[test]
    fn of_two_that_overlap_the_stronger_one_of_a_class_stays() {
        let rect = [0.0, 0.0, 10.0, 10.0];
        let near = [1.0, 0.0, 10.0, 10.0];
        let kept = strongest(vec![object(0, 0.5, rect), object(0, 0.9, near), object(1, 0.4, rect)], 0.45);
        assert_eq!(kept, [object(0, 0.9, near), object(1, 0.4, rect)]);
    }

    #[test]
    fn what_is_no_rectangle_is_left_out() {
        let nowhere = [[f32::NAN, 0.0, 1.0, 1.0], [0.0, 0.0, f32::INFINITY, 1.0], [0.0, 0.0, 0.0, 5.0]];
        assert!(strongest(nowhere.map(|rect| object(0, 0.9, rect)).to_vec(), 0.5).is_empty());
    }
}
