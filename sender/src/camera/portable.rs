//! What nokhwa tells of a camera on systems other than Linux.

use cv_core::{geometry::Size, picture::Range};
use nokhwa::{
    Camera,
    utils::{CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType},
};

use super::{
    convert::Layout,
    fault::Fault,
    format::{Encoding, Format, Wish},
};

const ENCODINGS: [(FrameFormat, Encoding); 6] = [
    (FrameFormat::NV12, Encoding::Nv12),
    (FrameFormat::YUYV, Encoding::Yuyv),
    (FrameFormat::MJPEG, Encoding::Mjpeg),
    (FrameFormat::RAWRGB, Encoding::Rgb),
    (FrameFormat::RAWBGR, Encoding::Bgr),
    (FrameFormat::GRAY, Encoding::Gray),
];

/// The camera's name and every format of it that can be read.
pub(super) fn offer(index: u32, _wish: &Wish) -> Result<(String, Vec<Format>), Fault> {
    // macOS asks the person in front of it; elsewhere this does nothing.
    nokhwa::nokhwa_initialize(|_| {});
    let known = ENCODINGS.map(|(code, _)| code);
    let any = RequestedFormat::with_formats(RequestedFormatType::None, &known);
    let mut camera = Camera::new(CameraIndex::Index(index), any).map_err(|error| Fault::from_nokhwa(&error))?;
    let offered = camera.compatible_camera_formats().map_err(|error| Fault::from_nokhwa(&error))?;
    let formats = offered.into_iter().filter_map(|offered| {
        let (_, encoding) = *ENCODINGS.iter().find(|(code, _)| *code == offered.format())?;
        let size = Size::new(offered.width(), offered.height()).ok()?;
        Some(Format { encoding, size, fps: offered.frame_rate().into() })
    });
    Ok((camera.info().human_name(), formats.collect()))
}

/// How buffers of `format` look; nokhwa sets it itself.
pub(super) fn prepare(_index: u32, format: Format) -> Result<Layout, Fault> {
    Ok(Layout { encoding: format.encoding, size: format.size, stride: 0, range: Range::Limited })
}

/// Everything that is listed is a camera.
pub(super) fn captures(_index: u32) -> bool {
    true
}
