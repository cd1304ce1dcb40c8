//! YuNet (Wu et al. 2023, doi 10.1007/s11633-023-1423-y): faces with five points.

use super::{Canvas, Decode, Network, Object, Outputs, planes};
use crate::model::letterbox::Fit;

const STRIDES: [u32; 3] = [8, 16, 32];
/// What is given at each stride.
const OUTPUTS: [[&str; 4]; 3] = [
    ["cls_8", "obj_8", "bbox_8", "kps_8"],
    ["cls_16", "obj_16", "bbox_16", "kps_16"],
    ["cls_32", "obj_32", "bbox_32", "kps_32"],
];

/// Boxes and points for every cell of three grids.
struct Yunet {
    width: u32,
    height: u32,
}

pub(super) fn recognise(network: &Network, side: Option<i64>) -> Option<Box<dyn Decode>> {
    let (width, height) = planes(network, side.unwrap_or(320))?;
    let whole = width.is_multiple_of(32) && height.is_multiple_of(32);
    let complete = OUTPUTS.as_flattened().iter().all(|name| network.output(name).is_some());
    (whole && complete).then(|| Box::new(Yunet { width, height }) as Box<dyn Decode>)
}

impl Decode for Yunet {
    fn canvas(&self) -> Canvas {
        let Self { width, height } = *self;
        Canvas { width, height, is_bgr: true, normal: (0.0, 1.0), fit: Fit::Inside(0) }
    }

    fn outputs(&self) -> Vec<&str> {
        OUTPUTS.as_flattened().to_vec()
    }

    fn labels(&self) -> Vec<String> {
        vec!["face".into()]
    }

    fn defaults(&self) -> (f32, f32) {
        (0.6, 0.3)
    }

    fn decode(&self, outputs: &Outputs<'_>, threshold: f32) -> Result<Vec<Object>, String> {
        let mut objects = Vec::new();
        for (stride, names) in STRIDES.into_iter().zip(OUTPUTS) {
            let columns = self.width / stride;
            let cells = (columns * (self.height / stride)) as usize;
            let numbers = |index: usize, each: usize| match outputs.floats(names[index])? {
                (_, numbers) if numbers.len() == each * cells => Ok(numbers),
                (shape, _) => Err(format!("the model gave {} {shape:?}", names[index])),
            };
            let (classes, likely, boxes, points) = (numbers(0, 1)?, numbers(1, 1)?, numbers(2, 4)?, numbers(3, 10)?);
            for cell in 0..cells {
                let score = (classes[cell] * likely[cell]).sqrt();
                if score >= threshold {
                    let place = [(cell as u32 % columns) as f32, (cell as u32 / columns) as f32];
                    let (rect, points) = (&boxes[4 * cell..][..4], &points[10 * cell..][..10]);
                    objects.push(face(rect, points, place, stride as f32, score));
                }
            }
        }
        Ok(objects)
    }
}

/// What a cell at `[column, row]` has found.
fn face(rect: &[f32], points: &[f32], [column, row]: [f32; 2], stride: f32, score: f32) -> Object {
    let [x, y] = [(column + rect[0]) * stride, (row + rect[1]) * stride];
    let [width, height] = [rect[2].exp() * stride, rect[3].exp() * stride];
    let points = points.chunks_exact(2).map(|point| [(point[0] + column) * stride, (point[1] + row) * stride]);
    Object { class: 0, score, rect: [x - width / 2.0, y - height / 2.0, width, height], points: points.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_a_face_and_its_points() {
        let found =
            face(&[0.5, 0.5, 0.0, 0.0], &[0.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [2.0, 1.0], 16.0, 0.7);
        assert_eq!(found.rect, [32.0, 16.0, 16.0, 16.0]);
        assert_eq!(found.points[..2], [[32.0, 32.0], [40.0, 24.0]]);
        assert_eq!(found.points.len(), 5);
    }
}
