//! I420 pictures: immutable, shared, cropped without copying, their memory reused.

use std::sync::{Arc, Mutex, Weak};

use ndarray::{ArrayView2, ShapeBuilder};

use crate::geometry::{Rect, Size};

/// Which sample values mean black and white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// 16 to 235, what video uses unless it says otherwise.
    #[default]
    Limited,
    /// 0 to 255, what Motion-JPEG and some cameras use.
    Full,
}

/// One 8-bit 4:2:0 picture with planes Y, U, V. Cloning shares the samples.
///
/// Chroma planes have half the width and height, rounded up. Rows may be longer in memory than
/// the picture is wide (the stride), so a crop is only another view.
#[derive(Clone)]
pub struct Picture {
    size: Size,
    range: Range,
    offsets: [usize; 3],
    strides: [usize; 3],
    samples: Arc<Samples>,
}

/// One plane of a picture: rows of `width` samples, `stride` apart.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    /// From the first sample of the first row to the last sample of the last.
    pub data: &'a [u8],
    /// Samples in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples from one row's start to the next one's.
    pub stride: usize,
}

impl<'a> Plane<'a> {
    /// Row `y`; panics beyond the last.
    pub fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..self.width]
    }

    /// The rows from top to bottom.
    pub fn rows(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.height).map(move |y| self.row(y))
    }
}

impl Picture {
    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Meaning of the sample values.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Luma (0), U (1) or V (2); panics beyond.
    pub fn plane(&self, index: usize) -> Plane<'_> {
        let size = plane_size(self.size, index);
        let (width, height, stride) = (size.width() as usize, size.height() as usize, self.strides[index]);
        let data = &self.samples.data[self.offsets[index]..][..(height - 1) * stride + width];
        Plane { data, width, height, stride }
    }

    /// The luma plane as a matrix of `[height, width]`, without copying.
    pub fn luma(&self) -> ArrayView2<'_, u8> {
        let plane = self.plane(0);
        ArrayView2::from_shape((plane.height, plane.width).strides((plane.stride, 1)), plane.data)
            .expect("a plane's data spans its shape")
    }

    /// The part inside `rect`, sharing this picture's samples.
    ///
    /// # Panics
    /// If `rect` reaches outside or starts at an odd pixel.
    pub fn crop(&self, rect: Rect) -> Self {
        let (x, y) = (rect.x as usize, rect.y as usize);
        let inside =
            rect.x + rect.size.width() <= self.size.width() && rect.y + rect.size.height() <= self.size.height();
        assert!(inside && x % 2 == 0 && y % 2 == 0, "{rect:?} is no even part of {}", self.size);
        let offset = |plane: usize, x: usize, y: usize| self.offsets[plane] + y * self.strides[plane] + x;
        Self {
            size: rect.size,
            range: self.range,
            offsets: [offset(0, x, y), offset(1, x / 2, y / 2), offset(2, x / 2, y / 2)],
            strides: self.strides,
            samples: self.samples.clone(),
        }
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}, {:?})", self.size, self.range)
    }
}

/// A picture being filled; [`PictureBuf::freeze`] makes it shareable.
pub struct PictureBuf {
    size: Size,
    range: Range,
    offsets: [usize; 3],
    strides: [usize; 3],
    samples: Samples,
}

/// One writable plane. The fields mean what those of [`Plane`] mean.
pub struct PlaneMut<'a> {
    /// All rows, padding included.
    pub data: &'a mut [u8],
    /// Samples in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples from one row's start to the next one's.
    pub stride: usize,
}

impl PlaneMut<'_> {
    /// Row `y`; panics beyond the last.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.data[y * self.stride..][..self.width]
    }

    /// Copies rows of `width` samples that lie `stride` apart in `source`.
    pub fn copy_from(&mut self, source: &[u8], stride: usize) {
        for y in 0..self.height {
            let width = self.width;
            self.row_mut(y).copy_from_slice(&source[y * stride..][..width]);
        }
    }
}

impl PictureBuf {
    /// Luma, U and V to write into. What they hold before is arbitrary.
    pub fn planes_mut(&mut self) -> [PlaneMut<'_>; 3] {
        let (luma, chroma) = self.samples.data.split_at_mut(self.offsets[1]);
        let (u, v) = chroma.split_at_mut(self.offsets[2] - self.offsets[1]);
        let mut index = 0;
        [luma, u, v].map(|data| {
            let (size, stride) = (plane_size(self.size, index), self.strides[index]);
            index += 1;
            PlaneMut { data, width: size.width() as usize, height: size.height() as usize, stride }
        })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The finished picture.
    pub fn freeze(self) -> Picture {
        Picture {
            size: self.size,
            range: self.range,
            offsets: self.offsets,
            strides: self.strides,
            samples: Arc::new(self.samples),
        }
    }
}

fn plane_size(size: Size, index: usize) -> Size {
    if index == 0 { size } else { size.chroma() }
}

/// Memory of pictures, given back when the last holder lets go and used again for the next.
///
/// Keeps at most `spare` unused buffers, so a stream of pictures allocates nothing once it runs
/// and an idle one holds little.
#[derive(Clone)]
pub struct Pool {
    shelf: Arc<Shelf>,
}

/// Free buffers. Locked for a push or a pop only, hence a plain mutex.
struct Shelf {
    free: Mutex<Vec<Vec<u8>>>,
    spare: usize,
}

impl Pool {
    /// A pool that keeps at most `spare` unused buffers.
    pub fn new(spare: usize) -> Self {
        Self { shelf: Arc::new(Shelf { free: Mutex::new(Vec::with_capacity(spare)), spare }) }
    }

    /// A picture to fill, with rows aligned to 32 bytes as codecs and SIMD like it.
    pub fn picture(&self, size: Size, range: Range) -> PictureBuf {
        let stride = |index| (plane_size(size, index).width() as usize).next_multiple_of(32);
        let strides = [stride(0), stride(1), stride(2)];
        let length = |index: usize| strides[index] * plane_size(size, index).height() as usize;
        let offsets = [0, length(0), length(0) + length(1)];
        PictureBuf { size, range, offsets, strides, samples: self.samples(offsets[2] + length(2)) }
    }

    fn samples(&self, length: usize) -> Samples {
        let reused = self.shelf.free.lock().expect("no holder of the shelf panics").pop();
        let mut data = reused.unwrap_or_default();
        data.resize(length, 0);
        Samples { data, home: Arc::downgrade(&self.shelf) }
    }
}

impl Default for Pool {
    /// Four spare pictures: one each for source, encoder, decoder and analysis.
    fn default() -> Self {
        Self::new(4)
    }
}

/// Samples that go home to their pool when dropped.
struct Samples {
    data: Vec<u8>,
    home: Weak<Shelf>,
}

impl Drop for Samples {
    fn drop(&mut self) {
        let Some(shelf) = self.home.upgrade() else { return };
        let mut free = shelf.free.lock().expect("no holder of the shelf panics");
        if free.len() < shelf.spare {
            free.push(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Picture {
        let mut buf = Pool::default().picture(Size::new(width, height).unwrap(), Range::Limited);
        for mut plane in buf.planes_mut() {
            for y in 0..plane.height {
                for (x, sample) in plane.row_mut(y).iter_mut().enumerate() {
                    *sample = (x + 10 * y) as u8;
                }
            }
        }
        buf.freeze()
    }

    #[test]
    fn a_crop_sees_the_same_samples() {
        let picture = gradient(20, 12);
        let part = picture.crop(Rect { x: 4, y: 2, size: Size::new(6, 4).unwrap() });
        assert_eq!(part.luma()[[0, 0]], 24);
        assert_eq!(part.luma()[[3, 5]], (4 + 5) + 10 * (2 + 3));
        assert_eq!(part.plane(1).row(1), &[22, 23, 24]);
    }

    #[test]
    fn odd_pictures_have_rounded_up_chroma() {
        let picture = gradient(5, 3);
        assert_eq!((picture.plane(1).width, picture.plane(1).height), (3, 2));
        assert_eq!(picture.plane(2).rows().count(), 2);
    }

    #[test]
    fn memory_is_reused_and_bounded() {
        let pool = Pool::new(1);
        let size = Size::new(64, 64).unwrap();
        let two = [pool.picture(size, Range::Limited).freeze(), pool.picture(size, Range::Limited).freeze()];
        drop(two);
        assert_eq!(pool.shelf.free.lock().unwrap().len(), 1);
        let again = pool.picture(Size::new(32, 32).unwrap(), Range::Full).freeze();
        assert_eq!(pool.shelf.free.lock().unwrap().len(), 0);
        assert_eq!(again.luma().dim(), (32, 32));
    }
}
