//! Mean colour of the skin in a picture, straight from its planes.
//!
//! Skin of any complexion lies in a small part of the chroma plane: Cb 77 to 127 and Cr 133 to 173 by Chai and Ngan
//! (1999, "Face segmentation using skin-color map in videophone applications", IEEE Transactions on Circuits and
//! Systems for Video Technology 9(4)). A sample's weight rises over a few levels inside these bounds instead of
//! jumping from 0 to 1, because a codec moves samples by a level or two from picture to picture: with a hard mask
//! they would come and go, and move the mean by more than a pulse does. What is nearly black or blown out has lost its
//! pulse and weighs nothing, too.
//!
//! Chroma is kept at half resolution, so each chroma sample is weighed with the mean of its four luma samples.
//! Means of Y, Cb and Cr become means of R, G and B by the matrix alone, because it is linear.

use cv_core::picture::{Picture, Range};

/// The colour of a picture's skin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Skin {
    /// Mean red, green and blue, 0 to 255; `None` where no sample looks like skin.
    pub(super) rgb: Option<[f64; 3]>,
    /// Mean weight of all samples, 0 to 1: the share of the picture that is skin.
    pub(super) share: f64,
}

/// The weight of a sample that is skin for certain.
pub(super) const FULL: u8 = 8;

/// Cb from and to, then Cr from and to, in levels of limited range.
const CHROMA: [u8; 4] = [77, 127, 133, 173];

/// Luma at which weights begin to rise from 0, and at which they are 0 again, in levels of limited range.
const LUMA: [u8; 2] = [32, 236];

/// Luma rises over 8 times so many levels, a power of two.
const LUMA_SHIFT: [u8; 2] = [2, 1];

/// The skin in `picture`. Half a chroma sample at the edge of an odd width or height is left out.
pub(super) fn measure(picture: &Picture) -> Skin {
    let rule = Rule::of(picture.range());
    let [luma, cb, cr] = [0, 1, 2].map(|plane| picture.plane(plane));
    let (width, height) = (luma.width / 2, luma.height / 2);
    let mut sums = Sums::default();
    for y in 0..height {
        let row = Row {
            above: luma.row(2 * y).as_chunks().0,
            below: luma.row(2 * y + 1).as_chunks().0,
            cb: cb.row(y),
            cr: cr.row(y),
        };
        sums.add(rule.weigh(row));
    }
    let most = f64::from(FULL) * (width * height).max(1) as f64;
    Skin { rgb: sums.rgb(picture.range()), share: sums.weight as f64 / most }
}

/// Samples that lie over each other: pairs of luma in two rows, and the chroma of each four.
pub(super) struct Row<'a> {
    pub(super) above: &'a [[u8; 2]],
    pub(super) below: &'a [[u8; 2]],
    pub(super) cb: &'a [u8],
    pub(super) cr: &'a [u8],
}

/// The bounds of skin for one range of samples.
pub(super) struct Rule {
    chroma: [u8; 4],
    luma: [u8; 2],
}

impl Rule {
    pub(super) fn of(range: Range) -> Self {
        match range {
            Range::Limited => Self { chroma: CHROMA, luma: LUMA },
            Range::Full => Self {
                chroma: CHROMA.map(|level| (128.0 + (f64::from(level) - 128.0) * 255.0 / 224.0).round() as u8),
                luma: LUMA.map(|level| ((f64::from(level) - 16.0) * 255.0 / 219.0).round().min(255.0) as u8),
            },
        }
    }

    /// 0 to [`FULL`].
    #[inline(always)]
    fn weight(&self, luma: u8, cb: u8, cr: u8) -> u8 {
        let ([cb_from, cb_to, cr_from, cr_to], [dark, bright]) = (self.chroma, self.luma);
        let cb = cb.saturating_sub(cb_from).min(cb_to.saturating_sub(cb));
        let cr = cr.saturating_sub(cr_from).min(cr_to.saturating_sub(cr));
        let luma = (luma.saturating_sub(dark) >> LUMA_SHIFT[0]).min(bright.saturating_sub(luma) >> LUMA_SHIFT[1]);
        cb.min(cr).min(luma).min(FULL)
    }

    /// Sums of weights and of weighed luma (four samples together), Cb and Cr over a row. A row of 16 384 samples stays
    /// below 2^27.
    pub(super) fn weigh(&self, row: Row<'_>) -> [u32; 4] {
        let mut sums = [0; 4];
        let luma = row.above.iter().zip(row.below);
        for ((above, below), (&cb, &cr)) in luma.zip(row.cb.iter().zip(row.cr)) {
            let luma = u16::from(above[0]) + u16::from(above[1]) + u16::from(below[0]) + u16::from(below[1]);
            let weight = u16::from(self.weight((luma >> 2) as u8, cb, cr));
            sums[0] += u32::from(weight);
            sums[1] += u32::from(weight * luma);
            sums[2] += u32::from(weight * u16::from(cb));
            sums[3] += u32::from(weight * u16::from(cr));
        }
        sums
    }
}

/// Weighted sums over a picture: exact, so that the order of adding is of no account.
#[derive(Default)]
struct Sums {
    weight: u64,
    /// Of four luma samples together.
    luma: u64,
    cb: u64,
    cr: u64,
}

impl Sums {
    fn add(&mut self, [weight, luma, cb, cr]: [u32; 4]) {
        self.weight += u64::from(weight);
        self.luma += u64::from(luma);
        self.cb += u64::from(cb);
        self.cr += u64::from(cr);
    }

    fn rgb(&self, range: Range) -> Option<[f64; 3]> {
        scaled([self.weight, self.luma, self.cb, self.cr].map(|sum| sum as f64), range)
    }
}

/// The mean colour of sums as [`Rule::weigh`] gives them, by BT.601 (ITU-R BT.601-7, 2.5).
pub(super) fn scaled([weight, luma, cb, cr]: [f64; 4], range: Range) -> Option<[f64; 3]> {
    let (black, luma_gain, chroma_gain) = match range {
        Range::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
        Range::Full => (0.0, 1.0, 1.0),
    };
    (weight > 0.0).then(|| {
        let y = (luma / (4.0 * weight) - black) * luma_gain;
        let cb = (cb / weight - 128.0) * chroma_gain;
        let cr = (cr / weight - 128.0) * chroma_gain;
        [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
    })
}

#[cfg(test)]
mod tests {
    use cv_core::{geometry::Size, picture::Pool};

    use super::*;

    /// A picture whose samples are what `sample` gives for plane, column and row.
    fn picture(width: u32, height: u32, range: Range, sample: impl Fn(usize, usize, usize) -> u8) -> Picture {
        let mut picture = Pool::default().picture(Size::new(width, height).unwrap(), range);
        for (index, mut plane) in picture.planes_mut().into_iter().enumerate() {
            for y in 0..plane.height {
                let row = plane.row_mut(y).iter_mut().enumerate();
                row.for_each(|(x, value)| *value = sample(index, x, y));
            }
        }
        picture.freeze()
    }

    fn flat(yuv: [u8; 3]) -> Skin {
        measure(&picture(64, 48, Range::Limited, |plane, _, _| yuv[plane]))
    }

    #[test]
    fn skin_of_light_and_dark_complexion_counts_in_full() {
        for (yuv, rgb) in [([154, 108, 153], [201.0, 150.0, 120.0]), ([90, 115, 145], [110.0, 78.0, 60.0])] {
            let skin = flat(yuv);
            assert_eq!(skin.share, 1.0, "{yuv:?}");
            for (got, expected) in skin.rgb.unwrap().into_iter().zip(rgb) {
                assert!((got - expected).abs() < 5.0, "{skin:?}");
            }
        }
    }

    #[test]
    fn grey_black_white_and_other_colours_are_no_skin() {
        for yuv in [[126, 128, 128], [16, 128, 128], [235, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110]] {
            assert_eq!(flat(yuv), Skin { rgb: None, share: 0.0 }, "{yuv:?}");
        }
    }

    #[test]
    fn only_the_skin_counts_and_its_share_is_told() {
        let half = |plane: usize, x: usize, _: usize| {
            let skin = if plane == 0 { x < 32 } else { x < 16 };
            if skin { [154, 108, 153][plane] } else { [90, 128, 128][plane] }
        };
        let skin = measure(&picture(64, 48, Range::Limited, half));
        assert_eq!(skin.share, 0.5);
        assert_eq!(skin.rgb, flat([154, 108, 153]).rgb);
    }

    #[test]
    fn a_level_at_the_edge_of_the_rule_moves_the_weight_by_an_eighth_only() {
        let shares: Vec<f64> = (125..150).map(|cr| flat([120, 110, cr]).share).collect();
        assert!(shares.windows(2).all(|pair| (0.0..=0.125).contains(&(pair[1] - pair[0]))), "{shares:?}");
        assert_eq!((shares[0], shares[24]), (0.0, 1.0));
    }

    #[test]
    fn full_range_is_the_same_colour() {
        let limited = flat([154, 108, 153]).rgb.unwrap();
        let full = measure(&picture(64, 48, Range::Full, |plane, _, _| [161, 105, 156][plane]));
        assert_eq!(full.share, 1.0);
        for (one, other) in limited.into_iter().zip(full.rgb.unwrap()) {
            assert!((one - other).abs() < 1.5, "{limited:?} {full:?}");
        }
    }

    #[test]
    fn pictures_of_any_size_measure_something_or_nothing() {
        for (width, height) in [(1, 1), (1, 9), (2, 2), (3, 5), (33, 17), (4096, 2)] {
            let skin = measure(&picture(width, height, Range::Limited, |plane, _, _| [154, 108, 153][plane]));
            assert_eq!(skin.share, if width > 1 && height > 1 { 1.0 } else { 0.0 });
            assert_eq!(skin.rgb.is_some(), skin.share > 0.0);
        }
    }
}
