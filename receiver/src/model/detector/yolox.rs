//! YOLOX (Ge et al. 2021, arXiv 2107.08430): objects of 80 or any other number of classes, without anchors.

use super::{Canvas, Decode, Network, Object, Outputs, coco, fits, planes};
use crate::model::letterbox::Fit;

const STRIDES: [u32; 3] = [8, 16, 32];

/// Boxes for every cell of three grids: centre, size, how likely there is an object, how likely of each class.
struct Yolox {
    width: u32,
    height: u32,
    output: String,
    classes: usize,
}

pub(super) fn recognise(network: &Network, side: Option<i64>) -> Option<Box<dyn Decode>> {
    let (width, height) = planes(network, side.unwrap_or(416))?;
    let [output] = network.outputs() else { return None };
    let &[_, _, numbers] = output.shape.as_slice() else { return None };
    let classes = usize::try_from(numbers).ok()?.checked_sub(5).filter(|classes| *classes > 0)?;
    let whole = width.is_multiple_of(32) && height.is_multiple_of(32);
    (whole && fits(&output.shape, &[1, cells(width, height), -1]))
        .then(|| Box::new(Yolox { width, height, output: output.name.clone(), classes }) as Box<dyn Decode>)
}

fn cells(width: u32, height: u32) -> i64 {
    STRIDES.iter().map(|stride| i64::from(width / stride) * i64::from(height / stride)).sum()
}

impl Decode for Yolox {
    fn canvas(&self) -> Canvas {
        let Self { width, height, .. } = *self;
        Canvas { width, height, is_bgr: true, normal: (0.0, 1.0), fit: Fit::Inside(114) }
    }

    fn outputs(&self) -> Vec<&str> {
        vec![&self.output]
    }

    fn labels(&self) -> Vec<String> {
        match self.classes {
            80 => coco::LABELS.map(str::to_owned).to_vec(),
            classes => (0..classes).map(|class| format!("class-{class}")).collect(),
        }
    }

    fn defaults(&self) -> (f32, f32) {
        (0.3, 0.45)
    }

    fn decode(&self, outputs: &Outputs<'_>, threshold: f32) -> Result<Vec<Object>, String> {
        let (shape, numbers) = outputs.floats(&self.output)?;
        let length = 5 + self.classes;
        if !fits(shape, &[1, cells(self.width, self.height), length as i64]) {
            return Err(format!("the model gave {shape:?}"));
        }
        let mut objects = Vec::new();
        let mut boxes = numbers.chunks_exact(length);
        for stride in STRIDES {
            let (columns, rows) = (self.width / stride, self.height / stride);
            for (index, cell) in boxes.by_ref().take((columns * rows) as usize).enumerate() {
                let index = index as u32;
                let place = [(index % columns) as f32, (index / columns) as f32];
                objects.extend(object(cell, place, stride as f32, threshold));
            }
        }
        Ok(objects)
    }
}

/// The object that a cell at `[column, row]` has found, if its score is enough.
fn object(cell: &[f32], [column, row]: [f32; 2], stride: f32, threshold: f32) -> Option<Object> {
    let (likely, classes) = (cell[4], &cell[5..]);
    // No class makes it more likely than that, and most cells end here. What is no number ends here, too.
    if likely.is_nan() || likely < threshold {
        return None;
    }
    let (class, best) = classes.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1))?;
    let score = likely * best;
    (score >= threshold).then(|| {
        let [x, y] = [(cell[0] + column) * stride, (cell[1] + row) * stride];
        let [width, height] = [cell[2].exp() * stride, cell[3].exp() * stride];
        Object { class, score, rect: [x - width / 2.0, y - height / 2.0, width, height], points: Vec::new() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_tells_a_box_around_itself() {
        let cell = [0.5, 0.25, 2f32.ln(), 4f32.ln(), 0.9, 0.1, 0.8];
        let found = object(&cell, [3.0, 1.0], 8.0, 0.3).unwrap();
        assert_eq!((found.class, found.score), (1, 0.9 * 0.8));
        let expected = [28.0 - 8.0, 10.0 - 16.0, 16.0, 32.0];
        assert!(found.rect.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-4), "{:?}", found.rect);
    }

    #[test]
    fn what_is_unlikely_or_no_number_is_nothing() {
        for cell in
            [[0.0, 0.0, 0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0, f32::NAN, 1.0], [0.0, 0.0, 0.0, 0.0, 1.0, 0.2]]
        {
            assert_eq!(object(&cell, [0.0, 0.0], 8.0, 0.3), None);
        }
    }

    #[test]
    fn three_grids_have_the_known_number_of_cells() {
        assert_eq!((cells(416, 416), cells(640, 640)), (3549, 8400));
    }
}
