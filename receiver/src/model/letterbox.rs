//! A whole picture as the numbers that a network takes.

use cv_core::rgb;
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

use super::view::View;

/// How a picture comes into the network's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fit {
    /// Its proportions stay; it lies at the top left, and what is left of the network's picture has this value.
    Inside(u8),
    /// It fills the network's picture, whatever becomes of its proportions.
    Stretched,
}

/// The network's own picture: three planes of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Whether blue comes first, as in OpenCV.
    pub(super) is_bgr: bool,
    /// What is taken off a sample of 0 to 255, and what the rest is then divided by.
    pub(super) normal: (f32, f32),
    pub(super) fit: Fit,
}

/// Brings pictures into a network's size. Keeps its memory from picture to picture.
pub(super) struct Letterbox {
    canvas: Canvas,
    resizer: Resizer,
    /// The picture in the network's size, packed.
    packed: Vec<u8>,
    planes: Vec<u8>,
    numbers: Vec<f32>,
    /// What part of the numbers the last picture filled.
    filled: (u32, u32),
}

impl Letterbox {
    pub(super) fn new(canvas: Canvas) -> Self {
        Self {
            canvas,
            resizer: Resizer::new(),
            packed: Vec::new(),
            planes: Vec::new(),
            numbers: Vec::new(),
            filled: (0, 0),
        }
    }

    /// The network's picture.
    pub(super) fn canvas(&self) -> &Canvas {
        &self.canvas
    }

    /// The numbers for `view`, three planes of `[height, width]`, and how many pixels of the network's picture are one
    /// of the view's, across and down.
    pub(super) fn fill(&mut self, view: &View<'_>) -> Result<(&[f32], [f32; 2]), String> {
        let Canvas { width, height, fit, .. } = self.canvas;
        let across = f64::from(width) / f64::from(view.width());
        let down = f64::from(height) / f64::from(view.height());
        let (scaled, scale) = match fit {
            Fit::Stretched => ((width, height), [across, down]),
            Fit::Inside(_) => {
                let ratio = across.min(down);
                let length = |pixels: u32, most: u32| ((f64::from(pixels) * ratio).round() as u32).clamp(1, most);
                ((length(view.width(), width), length(view.height(), height)), [ratio, ratio])
            }
        };
        self.resize(view, scaled).map_err(|error| format!("the picture cannot be scaled: {error}"))?;
        self.spread(scaled);
        Ok((&self.numbers, scale.map(|ratio| ratio as f32)))
    }

    fn resize(&mut self, view: &View<'_>, (width, height): (u32, u32)) -> Result<(), Box<dyn std::error::Error>> {
        // Triangles as wide as the pixels that become one, so that nothing is left out when it becomes smaller.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
        let source = ImageRef::new(view.width(), view.height(), view.samples(), PixelType::U8x3)?;
        self.packed.resize(3 * width as usize * height as usize, 0);
        let mut scaled = Image::from_slice_u8(width, height, &mut self.packed, PixelType::U8x3)?;
        Ok(self.resizer.resize(&source, &mut scaled, &options)?)
    }

    /// Puts packed samples of `width` by `height` into the planes of numbers.
    fn spread(&mut self, (width, height): (u32, u32)) {
        let Canvas { normal: (mean, deviation), fit, is_bgr, .. } = self.canvas;
        let (stride, rows) = (self.canvas.width as usize, self.canvas.height as usize);
        if self.filled != (width, height) {
            let rest = if let Fit::Inside(value) = fit { value } else { 0 };
            self.numbers.clear();
            self.numbers.resize(3 * stride * rows, (f32::from(rest) - mean) / deviation);
            self.filled = (width, height);
        }
        let factor = 1.0 / deviation;
        let pixels = width as usize * height as usize;
        self.planes.resize(3 * pixels, 0);
        let (first, rest) = self.planes.split_at_mut(pixels);
        let (second, third) = rest.split_at_mut(pixels);
        rgb::split(&self.packed, if is_bgr { [third, second, first] } else { [first, second, third] });
        for (plane, numbers) in self.planes.chunks_exact(pixels).zip(self.numbers.chunks_exact_mut(stride * rows)) {
            let samples = plane.chunks_exact(width as usize);
            for (samples, numbers) in samples.zip(numbers.chunks_exact_mut(stride)) {
                for (number, sample) in numbers.iter_mut().zip(samples) {
                    *number = (f32::from(*sample) - mean) * factor;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: Canvas = Canvas { width: 8, height: 8, is_bgr: false, normal: (0.0, 1.0), fit: Fit::Inside(114) };

    /// A picture of one colour.
    fn plain(width: u32, height: u32) -> Vec<u8> {
        [10, 20, 30].repeat(width as usize * height as usize)
    }

    #[test]
    fn a_wide_picture_lies_at_the_top_and_leaves_the_rest_gray() {
        let samples = plain(16, 4);
        let mut letterbox = Letterbox::new(CANVAS);
        let (numbers, scale) = letterbox.fill(&View::of(16, 4, &samples)).unwrap();
        assert_eq!(scale, [0.5, 0.5]);
        assert_eq!(numbers[..16], [10.0; 16]);
        assert_eq!(numbers[16..64], [114.0; 48]);
        assert_eq!(numbers[64..80], [20.0; 16]);
    }

    #[test]
    fn what_a_picture_of_another_size_left_behind_is_gone() {
        let mut letterbox = Letterbox::new(CANVAS);
        letterbox.fill(&View::of(4, 16, &plain(4, 16))).unwrap();
        let (numbers, _) = letterbox.fill(&View::of(16, 4, &plain(16, 4))).unwrap();
        assert_eq!(numbers[16..64], [114.0; 48]);
    }

    #[test]
    fn blue_comes_first_and_samples_are_normalised_where_that_is_asked() {
        let canvas = Canvas { is_bgr: true, normal: (10.0, 2.0), fit: Fit::Stretched, ..CANVAS };
        let mut letterbox = Letterbox::new(canvas);
        let (numbers, scale) = letterbox.fill(&View::of(16, 4, &plain(16, 4))).unwrap();
        assert_eq!(scale, [0.5, 2.0]);
        assert_eq!([numbers[0], numbers[64], numbers[128]], [10.0, 5.0, 0.0]);
    }

    #[test]
    fn a_single_pixel_and_a_thread_of_pixels_are_pictures() {
        let mut letterbox = Letterbox::new(CANVAS);
        letterbox.fill(&View::of(1, 1, &plain(1, 1))).unwrap();
        letterbox.fill(&View::of(4096, 1, &plain(4096, 1))).unwrap();
        letterbox.fill(&View::of(1, 4096, &plain(1, 4096))).unwrap();
    }
}
