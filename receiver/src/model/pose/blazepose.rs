//! BlazePose (Bazarevsky et al. 2020, arXiv 2006.10204): 33 body points in a square that is turned with the body.

use std::f32::consts::FRAC_PI_2;

use super::{Body, Canvas, Network, Outputs, Place, Skeleton, around};
use crate::model::{
    region::{Layout, Region},
    runtime::Element,
};

const SIDE: usize = 256;
/// Points that are given: those of the body, and some that tell where the next crop is.
const POINTS: usize = 39;
const BODY_POINTS: usize = 33;
/// The middle between the hips, and a point on the circle around the body, above the head.
const CENTRE: usize = 33;
const RIM: usize = 34;
/// Which of the 33 points are those of COCO.
const COCO: [usize; 17] = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28];
/// Upright, and lying on either side. Bodies upside down are rarer than evidence that errs that way.
const TURNS: [f32; 3] = [0.0, FRAC_PI_2, -FRAC_PI_2];
/// The crop is larger than the body's box or circle by this (MediaPipe, pose_landmark_by_roi).
const MARGIN: f32 = 1.25;

/// The outputs' names, which exporters choose.
struct Blazepose {
    points: String,
    score: String,
    /// A map of where each point is seen, where the file has it.
    maps: Option<String>,
}

pub(super) fn recognise(network: &Network) -> Option<Box<dyn Skeleton>> {
    let input = network.input();
    let (side, points) = (SIDE as i64, POINTS as i64);
    let takes = matches!(input.shape.as_slice(), [-1..=1, height, width, 3] if [*height, *width] == [side; 2]);
    let of_shape = |fits: &dyn Fn(&[i64]) -> bool| {
        network.outputs().iter().find(|port| fits(&port.shape)).map(|port| port.name.clone())
    };
    let five = 5 * points;
    (takes && input.element == Element::Float).then_some(())?;
    Some(Box::new(Blazepose {
        points: of_shape(&|shape| matches!(shape, [-1..=1, length] if *length == five))?,
        score: of_shape(&|shape| matches!(shape, [-1..=1, 1]))?,
        maps: of_shape(&|shape| matches!(shape, [-1..=1, _, _, maps] if *maps == points)),
    }))
}

impl Skeleton for Blazepose {
    fn canvas(&self) -> Canvas {
        Canvas { width: SIDE, height: SIDE, layout: Layout::Packed, mean: [0.0; 3], deviation: [255.0; 3] }
    }

    fn outputs(&self) -> Vec<&str> {
        vec![&self.points, &self.score]
    }

    fn threshold(&self) -> f32 {
        0.5
    }

    fn region(&self, place: Place) -> Region {
        match place {
            Place::Box(rect) => Region::square(rect, MARGIN * rect[2].max(rect[3])),
            Place::Picture(rect) => Region::square(rect, rect[2].max(rect[3])),
        }
    }

    fn turns(&self) -> &[f32] {
        if self.maps.is_some() { &TURNS } else { &TURNS[..1] }
    }

    fn evidence(&self) -> Option<&str> {
        self.maps.as_deref()
    }

    /// The mean of the peaks of the 33 maps. Points are given for any turn, with a high score; the maps show where each
    /// is really seen, and have hardly a peak where the body does not stand upright in the crop.
    fn clarity(&self, outputs: &Outputs<'_>) -> Result<f32, String> {
        let Some(name) = &self.maps else { return Ok(0.0) };
        let (_, numbers) = outputs.floats(name)?;
        let mut peaks = [f32::NEG_INFINITY; POINTS];
        for cell in numbers.chunks_exact(POINTS) {
            for (peak, value) in peaks.iter_mut().zip(cell) {
                *peak = peak.max(*value);
            }
        }
        Ok(peaks[..BODY_POINTS].iter().map(|peak| sigmoid(*peak)).sum::<f32>() / BODY_POINTS as f32)
    }

    fn decode(&self, outputs: &Outputs<'_>, index: usize, region: &Region) -> Result<Body, String> {
        let (shape, numbers) = outputs.floats(&self.points)?;
        let (_, scores) = outputs.floats(&self.score)?;
        let numbers = numbers.get(5 * POINTS * index..).and_then(|rest| rest.get(..5 * POINTS));
        let (Some(numbers), Some(score)) = (numbers, scores.get(index)) else {
            return Err(format!("the model gave points {shape:?}"));
        };
        Ok(body(numbers, *score, region))
    }
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value.clamp(-60.0, 60.0)).exp())
}

/// The body of 39 points of five numbers each, in pixels of the crop.
fn body(numbers: &[f32], score: f32, region: &Region) -> Body {
    let side = SIDE as f32;
    let points: Vec<[f32; 5]> = numbers
        .chunks_exact(5)
        .map(|point| {
            let [x, y] = region.point(point[0] / side, point[1] / side);
            [x, y, point[2] / side * region.size[0], sigmoid(point[3]), sigmoid(point[4])]
        })
        .collect();
    let native = points[..BODY_POINTS].to_vec();
    let coco = COCO.map(|index| {
        let [x, y, _, visible, present] = native[index];
        [x, y, visible.min(present)]
    });
    let (centre, rim) = ([points[CENTRE][0], points[CENTRE][1]], [points[RIM][0], points[RIM][1]]);
    let (across, down) = (rim[0] - centre[0], rim[1] - centre[1]);
    let size = (2.0 * MARGIN * across.hypot(down)).max(1.0);
    Body {
        score,
        rect: around(native.iter().map(|point| [point[0], point[1]])),
        points: coco,
        native: Some(("blazepose", native)),
        next: Some(Region { centre, size: [size, size], angle: across.atan2(-down) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_come_from_the_crop_into_the_picture_and_the_next_crop_points_to_the_head() {
        let mut numbers = [128.0; 5 * POINTS];
        // The rim to the right of the centre in the crop.
        numbers[5 * RIM] = 128.0 + 64.0;
        numbers[3] = 10.0;
        let region = Region { centre: [100.0, 50.0], size: [512.0, 512.0], angle: 0.0 };
        let body = body(&numbers, 0.9, &region);
        assert_eq!(body.points[0][..2], [100.0, 50.0]);
        assert!(body.native.as_ref().unwrap().1[0][3] > 0.999);
        let next = body.next.unwrap();
        assert_eq!((next.centre, next.size), ([100.0, 50.0], [320.0, 320.0]));
        assert!((next.angle - FRAC_PI_2).abs() < 1e-6);
    }
}
