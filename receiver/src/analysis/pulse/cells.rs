//! The skin of a picture, part by part, and the face in it: what is drawn from a picture where another analyzer finds
//! faces.
//!
//! A face's box trembles by some pixels from picture to picture, which moves the mean colour inside by more than a
//! pulse does. So the skin is measured in a grid over the whole picture here, and the fold, which knows the pictures
//! before, lays a steady box over the grid.

use cv_core::picture::{Picture, Range};
use serde_json::Value;

use super::skin::{FULL, Row, Rule, Skin, scaled};
use crate::analysis::bounds::numbers;

/// Cells across and down.
pub(super) const GRID: usize = 16;
const CELLS: usize = GRID * GRID;
/// The range, whether there is a face, its box, the most that a cell may weigh, and four sums for each cell, all with
/// the lowest byte first.
const BYTES: usize = 2 + 4 * 4 + 4 + CELLS * 4 * 4;

/// The skin in each cell of a grid over a picture, and the surest face.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cells {
    range: Range,
    /// Left, top, right and bottom, as shares of the picture's width and height.
    pub(super) face: Option<[f32; 4]>,
    /// What a cell weighs, on average, that is all skin.
    full: f32,
    /// The sums of weights, luma, Cb and Cr of each cell, row by row.
    sums: Vec<[u32; 4]>,
}

impl Cells {
    /// Those of a picture, with the first of a finding's `objects`, which is the surest one.
    ///
    /// # Errors
    /// If the finding has no objects with boxes.
    pub(super) fn of(picture: &Picture, finding: &Value) -> Result<Self, String> {
        let rule = Rule::of(picture.range());
        let [luma, cb, cr] = [0, 1, 2].map(|plane| picture.plane(plane));
        let (width, height) = (luma.width / 2, luma.height / 2);
        let mut sums = vec![[0u32; 4]; CELLS];
        for y in 0..height {
            let [above, below] = [0, 1].map(|row| luma.row(2 * y + row).as_chunks().0);
            let (cb, cr) = (cb.row(y), cr.row(y));
            let cells = &mut sums[y * GRID / height * GRID..][..GRID];
            for (column, cell) in cells.iter_mut().enumerate() {
                let part = column * width / GRID..(column + 1) * width / GRID;
                let row = Row {
                    above: &above[part.clone()],
                    below: &below[part.clone()],
                    cb: &cb[part.clone()],
                    cr: &cr[part],
                };
                for (sum, more) in cell.iter_mut().zip(rule.weigh(row)) {
                    *sum = sum.saturating_add(more);
                }
            }
        }
        let size = [picture.size().width(), picture.size().height()].map(|side| side as f32);
        let full = f32::from(FULL) * (width * height).max(1) as f32 / CELLS as f32;
        Ok(Self { range: picture.range(), face: face(finding, size)?, full, sums })
    }

    /// The form in which they are saved.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend([u8::from(self.range == Range::Full), u8::from(self.face.is_some())]);
        bytes.extend(self.face.unwrap_or_default().iter().flat_map(|side| side.to_le_bytes()));
        bytes.extend(self.full.to_le_bytes());
        bytes.extend(self.sums.as_flattened().iter().flat_map(|sum| sum.to_le_bytes()));
        bytes
    }

    /// What [`Self::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (Some(&[full, has_face]), Some(rest)) = (bytes.first_chunk(), bytes.get(2..BYTES)) else {
            return Err(format!("the features of pulse are {} bytes, not {BYTES}", bytes.len()));
        };
        let words: Vec<[u8; 4]> = rest.as_chunks().0.to_vec();
        let face = [0, 1, 2, 3].map(|side| f32::from_le_bytes(words[side]));
        let sums = words[5..].as_chunks().0.iter().map(|cell| cell.map(u32::from_le_bytes));
        Ok(Self {
            range: if full == 0 { Range::Limited } else { Range::Full },
            face: (has_face != 0 && is_box(&face)).then_some(face),
            full: Some(f32::from_le_bytes(words[4])).filter(|full| *full > 0.0).unwrap_or(1.0),
            sums: sums.collect(),
        })
    }

    /// The skin inside a box, in which each cell counts for as much as it is covered; its share is that of the box.
    pub(super) fn inside(&self, [left, top, right, bottom]: [f64; 4]) -> Skin {
        let covered = |from: f64, to: f64, cell: usize| {
            let begin = cell as f64 / GRID as f64;
            (to.min(begin + 1.0 / GRID as f64) - from.max(begin)).max(0.0) * GRID as f64
        };
        let (mut sums, mut cells) = ([0.0; 4], 0.0);
        for (index, cell) in self.sums.iter().enumerate() {
            let part = covered(left, right, index % GRID) * covered(top, bottom, index / GRID);
            cells += part;
            for (sum, value) in sums.iter_mut().zip(cell) {
                *sum += part * f64::from(*value);
            }
        }
        let share = if cells > 0.0 { (sums[0] / cells / f64::from(self.full)).min(1.0) } else { 0.0 };
        Skin { rgb: scaled(sums, self.range), share }
    }
}

/// The box of the first object that is a face, as shares of the picture; objects without a label are faces. None where
/// nothing was found.
fn face(finding: &Value, [width, height]: [f32; 2]) -> Result<Option<[f32; 4]>, String> {
    let objects = match (finding, &finding["objects"]) {
        (Value::Null, _) => return Ok(None),
        (_, Value::Array(objects)) => objects,
        _ => return Err("pulse looks for skin in objects as detect finds them, but there are no objects".into()),
    };
    let is_face = |object: &&Value| object["label"].as_str().is_none_or(|label| label == "face");
    let Some(object) = objects.iter().find(is_face) else { return Ok(None) };
    let bounds = numbers(&object["box"]).ok_or("a face has no box of four numbers, which pulse needs of detect")?;
    let [left, top, across, down] = bounds.map(|side| side as f32);
    let face = [left / width, top / height, (left + across) / width, (top + down) / height];
    Ok(is_box(&face).then(|| face.map(|side| side.clamp(0.0, 1.0))))
}

/// Whether some of it lies in the picture.
fn is_box([left, top, right, bottom]: &[f32; 4]) -> bool {
    left < right && top < bottom && *left < 1.0 && *top < 1.0 && *right > 0.0 && *bottom > 0.0
}

#[cfg(test)]
mod tests {
    use cv_core::{geometry::Size, picture::Pool};
    use serde_json::json;

    use super::*;
    use crate::analysis::pulse::skin;

    /// Skin of one colour on the left, of another on the right.
    fn picture(width: u32, height: u32) -> Picture {
        let mut picture = Pool::default().picture(Size::new(width, height).unwrap(), Range::Limited);
        for (index, mut plane) in picture.planes_mut().into_iter().enumerate() {
            for y in 0..plane.height {
                let half = plane.width / 2;
                let (left, right) = plane.row_mut(y).split_at_mut(half);
                left.fill([154, 108, 153][index]);
                right.fill([140, 110, 150][index]);
            }
        }
        picture.freeze()
    }

    fn faces(rect: [f64; 4]) -> Value {
        json!({ "objects": [{ "label": "face", "box": rect }] })
    }

    #[test]
    fn the_whole_picture_is_the_same_skin_as_without_cells() {
        let picture = picture(320, 240);
        let (cells, whole) =
            (Cells::of(&picture, &json!(null)).unwrap().inside([0.0, 0.0, 1.0, 1.0]), skin::measure(&picture));
        assert!((cells.share - whole.share).abs() < 1e-9);
        for (one, other) in cells.rgb.unwrap().into_iter().zip(whole.rgb.unwrap()) {
            assert!((one - other).abs() < 1e-9);
        }
    }

    #[test]
    fn a_box_counts_what_lies_in_it_alone() {
        let cells = Cells::of(&picture(320, 240), &json!(null)).unwrap();
        let [left, right] = [[0.1, 0.1, 0.5, 0.9], [0.5, 0.1, 0.93, 0.9]].map(|face| cells.inside(face).rgb.unwrap());
        assert!((left[0] - 201.0).abs() < 5.0 && left[0] - right[0] > 10.0, "{left:?} {right:?}");
    }

    #[test]
    fn the_first_face_counts_and_what_is_no_face_does_not() {
        let picture = picture(100, 200);
        assert_eq!(Cells::of(&picture, &faces([10.0, 20.0, 50.0, 300.0])).unwrap().face, Some([0.1, 0.1, 0.6, 1.0]));
        for nothing in
            [json!(null), json!({"objects": []}), faces([500.0, 0.0, 5.0, 5.0]), faces([5.0, 5.0, -9.0, 5.0])]
        {
            assert_eq!(Cells::of(&picture, &nothing).unwrap().face, None, "{nothing}");
        }
    }

    #[test]
    fn what_is_no_face_is_passed_over_and_what_is_no_finding_is_told() {
        let picture = picture(100, 100);
        let (person, face) =
            (json!({"label": "person", "box": [0, 0, 9, 9]}), json!({"label": "face", "box": [50, 0, 10, 10]}));
        assert_eq!(Cells::of(&picture, &json!({"objects": [person, face]})).unwrap().face, Some([0.5, 0.0, 0.6, 0.1]));
        for nonsense in [json!({"hello": 1}), json!(7), json!({"objects": [{"box": [1, 2, 3]}]})] {
            assert!(Cells::of(&picture, &nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn what_is_saved_comes_back_and_nothing_else_does() {
        let cells = Cells::of(&picture(33, 17), &faces([1.0, 2.0, 10.0, 10.0])).unwrap();
        assert_eq!(Cells::from_bytes(&cells.to_bytes()), Ok(cells));
        assert!(Cells::from_bytes(&[0; 100]).unwrap_err().contains("100 bytes"));
        assert_eq!(Cells::from_bytes(&[255; BYTES]).unwrap().face, None);
    }

    #[test]
    fn pictures_of_any_size_have_cells() {
        for (width, height) in [(1, 1), (2, 2), (3, 5), (33, 17), (4096, 2)] {
            let skin = Cells::of(&picture(width, height), &json!(null)).unwrap().inside([0.0, 0.0, 1.0, 1.0]);
            assert!((0.0..=1.0).contains(&skin.share), "{skin:?}");
        }
    }
}
