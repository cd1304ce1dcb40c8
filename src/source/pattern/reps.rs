//! A figure that squats: repetitions whose number and times are known.

use std::f64::consts::TAU;

use cv_core::{
    geometry::Size,
    picture::{Picture, Pool, Range},
};

use super::{
    Kind, Moment, Painter,
    canvas::{self, Canvas, Point},
    colour::{self, Colour},
    rate::Rate,
};

pub(super) const KIND: Kind = Kind {
    name: "reps",
    help: "a figure that squats, then ends (count=10: how often, period=2: seconds each, 0.2 to 60)",
    parameters: &["count", "period"],
    open: |size, parameters| {
        let count = parameters.number("count", 0..=100_000)?.unwrap_or(10);
        let period = parameters.number("period", 0.2..=60.0)?.unwrap_or(2.0);
        Ok(Box::new(Reps::new(size, count, period)))
    },
};

/// Seconds of standing still before the first repetition and after the last.
const STILL: f64 = 1.0;

/// Numbers of the pictures in which the figure of `reps:count=COUNT,period=PERIOD` is lowest, one a
/// repetition, at `fps` pictures a second.
pub fn rep_bottoms(count: u32, period: f64, fps: f64) -> Vec<u64> {
    (0..count).map(|index| ((STILL + (f64::from(index) + 0.5) * period) * fps).round() as u64).collect()
}

struct Reps {
    count: u32,
    period: f64,
    background: Picture,
    pool: Pool,
}

impl Reps {
    fn new(size: Size, count: u32, period: f64) -> Self {
        let pool = Pool::default();
        let (width, height) = (f64::from(size.width()), f64::from(size.height()));
        let background = canvas::picture(&pool, size, |canvas| {
            canvas.clear(colour::rgb(170, 176, 180));
            canvas.rect((0.0, height * 0.72), (width, height), colour::rgb(120, 104, 90));
            canvas.rect((width * 0.08, 0.0), (width * 0.10, height * 0.72), colour::rgb(150, 156, 160));
            canvas.rect((width * 0.88, 0.0), (width * 0.94, height * 0.72), colour::rgb(150, 156, 160));
        });
        Self { count, period, background, pool }
    }

    /// How deep the figure is, from 0 standing to 1.
    fn depth(&self, seconds: f64) -> f64 {
        let phase = (seconds - STILL) / self.period;
        if phase <= 0.0 || phase >= f64::from(self.count) { 0.0 } else { (1.0 - (TAU * phase).cos()) / 2.0 }
    }
}

impl Painter for Reps {
    fn paint(&mut self, moment: Moment) -> Picture {
        let size = self.background.size();
        let mut picture = self.pool.picture(size, Range::Limited);
        let mut canvas = Canvas::new(&mut picture);
        canvas.copy(&self.background);
        Figure::in_picture(size, self.depth(moment.seconds)).draw(&mut canvas);
        picture.freeze()
    }

    fn frames(&self, rate: Rate) -> Option<u64> {
        Some(((2.0 * STILL + f64::from(self.count) * self.period) * rate.fps()).round() as u64)
    }
}

/// A person seen from the front. Lengths are shares of the standing height, `y` up from the ground.
struct Figure {
    /// The point on the ground between the feet, in pixels.
    ground: Point,
    /// Standing height in pixels.
    height: f64,
    depth: f64,
}

impl Figure {
    /// One that stays inside the centred 70 % of the picture.
    fn in_picture(size: Size, depth: f64) -> Self {
        let (width, height) = (f64::from(size.width()), f64::from(size.height()));
        Self { ground: (width / 2.0, height * 0.82), height: (height * 0.64).min(width), depth }
    }

    fn at(&self, x: f64, y: f64) -> Point {
        (self.ground.0 + x * self.height, self.ground.1 - y * self.height)
    }

    /// A value that goes from one to another on the way down.
    fn between(&self, standing: f64, bottom: f64) -> f64 {
        standing + (bottom - standing) * self.depth
    }

    fn draw(&self, canvas: &mut Canvas<'_>) {
        let (skin, shirt, trousers) = (colour::rgb(201, 148, 121), colour::rgb(40, 84, 150), colour::rgb(48, 50, 58));
        let hip = self.between(0.50, 0.27);
        let shoulder = hip + self.between(0.31, 0.28);
        let hand = (self.between(0.19, 0.32), self.between(hip - 0.02, shoulder - 0.06));
        for side in [-1.0, 1.0] {
            let knee = (side * self.between(0.08, 0.17), self.between(0.27, 0.25));
            self.limb(canvas, [(side * 0.10, 0.02), (side * 0.14, 0.015)], 0.02, colour::BLACK);
            self.limb(canvas, [(side * 0.09, 0.04), knee], 0.035, trousers);
            self.limb(canvas, [knee, (side * 0.06, hip)], 0.05, trousers);
        }
        self.limb(canvas, [(-0.05, hip), (0.05, hip)], 0.06, trousers);
        canvas.rect(self.at(-0.11, shoulder), self.at(0.11, hip + 0.03), shirt);
        self.limb(canvas, [(0.0, shoulder), (0.0, shoulder + 0.06)], 0.03, skin);
        for side in [-1.0, 1.0] {
            let elbow = (side * self.between(0.20, 0.21), (shoulder - 0.03 + hand.1) / 2.0);
            self.limb(canvas, [elbow, (side * hand.0, hand.1)], 0.025, skin);
            self.limb(canvas, [(side * 0.12, shoulder - 0.03), elbow], 0.032, shirt);
        }
        let head = self.at(0.0, shoulder + 0.12);
        canvas.ellipse(head, (0.055 * self.height, 0.07 * self.height), skin);
    }

    fn limb(&self, canvas: &mut Canvas<'_>, [from, to]: [Point; 2], radius: f64, colour: Colour) {
        canvas.limb(self.at(from.0, from.1), self.at(to.0, to.1), radius * self.height, colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Topmost row with the colour of skin in the middle column: the head.
    fn head(picture: &Picture) -> usize {
        let skin = colour::rgb(201, 148, 121)[0];
        let luma = picture.luma();
        luma.column(luma.ncols() / 2).iter().position(|&sample| sample == skin).unwrap()
    }

    #[test]
    fn the_head_is_lowest_exactly_at_the_bottoms() {
        let rate = Rate::DEFAULT;
        let mut reps = Reps::new(Size::new(320, 180).unwrap(), 3, 1.5);
        let frames = reps.frames(rate).unwrap();
        assert_eq!(frames, 195);
        let heads: Vec<usize> =
            (0..frames).map(|number| head(&reps.paint(Moment { number, seconds: rate.seconds(number) }))).collect();
        let lowest = *heads.iter().max().unwrap();
        assert!(lowest > heads[0] + 20, "{heads:?}");
        assert_eq!((heads[0], heads[29], heads[194]), (heads[30], heads[0], heads[0]));
        for bottom in rep_bottoms(3, 1.5, rate.fps()) {
            assert_eq!(heads[bottom as usize], lowest);
        }
        let downs = heads.windows(2).filter(|pair| pair[0] < lowest && pair[1] == lowest).count();
        assert_eq!(downs, 3);
    }

    #[test]
    fn bottoms_lie_in_the_middle_of_each_repetition() {
        assert_eq!(rep_bottoms(3, 2.0, 30.0), [60, 120, 180]);
        assert_eq!(rep_bottoms(2, 2.0, 30_000.0 / 1001.0), [60, 120]);
        assert!(rep_bottoms(0, 2.0, 30.0).is_empty());
    }
}
