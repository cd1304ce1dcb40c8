//! What a camera offers, and which of it to take.
//!
//! The choice is ours because no library makes it well: "highest resolution" ends at 5 pictures
//! a second, "closest" fails where the encoding is not offered.

use std::fmt;

use cv_core::geometry::Size;
use serde::{Serialize, Serializer};

/// How a camera packs its samples. Only what can be read here is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Encoding {
    /// 4:2:0, luma plane and interleaved chroma plane.
    Nv12,
    /// 4:2:2, packed as Y U Y V.
    Yuyv,
    /// Motion-JPEG: one JPEG a picture.
    Mjpeg,
    /// 24 bits a pixel, red first.
    Rgb,
    /// 24 bits a pixel, blue first.
    Bgr,
    /// Luma only.
    Gray,
}

impl Encoding {
    /// What it costs to take this one at the same size and rate, in the unit of [`Wish::cost`].
    ///
    /// Raw 4:2:x beats JPEG (1.6 ms and its artefacts against 0.2 to 0.6 ms a 720p picture) but not
    /// at a visibly lower rate. RGB and grey come in only where a camera offers nothing better.
    fn cost(self) -> f64 {
        match self {
            Self::Nv12 => 0.0,
            Self::Yuyv => 0.01,
            Self::Mjpeg => 0.15,
            Self::Rgb => 1e6,
            Self::Bgr => 1.001e6,
            Self::Gray => 2e6,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nv12 => "NV12",
            Self::Yuyv => "YUYV",
            Self::Mjpeg => "MJPEG",
            Self::Rgb => "RGB",
            Self::Bgr => "BGR",
            Self::Gray => "GRAY",
        })
    }
}

/// One way in which a camera can deliver.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Format {
    /// Packing of the samples.
    pub encoding: Encoding,
    /// Size of the pictures.
    #[serde(serialize_with = "as_text")]
    pub size: Size,
    /// Pictures a second. Broken rates such as 12.5 are listed but never chosen: nokhwa only knows whole ones.
    pub fps: f64,
}

fn as_text<S: Serializer>(size: &Size, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(size)
}

impl Format {
    /// The rate where it is a whole number.
    pub(super) fn whole_fps(&self) -> Option<u32> {
        (self.fps.fract() == 0.0 && (1.0..=1000.0).contains(&self.fps)).then_some(self.fps as u32)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} fps", self.size, self.encoding, self.fps)
    }
}

/// What is wanted of a camera; what is left open counts as 1280x720 at 30 fps, but less strictly.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub size: Option<Size>,
    pub fps: Option<f64>,
}

impl Wish {
    const WIDTH: f64 = 1280.0;
    const HEIGHT: f64 = 720.0;
    const FPS: f64 = 30.0;

    /// The best of `offered`, the earlier one among equals.
    pub(super) fn choose(&self, offered: &[Format]) -> Option<Format> {
        let usable = offered.iter().filter(|format| format.whole_fps().is_some());
        usable.min_by(|a, b| self.cost(a).total_cmp(&self.cost(b))).copied()
    }

    /// Distance from the wish in octaves, so that half and double are equally far, summed over
    /// width, height and rate. A rate too low is worse than one too high; what was asked for
    /// by name outweighs everything that was not.
    fn cost(&self, format: &Format) -> f64 {
        let octaves = |is: f64, wanted: f64| (is / wanted).log2();
        let (width, height) =
            self.size.map_or((Self::WIDTH, Self::HEIGHT), |s| (f64::from(s.width()), f64::from(s.height())));
        let size =
            octaves(format.size.width().into(), width).abs() + octaves(format.size.height().into(), height).abs();
        let rate = octaves(format.fps, self.fps.unwrap_or(Self::FPS));
        let rate = if rate < 0.0 { -1.5 * rate } else { 0.5 * rate };
        let weight = |named: bool, factor: f64| if named { factor } else { 1.0 };
        // A named size comes before a named rate: 1000 x the smallest step that sizes differ by.
        size * weight(self.size.is_some(), 1e3) + rate * weight(self.fps.is_some(), 10.0) + format.encoding.cost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(encoding: Encoding, size: &str, fps: f64) -> Format {
        Format { encoding, size: size.parse().unwrap(), fps }
    }

    fn webcam() -> Vec<Format> {
        let mut all = vec![format(Encoding::Mjpeg, "1920x1080", 30.0), format(Encoding::Mjpeg, "1280x720", 30.0)];
        all.extend([30.0, 15.0].map(|fps| format(Encoding::Yuyv, "640x480", fps)));
        all.extend([format(Encoding::Yuyv, "1280x720", 10.0), format(Encoding::Mjpeg, "640x480", 30.0)]);
        all
    }

    fn choice(wish: Wish, offered: &[Format]) -> String {
        wish.choose(offered).unwrap().to_string()
    }

    fn sized(size: &str) -> Wish {
        Wish { size: Some(size.parse().unwrap()), fps: None }
    }

    #[test]
    fn motion_jpeg_is_taken_where_raw_is_too_slow() {
        assert_eq!(choice(Wish::default(), &webcam()), "1280x720 MJPEG 30 fps");
    }

    #[test]
    fn raw_is_taken_where_it_is_fast_enough() {
        assert_eq!(choice(sized("640x480"), &webcam()), "640x480 YUYV 30 fps");
        let slow = Wish { fps: Some(10.0), ..sized("1280x720") };
        assert_eq!(choice(slow, &webcam()), "1280x720 YUYV 10 fps");
        let both = [format(Encoding::Yuyv, "1280x720", 30.0), format(Encoding::Nv12, "1280x720", 30.0)];
        assert_eq!(choice(Wish::default(), &both), "1280x720 NV12 30 fps");
    }

    #[test]
    fn a_size_asked_for_by_name_wins_over_rate_and_encoding() {
        assert_eq!(choice(sized("1920x1080"), &webcam()), "1920x1080 MJPEG 30 fps");
        let offered = [format(Encoding::Yuyv, "1920x1080", 5.0), format(Encoding::Nv12, "1280x720", 30.0)];
        assert_eq!(choice(sized("1920x1080"), &offered), "1920x1080 YUYV 5 fps");
    }

    #[test]
    fn by_default_a_fluent_small_picture_beats_a_stuttering_large_one() {
        let offered = [format(Encoding::Yuyv, "1280x720", 10.0), format(Encoding::Yuyv, "640x480", 25.0)];
        assert_eq!(choice(Wish::default(), &offered), "640x480 YUYV 25 fps");
    }

    #[test]
    fn a_rate_asked_for_by_name_wins_over_the_default_size() {
        let offered = [format(Encoding::Yuyv, "1280x720", 30.0), format(Encoding::Yuyv, "640x480", 60.0)];
        assert_eq!(choice(Wish { size: None, fps: Some(60.0) }, &offered), "640x480 YUYV 60 fps");
    }

    #[test]
    fn rgb_and_grey_are_the_last_resort() {
        let mut offered = vec![format(Encoding::Gray, "1280x720", 30.0), format(Encoding::Bgr, "1280x720", 30.0)];
        assert_eq!(choice(Wish::default(), &offered), "1280x720 BGR 30 fps");
        offered.push(format(Encoding::Yuyv, "160x120", 5.0));
        assert_eq!(choice(Wish::default(), &offered), "160x120 YUYV 5 fps");
    }

    #[test]
    fn broken_rates_are_never_chosen() {
        assert_eq!(Wish::default().choose(&[format(Encoding::Yuyv, "1280x720", 12.5)]), None);
        assert_eq!(Wish::default().choose(&[]), None);
    }

    #[test]
    fn json_has_sizes_as_text() {
        let json = serde_json::to_string(&format(Encoding::Mjpeg, "640x480", 12.5)).unwrap();
        assert_eq!(json, r#"{"encoding":"MJPEG","size":"640x480","fps":12.5}"#);
    }
}
