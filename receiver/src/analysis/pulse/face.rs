//! A face's box that stays where it is.

use super::{cells::Cells, skin::Skin};

/// Seconds of media time in which the box follows most of a movement.
const FOLLOW: f64 = 1.0;
/// Seconds for which the box stays where no face is found.
const KEEP: f64 = 1.0;

/// The face of a session. Its box follows what is found slowly, because a detector's box trembles.
#[derive(Default)]
pub(super) struct Face {
    /// Left, top, right and bottom as shares of the picture, and when that was last seen.
    steady: Option<([f64; 4], f64)>,
}

impl Face {
    /// The skin of the face in the picture at `time`; none where there is no face.
    pub(super) fn skin(&mut self, time: f64, cells: &Cells) -> Skin {
        let known = self.steady.filter(|(_, seen)| (0.0..=KEEP).contains(&(time - seen)));
        self.steady = match (cells.face.map(|face| face.map(f64::from)), known) {
            (Some(face), Some((steady, seen))) if near(&face, &steady) => {
                let share = 1.0 - (-(time - seen) / FOLLOW).exp();
                let moved = [0, 1, 2, 3].map(|side| steady[side] + (face[side] - steady[side]) * share);
                Some((moved, time))
            }
            (Some(face), _) => Some((face, time)),
            (None, known) => known,
        };
        self.steady.map_or(Skin { rgb: None, share: 0.0 }, |(face, _)| cells.inside(face))
    }
}

/// Whether two boxes may be of one face: the middle of each lies in the other.
fn near(one: &[f64; 4], other: &[f64; 4]) -> bool {
    let within = |inner: &[f64; 4], outer: &[f64; 4]| {
        let [x, y] = [(inner[0] + inner[2]) / 2.0, (inner[1] + inner[3]) / 2.0];
        (outer[0]..=outer[2]).contains(&x) && (outer[1]..=outer[3]).contains(&y)
    };
    within(one, other) && within(other, one)
}

#[cfg(test)]
mod tests {
    use cv_core::{geometry::Size, picture::Pool};
    use serde_json::json;

    use super::*;

    fn cells(left: Option<f64>) -> Cells {
        let black = Pool::default().picture(Size::new(100, 100).unwrap(), cv_core::picture::Range::Limited).freeze();
        let faces = left.map(|left| json!({ "objects": [{ "box": [left, 10.0, 40.0, 40.0] }] }));
        Cells::of(&black, &faces.unwrap_or_default()).unwrap()
    }

    fn left(face: &Face) -> Option<f64> {
        face.steady.map(|(face, _)| (face[0] * 1e6).round() / 1e6)
    }

    #[test]
    fn a_box_that_trembles_hardly_moves() {
        let mut face = Face::default();
        for picture in 0..300 {
            face.skin(f64::from(picture) / 30.0, &cells(Some(20.0 + f64::from(picture % 2) * 2.0)));
        }
        assert!((left(&face).unwrap() - 0.21).abs() < 0.001, "{:?}", left(&face));
    }

    #[test]
    fn another_face_is_taken_at_once_and_none_is_kept_for_a_second() {
        let mut face = Face::default();
        face.skin(0.0, &cells(Some(0.0)));
        face.skin(0.1, &cells(Some(60.0)));
        assert_eq!(left(&face), Some(0.6));
        face.skin(1.0, &cells(None));
        assert_eq!(left(&face), Some(0.6));
        face.skin(1.2, &cells(None));
        assert_eq!(left(&face), None);
    }

    #[test]
    fn times_that_go_back_or_are_no_numbers_begin_anew() {
        let mut face = Face::default();
        for time in [5.0, 3.0, f64::NAN, f64::INFINITY, 7.0] {
            face.skin(time, &cells(Some(20.0)));
            assert_eq!(left(&face), Some(0.2));
        }
    }
}
