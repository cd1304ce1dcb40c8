//! OpenH264 as a decoder.

use cv_core::{
    geometry::Size,
    picture::{Picture, Pool, Range},
};
use openh264::{
    OpenH264API,
    decoder::{DecodedYUV, Decoder, DecoderConfig, Flush},
    formats::YUVSource,
};

use super::Engine;

struct OpenH264 {
    decoder: Decoder,
}

/// A decoder that holds nothing back unless the stream reorders pictures.
pub(super) fn open() -> Result<Box<dyn Engine>, String> {
    // The default flushes after each picture, which breaks streams with B-frames.
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    let decoder = Decoder::with_api_config(OpenH264API::from_source(), config).map_err(|error| error.to_string())?;
    Ok(Box::new(OpenH264 { decoder }))
}

impl Engine for OpenH264 {
    fn decode(&mut self, access_unit: &[u8], made: (&Pool, Range)) -> Result<Option<Picture>, String> {
        let decoded = self.decoder.decode(access_unit).map_err(|error| error.to_string())?;
        decoded.map(|yuv| copy(&yuv, made)).transpose()
    }

    fn flush(&mut self, made: (&Pool, Range)) -> Vec<Picture> {
        let rest = self.decoder.flush_remaining().unwrap_or_default();
        rest.iter().filter_map(|yuv| copy(yuv, made).ok()).collect()
    }
}

/// The decoder's own buffer is used again for the next picture, so this copy must be.
fn copy(yuv: &DecodedYUV<'_>, (pool, range): (&Pool, Range)) -> Result<Picture, String> {
    let (width, height) = yuv.dimensions();
    let size = Size::new(width as u32, height as u32).map_err(|error| error.to_string())?;
    let mut buf = pool.picture(size, range);
    let (y, u, v) = yuv.strides();
    for (mut plane, (source, stride)) in buf.planes_mut().into_iter().zip([(yuv.y(), y), (yuv.u(), u), (yuv.v(), v)]) {
        plane.copy_from(source, stride);
    }
    Ok(buf.freeze())
}
