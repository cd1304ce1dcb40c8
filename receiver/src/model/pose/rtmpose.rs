//! RTMPose (Jiang et al. 2023, arXiv 2303.07399): 17 points, each a column and a row out of finely divided axes (SimCC).

use super::{Body, Canvas, Network, Outputs, Place, Skeleton, around};
use crate::model::{
    region::{Layout, Region},
    runtime::Element,
};

/// The crop is larger than the person's box by this (mmpose, GetBBoxCenterScale).
const MARGIN: f32 = 1.25;
const COLUMNS: &str = "simcc_x";
const ROWS: &str = "simcc_y";
/// Points that tell where the next crop is are at least this sure.
const SURE: f32 = 0.3;

struct Rtmpose {
    width: usize,
    height: usize,
}

pub(super) fn recognise(network: &Network) -> Option<Box<dyn Skeleton>> {
    let input = network.input();
    let &[_, 3, height, width] = input.shape.as_slice() else { return None };
    let length = |length: i64| usize::try_from(length).ok().filter(|length| (32..=2048).contains(length));
    let (width, height) = (length(width)?, length(height)?);
    let seventeen = |name| network.output(name).is_some_and(|port| matches!(port.shape.as_slice(), [_, 17, _]));
    (input.element == Element::Float && seventeen(COLUMNS) && seventeen(ROWS))
        .then(|| Box::new(Rtmpose { width, height }) as Box<dyn Skeleton>)
}

impl Rtmpose {
    /// The smallest region of the network's proportions around a rectangle, with a margin.
    fn region_around(&self, rect: [f32; 4], margin: f32) -> Region {
        let ratio = self.width as f32 / self.height as f32;
        let width = rect[2].max(rect[3] * ratio) * margin;
        Region { size: [width, width / ratio], ..Region::square(rect, 0.0) }
    }
}

impl Skeleton for Rtmpose {
    fn canvas(&self) -> Canvas {
        Canvas {
            width: self.width,
            height: self.height,
            layout: Layout::Planes,
            mean: [123.675, 116.28, 103.53],
            deviation: [58.395, 57.12, 57.375],
        }
    }

    fn outputs(&self) -> Vec<&str> {
        vec![COLUMNS, ROWS]
    }

    fn threshold(&self) -> f32 {
        0.3
    }

    fn region(&self, place: Place) -> Region {
        match place {
            Place::Box(rect) => self.region_around(rect, MARGIN),
            Place::Picture(rect) => self.region_around(rect, 1.0),
        }
    }

    fn decode(&self, outputs: &Outputs<'_>, index: usize, region: &Region) -> Result<Body, String> {
        let axis = |name| {
            let (shape, numbers) = outputs.floats(name)?;
            let bins = shape.last().and_then(|bins| usize::try_from(*bins).ok()).filter(|bins| *bins > 0);
            let own = bins.and_then(|bins| Some((bins, numbers.get(17 * bins * index..)?.get(..17 * bins)?)));
            own.ok_or_else(|| format!("the model gave {name} {shape:?}"))
        };
        let (columns, rows) = (axis(COLUMNS)?, axis(ROWS)?);
        let mut points = [[0.0; 3]; 17];
        for (index, point) in points.iter_mut().enumerate() {
            let (across, down) = (peak(columns, index), peak(rows, index));
            let [x, y] = region.point(across.0, down.0);
            *point = [x, y, across.1.min(down.1)];
        }
        Ok(self.body(points))
    }
}

/// Where along an axis point `index` is, 0 to 1, and how sure that is.
fn peak((bins, numbers): (usize, &[f32]), index: usize) -> (f32, f32) {
    let own = &numbers[index * bins..][..bins];
    let best = own.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
    let (at, value) = best.map_or((0, 0.0), |(at, value)| (at, *value));
    (at as f32 / bins as f32, value.clamp(0.0, 1.0))
}

impl Rtmpose {
    fn body(&self, points: [[f32; 3]; 17]) -> Body {
        let sure = around(points.iter().filter(|point| point[2] >= SURE).map(|point| [point[0], point[1]]));
        Body {
            score: points.iter().map(|point| point[2]).sum::<f32>() / 17.0,
            rect: around(points.iter().map(|point| [point[0], point[1]])),
            points,
            native: None,
            // Points lie inside of a body's box.
            next: (sure[2] > 0.0).then(|| self.region_around(sure, MARGIN * 1.1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_where_its_axis_has_its_peak() {
        let numbers = [0.0, 0.1, 0.7, 0.0, 0.0, 0.0, 0.0, 3.0];
        assert_eq!(peak((4, &numbers), 0), (0.5, 0.7));
        assert_eq!(peak((4, &numbers), 1), (0.75, 1.0));
    }

    #[test]
    fn a_region_has_the_proportions_of_the_network() {
        let rtmpose = Rtmpose { width: 192, height: 256 };
        let tall = rtmpose.region(Place::Box([10.0, 10.0, 30.0, 120.0]));
        assert_eq!((tall.centre, tall.size), ([25.0, 70.0], [112.5, 150.0]));
        let wide = rtmpose.region(Place::Box([0.0, 0.0, 120.0, 30.0]));
        assert_eq!(wide.size, [150.0, 200.0]);
    }
}
