//! Pictures as packed 8-bit RGB, for analyzers and files that want colours.

use yuv::{BufferStoreMut, YuvPlanarImage, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use crate::{
    geometry::Size,
    picture::{Picture, Range},
};

/// The order of the samples of a pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first, as OpenCV has it.
    Bgr,
}

/// A picture as packed RGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    size: Size,
    samples: Vec<u8>,
}

impl Rgb {
    /// `picture` in the usual order.
    pub fn of(picture: &Picture) -> Self {
        let mut samples = vec![0; bytes(picture.size())];
        convert(picture, Order::Rgb, &mut samples);
        Self { size: picture.size(), samples }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Three samples a pixel, rows from top to bottom without padding.
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// The samples themselves.
    pub fn into_samples(self) -> Vec<u8> {
        self.samples
    }
}

/// Bytes of a packed picture.
pub fn bytes(size: Size) -> usize {
    3 * size.width() as usize * size.height() as usize
}

/// Writes `picture` into `samples` by BT.601 (ITU-R BT.601-7, 2.5), the matrix of cameras and of video that names
/// none; chroma samples count for their four pixels alike, and luma below black counts as black.
///
/// # Panics
/// If `samples` has not just the length that [`bytes()`] gives.
pub fn convert(picture: &Picture, order: Order, samples: &mut [u8]) {
    let size = picture.size();
    assert_eq!(samples.len(), bytes(size), "a packed picture of {size} has another length");
    let [y, u, v] = [0, 1, 2].map(|index| picture.plane(index));
    let image = YuvPlanarImage {
        y_plane: y.data,
        y_stride: y.stride as u32,
        u_plane: u.data,
        u_stride: u.stride as u32,
        v_plane: v.data,
        v_stride: v.stride as u32,
        width: size.width(),
        height: size.height(),
    };
    let range = match picture.range() {
        Range::Limited => YuvRange::Limited,
        Range::Full => YuvRange::Full,
    };
    let convert = match order {
        Order::Rgb => yuv::yuv420_to_rgb,
        Order::Bgr => yuv::yuv420_to_bgr,
    };
    convert(&image, samples, 3 * size.width(), range, YuvStandardMatrix::Bt601)
        .expect("planes and samples have the lengths that their sizes ask for");
}

/// Takes packed samples apart: the first, second and third of each pixel, in as many bytes each as there are pixels.
///
/// # Panics
/// If the lengths do not fit each other, or there are no samples.
pub fn split(samples: &[u8], planes: [&mut [u8]; 3]) {
    let [first, second, third] = planes.map(BufferStoreMut::Borrowed);
    let length = |plane: &BufferStoreMut<'_, u8>| 3 * plane.borrow().len();
    assert!([&first, &second, &third].map(length) == [samples.len(); 3], "three planes are as long as what they hold");
    let width = (samples.len() / 3) as u32;
    // Green, blue, red is the order in which that crate keeps planes of an RGB picture.
    let (y_plane, u_plane, v_plane) = (second, third, first);
    let [y_stride, u_stride, v_stride] = [width; 3];
    let mut image = YuvPlanarImageMut { y_plane, y_stride, u_plane, u_stride, v_plane, v_stride, width, height: 1 };
    yuv::rgb_to_gbr(&mut image, samples, 3 * width, YuvRange::Full).expect("a row that is not empty splits");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::picture::Pool;

    /// The definition, sample by sample.
    fn expected(picture: &Picture, x: usize, y: usize) -> [f32; 3] {
        let (black, luma_gain, chroma_gain) = match picture.range() {
            Range::Limited => (16.0, 255.0 / 219.0, 255.0 / 224.0),
            Range::Full => (0.0, 1.0, 1.0),
        };
        let bright = (f32::from(picture.plane(0).row(y)[x]) - black).max(0.0) * luma_gain;
        let [cb, cr] = [1, 2].map(|plane| (f32::from(picture.plane(plane).row(y / 2)[x / 2]) - 128.0) * chroma_gain);
        [bright + 1.402 * cr, bright - 0.344_136 * cb - 0.714_136 * cr, bright + 1.772 * cb]
            .map(|value| value.clamp(0.0, 255.0))
    }

    proptest! {
        #[test]
        fn planes_hold_the_samples_of_their_colour(samples in prop::collection::vec(any::<[u8; 3]>(), 1..300)) {
            let mut planes = [(); 3].map(|()| vec![0; samples.len()]);
            split(samples.as_flattened(), planes.each_mut().map(Vec::as_mut_slice));
            for (index, pixel) in samples.iter().enumerate() {
                prop_assert_eq!(*pixel, planes.each_ref().map(|plane| plane[index]));
            }
        }

        #[test]
        fn every_pixel_is_what_the_standard_says(
            (width, height) in (1..70u32, 1..20u32), seed in any::<u32>(), full in any::<bool>(),
        ) {
            let range = if full { Range::Full } else { Range::Limited };
            let mut picture = Pool::default().picture(Size::new(width, height).unwrap(), range);
            let mut state = seed;
            for mut plane in picture.planes_mut() {
                for row in 0..plane.height {
                    plane.row_mut(row).fill_with(|| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 24) as u8
                    });
                }
            }
            let picture = picture.freeze();
            let rgb = Rgb::of(&picture);
            let mut bgr = vec![0; bytes(picture.size())];
            convert(&picture, Order::Bgr, &mut bgr);
            for (index, (pixel, turned)) in rgb.samples().chunks(3).zip(bgr.chunks(3)).enumerate() {
                let expected = expected(&picture, index % width as usize, index / width as usize);
                for channel in 0..3 {
                    prop_assert!((f32::from(pixel[channel]) - expected[channel]).abs() <= 1.5, "{pixel:?} {expected:?}");
                    prop_assert_eq!(pixel[channel], turned[2 - channel]);
                }
            }
        }
    }
}
