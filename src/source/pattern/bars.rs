//! Colour bars that move, with the picture's number for people and for machines.

use cv_core::{
    geometry::Size,
    picture::{Picture, Pool, Range},
};

use super::{
    Kind, Moment, Painter,
    canvas::Canvas,
    colour::{self, BLACK, Colour, WHITE},
    font, number_code,
};

pub(super) const KIND: Kind = Kind {
    name: "bars",
    help: "moving colour bars with the picture's number and time",
    parameters: &[],
    open: |size, _| Ok(Box::new(Bars::new(size))),
};

/// Seconds in which the bars move once through the picture.
const LAP: f64 = 8.0;

/// Height of the smallest picture with a number for people, in pixels: below, a dot of a digit has no pixel.
const LEGIBLE: u32 = 48;

struct Bars {
    size: Size,
    bands: Vec<Band>,
    pool: Pool,
}

/// Rows of the test card that are all alike.
struct Band {
    /// Where it ends, as a share of the height.
    bottom: f64,
    /// Its row in Y, U and V, two laps long: what is seen at any time is a part of it.
    rows: [Vec<u8>; 3],
}

impl Band {
    fn new(lap: usize, bottom: f64, bars: &[Colour]) -> Self {
        let row = |plane: usize| {
            let lap = if plane == 0 { lap } else { lap / 2 };
            (0..2 * lap).map(|x| bars[x % lap * bars.len() / lap][plane]).collect()
        };
        Self { bottom, rows: [row(0), row(1), row(2)] }
    }
}

impl Bars {
    fn new(size: Size) -> Self {
        let lap = size.width().next_multiple_of(2) as usize;
        let bar = |red: u8, green: u8, blue: u8| colour::rgb(red * 191, green * 191, blue * 191);
        let (white, yellow, cyan, green) = (bar(1, 1, 1), bar(1, 1, 0), bar(0, 1, 1), bar(0, 1, 0));
        let (magenta, red, blue) = (bar(1, 0, 1), bar(1, 0, 0), bar(0, 0, 1));
        let ramp: Vec<Colour> = (0..32).map(|step| [16 + step * 7, 128, 128]).collect();
        let bands = vec![
            Band::new(lap, 0.67, &[white, yellow, cyan, green, magenta, red, blue]),
            Band::new(lap, 0.75, &[blue, BLACK, magenta, BLACK, cyan, BLACK, white]),
            Band::new(lap, 1.00, &ramp),
        ];
        Self { size, bands, pool: Pool::default() }
    }

    /// Even column of the strips at which the picture begins.
    fn start(&self, seconds: f64) -> usize {
        ((seconds / LAP).fract() * f64::from(self.size.width())) as usize & !1
    }

    /// The number in large digits and the time below it, on black.
    fn label(&self, canvas: &mut Canvas<'_>, moment: Moment) {
        let (width, height) = (self.size.width(), self.size.height());
        if height < LEGIBLE || width < LEGIBLE {
            return;
        }
        let (number, time) = (moment.number.to_string(), clock(moment.seconds));
        let room = width * 46 / 100;
        let dot = |text: &str, rows: u32| {
            let columns = (text.len() as u32).max(6) * font::ADVANCE;
            (room / columns).min(height * rows / 100 / font::ROWS).max(1)
        };
        let (large, small) = (dot(&number, 18), dot(&time, 8));
        let top = height * 24 / 100;
        let corner = |x: u32, y: u32| (f64::from(x & !1), f64::from(y & !1));
        canvas.rect(corner(width / 4, top), corner(width * 3 / 4, height * 58 / 100), BLACK);
        let left = |text: &str, dot: u32| (width.saturating_sub(text.len() as u32 * font::ADVANCE * dot)) / 2;
        font::write(canvas, &number, corner(left(&number, large), top + height * 3 / 100), large, WHITE);
        font::write(canvas, &time, corner(left(&time, small), top + height * 24 / 100), small, WHITE);
    }
}

/// Hours, minutes, seconds and milliseconds.
fn clock(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    format!("{hours}:{minutes:02}:{:02}.{:03}", millis / 1000 % 60, millis % 1000)
}

impl Painter for Bars {
    fn paint(&mut self, moment: Moment) -> Picture {
        let start = self.start(moment.seconds);
        let mut picture = self.pool.picture(self.size, Range::Limited);
        for (index, mut plane) in picture.planes_mut().into_iter().enumerate() {
            let (height, width) = (plane.height, plane.width);
            let start = if index == 0 { start } else { start / 2 };
            let mut top = 0;
            for band in &self.bands {
                let bottom = (height as f64 * band.bottom).round() as usize;
                let row = &band.rows[index][start..][..width];
                (top..bottom).for_each(|y| plane.row_mut(y).copy_from_slice(row));
                top = bottom;
            }
        }
        let mut canvas = Canvas::new(&mut picture);
        self.label(&mut canvas, moment);
        number_code::paint(&mut canvas, self.size, moment.number);
        picture.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_hours() {
        assert_eq!(clock(0.0), "0:00:00.000");
        assert_eq!(clock(3_600.0 * 25.0 + 61.5), "25:01:01.500");
    }

    #[test]
    fn the_bars_move_left_and_come_back() {
        let mut bars = Bars::new(Size::new(322, 182).unwrap());
        let mut row = |seconds| bars.paint(Moment { number: 0, seconds }).plane(0).row(2).to_vec();
        let (first, later, lap) = (row(0.0), row(1.0), row(LAP));
        assert_eq!(first[40..], later[..282]);
        assert_eq!(first, lap);
    }
}
