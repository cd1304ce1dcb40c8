//! Cameras of this computer, through nokhwa.
//!
//! nokhwa opens and reads on every system. What it gets wrong on Linux is done in [`super::v4l2`].

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use nokhwa::{
    Camera,
    utils::{ApiBackend, CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution},
};

#[cfg(not(target_os = "linux"))]
use super::portable as system;
#[cfg(target_os = "linux")]
use super::v4l2 as system;
use super::{
    capture::{Driver, Opened, Stream},
    fault::{Fault, guarded},
    format::{Encoding, Format, Wish},
};

/// Long enough for a camera that wakes up, short enough for a person who waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Camera number `index`.
pub(super) struct Native {
    pub index: u32,
    pub wish: Wish,
}

impl Native {
    fn choose(&self, index: u32, offered: &[Format]) -> Result<Format, Fault> {
        let format = self.wish.choose(offered).ok_or_else(|| Fault::NoFormat(list(offered)))?;
        if self.wish.size.is_some_and(|size| size != format.size) || self.wish.fps.is_some_and(|fps| fps != format.fps)
        {
            tracing::warn!(camera = index, "camera {index} does not offer what was asked for, {format} is nearest");
        }
        Ok(format)
    }
}

impl Driver for Native {
    fn open(&self, known: Option<&Opened>) -> Result<(Opened, Box<dyn Stream>), Fault> {
        let index = known.map_or(self.index, |known| find(&cameras(), known));
        let with_list = |fault| if matches!(fault, Fault::Absent(_)) { Fault::Absent(cameras()) } else { fault };
        let (name, offered) = system::offer(index, &self.wish).map_err(with_list)?;
        let format = match known {
            None => self.choose(index, &offered)?,
            Some(known) if offered.contains(&known.format) => known.format,
            Some(known) => return Err(Fault::Changed(known.format)),
        };
        let layout = system::prepare(index, format)?;
        let camera = start(index, format)?;
        Ok((Opened { index, name, format, layout }, Box::new(camera)))
    }
}

impl Stream for Camera {
    fn frame(&mut self) -> Result<(Bytes, Option<SystemTime>), Fault> {
        let buffer = Self::frame(self).map_err(|error| Fault::from_nokhwa(&error))?;
        let stamp = buffer.capture_timestamp().and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        Ok((buffer.buffer_bytes(), stamp))
    }
}

fn start(index: u32, format: Format) -> Result<Camera, Fault> {
    let wanted = to_nokhwa(format).ok_or_else(|| Fault::NoFormat(format.to_string()))?;
    let encodings = [wanted.format()];
    let request = RequestedFormat::with_formats(RequestedFormatType::Exact(wanted), &encodings);
    let mut camera = Camera::new(CameraIndex::Index(index), request).map_err(|error| Fault::from_nokhwa(&error))?;
    if camera.camera_format() != wanted {
        return Err(Fault::Refused { asked: format, got: camera.camera_format().to_string() });
    }
    camera.open_stream().map_err(|error| Fault::from_nokhwa(&error))?;
    Ok(camera)
}

/// Where a camera is that was open before: at its old number if it still has its name there,
/// else wherever that name is, as a number is not free again before everyone has closed it.
fn find(cameras: &[(u32, String)], known: &Opened) -> u32 {
    let named = || cameras.iter().filter(|(_, name)| *name == known.name).map(|(index, _)| *index);
    named().find(|index| *index == known.index).or_else(|| named().next()).unwrap_or(known.index)
}

/// Number and name of every camera, in order of number. Empty as well where the system cannot say.
pub(super) fn cameras() -> Vec<(u32, String)> {
    let ask = || {
        let number = |info: nokhwa::utils::CameraInfo| Some((info.index().as_index().ok()?, info.human_name()));
        let found = nokhwa::query(ApiBackend::Auto).unwrap_or_default();
        let mut cameras: Vec<_> = found.into_iter().filter_map(number).collect();
        cameras.sort_unstable();
        cameras.retain(|(index, _)| system::captures(*index));
        cameras
    };
    guarded("camera-list", PATIENCE, ask).unwrap_or_default()
}

/// What camera `index` offers.
pub(super) fn formats(index: u32) -> Result<Vec<Format>, Fault> {
    Ok(guarded("camera-list", PATIENCE, move || system::offer(index, &Wish::default()))??.1)
}

fn list(formats: &[Format]) -> String {
    if formats.is_empty() {
        return "only encodings other than NV12, YUYV, MJPEG, RGB and grey".into();
    }
    let texts: Vec<_> = formats.iter().take(8).map(ToString::to_string).collect();
    format!("only {}", texts.join(", "))
}

fn to_nokhwa(format: Format) -> Option<CameraFormat> {
    let encoding = match format.encoding {
        Encoding::Nv12 => FrameFormat::NV12,
        Encoding::Yuyv => FrameFormat::YUYV,
        Encoding::Mjpeg => FrameFormat::MJPEG,
        Encoding::Rgb => FrameFormat::RAWRGB,
        Encoding::Bgr => FrameFormat::RAWBGR,
        Encoding::Gray => FrameFormat::GRAY,
    };
    let resolution = Resolution::new(format.size.width(), format.size.height());
    Some(CameraFormat::new(resolution, encoding, format.whole_fps()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::convert::{Converter, Layout};
    use cv_core::{
        geometry::Size,
        picture::{Picture, Range},
    };

    #[test]
    fn a_camera_plugged_in_again_is_found_under_its_new_number() {
        let format = Format { encoding: Encoding::Nv12, size: Size::new(64, 32).unwrap(), fps: 30.0 };
        let layout = Layout { encoding: Encoding::Nv12, size: format.size, stride: 64, range: Range::Limited };
        let known = Opened { index: 0, name: "Cam".into(), format, layout };
        let at = |cameras: &[(u32, &str)]| {
            find(&cameras.iter().map(|(index, name)| (*index, (*name).to_owned())).collect::<Vec<_>>(), &known)
        };
        assert_eq!(at(&[(0, "Cam"), (2, "Cam")]), 0);
        assert_eq!(at(&[(0, "Other"), (2, "Cam")]), 2);
        assert_eq!(at(&[(1, "Other")]), 0);
    }

    /// Deciles of a plane's samples: the same for every encoding of a scene that moves sideways.
    fn deciles(picture: &Picture, index: usize) -> Vec<u8> {
        let mut samples: Vec<u8> = picture.plane(index).rows().flatten().copied().collect();
        samples.sort_unstable();
        (1..10).map(|tenth| samples[samples.len() * tenth / 10]).collect()
    }

    /// Run by `scripts/test-camera.sh`, where the kernel's test picture is in front of the camera.
    #[test]
    #[ignore = "needs a camera with a still or evenly moving scene"]
    fn every_encoding_of_a_camera_shows_the_same() {
        let camera = Native { index: 0, wish: Wish { size: Size::new(320, 180).ok(), fps: Some(10.0) } };
        let (mut known, stream) = camera.open(None).unwrap();
        drop(stream);
        let mut wanted = None;
        for encoding in [Encoding::Nv12, Encoding::Yuyv, Encoding::Rgb, Encoding::Bgr] {
            known.format.encoding = encoding;
            let (opened, mut stream) = camera.open(Some(&known)).unwrap();
            let picture = Converter::new(opened.layout).picture(&stream.frame().unwrap().0).unwrap();
            let shown = [0, 1, 2].map(|index| deciles(&picture, index));
            eprintln!("{encoding}: {shown:?}, {:?}", opened.layout);
            let off = |wanted: &[Vec<u8>; 3]| {
                let pairs = wanted.iter().flatten().zip(shown.iter().flatten());
                pairs.map(|(wanted, is)| wanted.abs_diff(*is)).max().unwrap()
            };
            assert!(wanted.as_ref().is_none_or(|wanted| off(wanted) <= 5), "{encoding} differs from {wanted:?}");
            wanted.get_or_insert(shown);
        }
    }
}
