//! Which part of a picture is sent, and how large: the centre, as a view, scaled only if asked for.

use cv_core::{
    geometry::{Rect, Size},
    picture::{Picture, Plane, PlaneMut, Pool},
};
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

/// Crops and scales pictures.
pub struct Framing {
    share: f64,
    size: Option<Size>,
    pool: Pool,
    resizer: Resizer,
}

/// A picture of which nothing can be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FramingError(String);

impl Framing {
    /// Keeps `share` of width and height, then scales to `size` (rounded down to even) if given.
    pub fn new(share: f64, size: Option<Size>) -> Result<Self, FramingError> {
        let even = |size: Size| {
            size.even().ok_or_else(|| FramingError(format!("--size {size} is too small: use at least 2x2")))
        };
        Ok(Self { share, size: size.map(even).transpose()?, pool: Pool::default(), resizer: Resizer::new() })
    }

    /// Size of what is sent of pictures of size `whole`.
    pub fn size_of(&self, whole: Size) -> Result<Size, FramingError> {
        let rect = self.rect(whole)?;
        Ok(self.size.unwrap_or(rect.size))
    }

    /// The part of `picture` that is sent.
    pub fn apply(&mut self, picture: &Picture) -> Result<Picture, FramingError> {
        let part = picture.crop(self.rect(picture.size())?);
        match self.size.filter(|size| *size != part.size()) {
            Some(size) => self.scale(&part, size),
            None => Ok(part),
        }
    }

    fn rect(&self, whole: Size) -> Result<Rect, FramingError> {
        Rect::centred(whole, self.share).ok_or_else(|| {
            FramingError(format!("nothing is left of a {whole} picture cropped to {}: use a larger --crop", self.share))
        })
    }

    fn scale(&mut self, part: &Picture, size: Size) -> Result<Picture, FramingError> {
        let mut scaled = self.pool.picture(size, part.range());
        for (index, target) in scaled.planes_mut().into_iter().enumerate() {
            resize(&mut self.resizer, part.plane(index), target)
                .map_err(|problem| FramingError(format!("cannot scale {} to {size}: {problem}", part.size())))?;
        }
        Ok(scaled.freeze())
    }
}

/// Bilinear, with support for shrinking, so that fine detail turns grey instead of flickering.
fn resize(resizer: &mut Resizer, source: Plane<'_>, mut target: PlaneMut<'_>) -> Result<(), String> {
    let packed: Vec<u8> = source.rows().flatten().copied().collect();
    let (width, height) = (target.width as u32, target.height as u32);
    let image = ImageRef::new(source.width as u32, source.height as u32, &packed, PixelType::U8)
        .map_err(|error| error.to_string())?;
    let mut scaled = Image::new(width, height, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    resizer.resize(&image, &mut scaled, &options).map_err(|error| error.to_string())?;
    target.copy_from(scaled.buffer(), width as usize);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cv_core::picture::Range;

    fn flat(width: u32, height: u32, value: u8) -> Picture {
        let mut buf = Pool::default().picture(Size::new(width, height).unwrap(), Range::Limited);
        buf.planes_mut().into_iter().for_each(|plane| plane.data.fill(value));
        buf.freeze()
    }

    #[test]
    fn the_centre_is_kept_and_scaled_only_if_asked_for() {
        let picture = flat(1280, 720, 90);
        let mut crop = Framing::new(0.7, None).unwrap();
        assert_eq!(crop.apply(&picture).unwrap().size().to_string(), "896x504");
        let mut scale = Framing::new(0.7, Some(Size::new(321, 181).unwrap())).unwrap();
        let scaled = scale.apply(&picture).unwrap();
        assert_eq!(scaled.size().to_string(), "320x180");
        assert_eq!(scale.size_of(picture.size()).unwrap(), scaled.size());
        assert!(scaled.luma().iter().chain(scaled.plane(2).data).all(|&sample| sample == 90));
    }

    #[test]
    fn pictures_too_small_to_crop_are_an_error() {
        let problem = Framing::new(0.1, None).unwrap().apply(&flat(8, 8, 0)).unwrap_err();
        assert!(problem.to_string().contains("larger --crop"));
        assert!(Framing::new(1.0, Some(Size::new(1, 1).unwrap())).is_err());
    }
}
