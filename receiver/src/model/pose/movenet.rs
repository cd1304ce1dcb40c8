//! MoveNet single pose (Google 2021, tfhub.dev/google/movenet/singlepose): the 17 points of COCO.

use super::{Body, Canvas, Network, Outputs, Place, Skeleton, around};
use crate::model::{
    region::{Layout, Region},
    runtime::Element,
};

/// Points that tell where the next crop is are at least this sure (MoveNet's own demonstration).
const SURE: f32 = 0.2;
/// The crop is larger than the body by this.
const MARGIN: f32 = 1.5;

/// A square picture in, 17 points out: y, x and how sure, all from 0 to 1.
struct Movenet {
    side: usize,
    output: String,
}

pub(super) fn recognise(network: &Network) -> Option<Box<dyn Skeleton>> {
    let (input, [output]) = (network.input(), network.outputs()) else { return None };
    let &[-1..=1, height, width, 3] = input.shape.as_slice() else { return None };
    let side = usize::try_from(height).ok().filter(|side| height == width && (32..=1024).contains(side))?;
    (input.element != Element::Other && matches!(output.shape.as_slice(), [-1..=1, -1..=1, 17, 3]))
        .then(|| Box::new(Movenet { side, output: output.name.clone() }) as Box<dyn Skeleton>)
}

impl Skeleton for Movenet {
    fn canvas(&self) -> Canvas {
        let side = self.side;
        Canvas { width: side, height: side, layout: Layout::Packed, mean: [0.0; 3], deviation: [1.0; 3] }
    }

    fn outputs(&self) -> Vec<&str> {
        vec![&self.output]
    }

    fn threshold(&self) -> f32 {
        0.25
    }

    fn region(&self, place: Place) -> Region {
        match place {
            Place::Box(rect) => Region::square(rect, 1.25 * rect[2].max(rect[3])),
            Place::Picture(rect) => Region::square(rect, rect[2].max(rect[3])),
        }
    }

    fn decode(&self, outputs: &Outputs<'_>, index: usize, region: &Region) -> Result<Body, String> {
        let (shape, numbers) = outputs.floats(&self.output)?;
        let numbers = numbers.get(51 * index..).and_then(|rest| rest.get(..51));
        numbers.map(|numbers| body(numbers, region)).ok_or_else(|| format!("the model gave {shape:?}"))
    }
}

fn body(numbers: &[f32], region: &Region) -> Body {
    let mut points = [[0.0; 3]; 17];
    for (point, place) in points.iter_mut().zip(numbers.chunks_exact(3)) {
        let [x, y] = region.point(place[1], place[0]);
        *point = [x, y, place[2]];
    }
    let sure = around(points.iter().filter(|point| point[2] >= SURE).map(|point| [point[0], point[1]]));
    Body {
        score: points.iter().map(|point| point[2]).sum::<f32>() / 17.0,
        rect: around(points.iter().map(|point| [point[0], point[1]])),
        points,
        native: None,
        next: (sure[2] > 0.0).then(|| Region::square(sure, MARGIN * sure[2].max(sure[3]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_given_by_row_and_column() {
        let region = Region { centre: [50.0, 50.0], size: [100.0, 100.0], angle: 0.0 };
        let mut numbers = [0.5; 51];
        numbers[..3].copy_from_slice(&[0.25, 0.75, 0.9]);
        let body = body(&numbers, &region);
        assert_eq!(body.points[0], [75.0, 25.0, 0.9]);
        assert_eq!(body.next.unwrap().size, [37.5, 37.5]);
        assert!((body.score - (16.0 * 0.5 + 0.9) / 17.0).abs() < 1e-6);
    }
}
