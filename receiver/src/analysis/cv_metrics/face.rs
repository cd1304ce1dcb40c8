//! Where the face is, by skin colour alone, held steady from frame to frame, and the mean colour of its skin.

use super::{
    pixels::Colours,
    scene::{Row, Scene},
};

/// The search goes so many steps to either side, across and down, of so many pixels.
const REACH: [i64; 2] = [4, 3];
const STEP: i64 = 2;
/// Boxes side by side, and one below the other.
const BOXES: [usize; 2] = [9, 7];

/// Cheeks, forehead and nose as parts of the region: left, top, right, bottom.
const PATCHES: [[f64; 4]; 4] =
    [[0.12, 0.40, 0.40, 0.76], [0.60, 0.40, 0.88, 0.76], [0.28, 0.14, 0.72, 0.34], [0.38, 0.44, 0.62, 0.66]];

/// The region that probably holds a face. Pairs are across and down, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Face {
    centre: [f64; 2],
    size: [f64; 2],
    /// How long skin has been seen, 0 to 1.
    stability: f64,
}

/// What the patches of a face show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Skin {
    /// Mean red, green and blue, 0 to 1, of the pixels that look like skin; of all where none does.
    pub colour: [f64; 3],
    /// Share of the pixels that look like skin, weakened where the face has not been steady: 0 to 100.
    pub coverage: f64,
}

impl Face {
    /// The face in `scene`, near where it was `before`.
    pub(super) fn find(scene: &Scene, before: Option<Self>) -> Self {
        let candidate = Candidate::of(scene);
        let mut face = match before {
            Some(face) => face.follow(&candidate, scene),
            None => {
                let stability = if candidate.seen { 0.45 } else { 0.0 };
                Self { centre: candidate.centre, size: candidate.size, stability }
            }
        };
        face.keep_inside(scene);
        face
    }

    /// Moves towards `candidate`, then towards the box with most skin.
    fn follow(self, candidate: &Candidate, scene: &Scene) -> Self {
        let (weight, gain) = if candidate.seen { (0.32, 0.28) } else { (0.08, 0.06) };
        let blend = |old: [f64; 2], new: [f64; 2]| [0, 1].map(|axis| old[axis] * (1.0 - weight) + new[axis] * weight);
        let (mut centre, size) = (blend(self.centre, candidate.centre), blend(self.size, candidate.size));
        // The boxes have whole, even sides.
        let middle = centre.map(|place| place.round_ties_even() as i64);
        let half = size.map(|side| (side / 2.0).round_ties_even() as i64);
        if let Some(shift) = richest(scene, middle, half) {
            centre = [0, 1].map(|axis| centre[axis] * 0.7 + (middle[axis] + shift[axis]) as f64 * 0.3);
        }
        Self { centre, size, stability: (0.72 * self.stability + gain).clamp(0.0, 1.0) }
    }

    /// Bounds the size, then the place; at last rounds the size to that of the region's pixels.
    fn keep_inside(&mut self, scene: &Scene) {
        const LEAST: [f64; 2] = [0.22, 0.28];
        const MOST: [f64; 2] = [0.70, 0.82];
        for (axis, side) in scene.sides().into_iter().enumerate() {
            let side = side as f64;
            let size = self.size[axis].clamp(LEAST[axis] * side, MOST[axis] * side);
            let margin = size / 2.0 + 1.0;
            // In pictures of a few pixels the margins meet; the upper one counts then.
            self.centre[axis] = self.centre[axis].max(margin).min(side - margin);
            self.size[axis] = size;
        }
        let [across, down] = self.region(scene);
        self.size = [across, down].map(|pixels| (pixels.1 - pixels.0) as f64);
    }

    /// The pixels of the region, across and down, from the first to before the last.
    fn region(&self, scene: &Scene) -> [(usize, usize); 2] {
        let sides = scene.sides();
        [0, 1].map(|axis| {
            let edge =
                |offset: f64| (self.centre[axis] + offset).round_ties_even().clamp(0.0, sides[axis] as f64) as usize;
            (edge(-self.size[axis] / 2.0), edge(self.size[axis] / 2.0))
        })
    }

    /// Colour and coverage of the patches.
    pub(super) fn skin(&self, scene: &Scene) -> Skin {
        let [across, down] = self.region(scene);
        let part = |(first, last): (usize, usize), share: f64| {
            ((first as f64 + (last - first) as f64 * share) as usize).min(last)
        };
        let patches = PATCHES.map(|[left, top, right, bottom]| {
            [part(across, left)..part(across, right), part(down, top)..part(down, bottom)]
        });
        let visit = |add: fn(&mut Colours, [&[u8]; 3])| {
            let mut colours = Colours::default();
            for [columns, rows] in &patches {
                for y in rows.clone() {
                    add(&mut colours, scene.row(y).colours.map(|samples| &samples[columns.clone()]));
                }
            }
            colours
        };
        let visited: usize = patches.iter().map(|[columns, rows]| columns.len() * rows.len()).sum();
        let accepted = visit(Colours::add_skin);
        let share = accepted.count as f64 / visited.max(1) as f64;
        let seen = if accepted.count > 0 { accepted } else { visit(Colours::add_all) };
        let colour = seen.sums.map(|sum| sum as f64 / seen.count.max(1) as f64 / 255.0);
        Skin { colour, coverage: 100.0 * share * (0.72 + 0.28 * self.stability) }
    }
}

/// Where a face would be by this picture alone.
struct Candidate {
    centre: [f64; 2],
    size: [f64; 2],
    /// By skin; else where faces usually are.
    seen: bool,
}

impl Candidate {
    fn of(scene: &Scene) -> Self {
        let (sums, [width, height]) = (scene.sums(), scene.sides().map(|side| side as f64));
        if (sums.skin as f64) < (width * height / 300.0).floor().max(36.0) {
            return Self { centre: [0.5 * width, 0.34 * height], size: [0.40 * width, 0.52 * height], seen: false };
        }
        let count = sums.skin as f64;
        let spread = |[sum, squares]: [u64; 2]| {
            let mean = sum as f64 / count;
            (mean, (squares as f64 / count - mean * mean).max(0.0).sqrt())
        };
        let [(x, spread_x), (y, spread_y)] = [spread(sums.columns), spread(sums.rows)];
        let size =
            [(spread_x * 3.4).clamp(0.24 * width, 0.66 * width), (spread_y * 3.8).clamp(0.30 * height, 0.78 * height)];
        Self { centre: [x, y], size, seen: true }
    }
}

/// The shift, in pixels, of the box with most skin among those about `middle` that lie inside the picture, the topmost
/// and then leftmost of equals. `None` if all leave it.
fn richest(scene: &Scene, middle: [i64; 2], half: [i64; 2]) -> Option<[i64; 2]> {
    if half[0].min(half[1]) <= 0 {
        return None;
    }
    let sides = scene.sides().map(|side| side as i64);
    let shifts = |axis: usize| (-REACH[axis]..=REACH[axis]).map(|steps| steps * STEP);
    let fits = |axis: usize, shift: i64| {
        let start = middle[axis] + shift - half[axis];
        start >= 0 && start + 2 * half[axis] <= sides[axis]
    };
    let [left, top] = [0, 1].map(|axis| middle[axis] - half[axis]);
    // Skin of all rows so far, by the boxes side by side; a box's skin is a difference.
    let reach = REACH[1] * STEP;
    let mut sums = [[[0u32; BOXES[0]]; 2]; BOXES[1]];
    let mut total = [0u32; BOXES[0]];
    for y in top - reach..=top + 2 * half[1] + reach {
        for (place, shift) in shifts(1).enumerate() {
            if y == top + shift {
                sums[place][0] = total;
            }
            if y == top + shift + 2 * half[1] {
                sums[place][1] = total;
            }
        }
        if (0..sides[1]).contains(&y) {
            let counts = side_by_side(&scene.row(y as usize), left, 2 * half[0]);
            total = std::array::from_fn(|place| total[place] + counts[place]);
        }
    }
    let mut best = None;
    for (row, down) in shifts(1).enumerate().filter(|(_, shift)| fits(1, *shift)) {
        for (column, across) in shifts(0).enumerate().filter(|(_, shift)| fits(0, *shift)) {
            let skin = sums[row][1][column] - sums[row][0][column];
            if best.is_none_or(|(most, _)| skin > most) {
                best = Some((skin, [across, down]));
            }
        }
    }
    best.map(|(_, shift)| shift)
}

/// Skin pixels of a row in the boxes side by side; `left` is where the middle one begins.
fn side_by_side(row: &Row<'_>, left: i64, width: i64) -> [u32; BOXES[0]] {
    let reach = REACH[0] * STEP;
    let mut count = row.count(left - reach, left - reach + width);
    // A step takes in the pixels on the right and gives up those on the left: each two of the sixteen about an edge.
    let (leaving, entering) = (row.bits(left - reach), row.bits(left - reach + width));
    let pair = |bits: u64, place: usize| (bits >> (2 * place) & 1) as u32 + (bits >> (2 * place + 1) & 1) as u32;
    std::array::from_fn(|place| {
        let here = count;
        count = count + pair(entering, place) - pair(leaving, place);
        here
    })
}

#[cfg(test)]
mod tests {
    use cv_core::geometry::Size;
    use proptest::prelude::*;

    use super::*;

    const SKIN: [u8; 3] = [200, 140, 110];

    /// A bluish picture with skin where `is_skin` says.
    fn scene(width: u32, height: u32, is_skin: impl Fn(i64, i64) -> bool) -> Scene {
        let places = (0..i64::from(height)).flat_map(|y| (0..i64::from(width)).map(move |x| (x, y)));
        let samples: Vec<u8> = places.flat_map(|(x, y)| if is_skin(x, y) { SKIN } else { [60, 80, 110] }).collect();
        Scene::read(&Scene::draw(Size::new(width, height).unwrap(), &samples)).unwrap()
    }

    /// The definition, box by box.
    fn naive(scene: &Scene, middle: [i64; 2], half: [i64; 2]) -> Option<[i64; 2]> {
        let sides = scene.sides().map(|side| side as i64);
        let mut best = None;
        for shift in (-6..=6).step_by(2).flat_map(|down| (-8..=8).step_by(2).map(move |across| [across, down])) {
            let [left, top] = [0, 1].map(|axis| middle[axis] + shift[axis] - half[axis]);
            let fits = left >= 0 && top >= 0 && left + 2 * half[0] <= sides[0] && top + 2 * half[1] <= sides[1];
            if half[0] <= 0 || half[1] <= 0 || !fits {
                continue;
            }
            let rows = (top..top + 2 * half[1]).map(|y| scene.row(y as usize).count(left, left + 2 * half[0]));
            let skin: u32 = rows.sum();
            if best.is_none_or(|(most, _)| skin > most) {
                best = Some((skin, shift));
            }
        }
        best.map(|best| best.1)
    }

    proptest! {
        #[test]
        fn the_richest_box_is_that_of_the_definition(
            (width, height) in (1..150u32, 1..60u32), seed in any::<i64>(),
            middle in [-10..160i64, -10..70i64], half in [-1..50i64, -1..30i64],
        ) {
            let scene = scene(width, height, |x, y| (x * 31 + y * 17 + (x * y) % 7 + seed % 1000) % 5 < 2);
            prop_assert_eq!(richest(&scene, middle, half), naive(&scene, middle, half));
        }
    }

    #[test]
    fn a_face_that_moves_is_followed() {
        let at = |centre: i64| scene(160, 120, move |x, y| ((x - centre).pow(2) * 3 + (y - 60).pow(2)) < 900);
        let mut face = Face::find(&at(50), None);
        for centre in 50..110 {
            face = Face::find(&at(centre), Some(face));
        }
        for _ in 0..40 {
            face = Face::find(&at(110), Some(face));
        }
        assert!((face.centre[0] - 110.0).abs() < 2.0 && (face.centre[1] - 60.0).abs() < 2.0, "{face:?}");
        assert!(face.stability > 0.99);
    }

    #[test]
    fn the_colour_is_that_of_the_skin_in_the_patches() {
        let scene = scene(160, 120, |x, y| (40..120).contains(&x) && (20..100).contains(&y) && x % 2 == 0);
        let skin = Face::find(&scene, None).skin(&scene);
        assert_eq!(skin.colour, SKIN.map(|sample| f64::from(sample) / 255.0));
        assert!((skin.coverage - 50.0 * (0.72 + 0.28 * 0.45)).abs() < 1.0, "{skin:?}");
    }

    #[test]
    fn without_skin_all_pixels_of_the_patches_count() {
        let scene = scene(160, 120, |_, _| false);
        let expected = Skin { colour: [60.0, 80.0, 110.0].map(|sample| sample / 255.0), coverage: 0.0 };
        assert_eq!(Face::find(&scene, None).skin(&scene), expected);
    }
}
