//! A camera as a source: opened at a format that suits, read on its own thread, reopened when it was unplugged.
//!
//! Three things go wrong with cameras, and each has its place here: they offer odd formats
//! (`format`), they send damaged pictures (`convert`, `jpeg`), and they stall or vanish
//! (`capture`, `live`). The first pictures are dropped while exposure settles.
//!
//! Not here: pace and numbering; a camera sets its own pace, and only its newest picture is kept.

use std::{fmt, sync::Arc};

use cv_core::geometry::Size;
use cv_source::{Error, Source};
use serde::Serialize;

mod capture;
mod clock;
mod convert;
mod fault;
mod format;
mod jpeg;
mod live;
mod native;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(target_os = "linux")]
mod v4l2;

pub use format::{Encoding, Format};

/// Which camera, and what to ask of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Its number as [`list`] gives it; on Linux that of `/dev/videoN`.
    pub index: u32,
    /// Wanted size; the nearest one offered is taken. Without it: nearest to 1280x720.
    pub size: Option<Size>,
    /// Wanted pictures a second, likewise. Without it: nearest to 30.
    pub fps: Option<f64>,
}

/// Opens a camera and starts it. Fails within ten seconds, with a sentence that says what to do.
pub fn open(options: &Options) -> Result<Box<dyn Source>, Error> {
    let wish = format::Wish { size: options.size, fps: options.fps };
    let driver = Arc::new(native::Native { index: options.index, wish });
    let live = live::Live::open(driver, live::Timing::default());
    let live = live.map_err(|fault| Error::Camera { index: options.index, problem: fault.to_string() })?;
    Ok(Box::new(live))
}

/// One camera of this computer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Device {
    /// Its number, for [`Options::index`].
    pub index: u32,
    /// What it calls itself.
    pub name: String,
    /// Why it cannot be asked for its formats, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What it offers, as far as it can be used.
    pub formats: Vec<Format>,
}

/// All cameras of this computer in order of number; empty where there is none.
pub fn list() -> Result<Vec<Device>, Error> {
    let device = |(index, name)| match native::formats(index) {
        Ok(formats) => Device { index, name, problem: None, formats },
        Err(fault) => Device { index, name, problem: Some(fault.to_string()), formats: Vec::new() },
    };
    Ok(native::cameras().into_iter().map(device).collect())
}

/// For a person: one line for the camera, one for each size and encoding with its rates.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "camera {}: {}", self.index, self.name)?;
        if let Some(problem) = &self.problem {
            return write!(f, "\n  {problem}");
        }
        for same in self.formats.chunk_by(|a, b| (a.size, a.encoding) == (b.size, b.encoding)) {
            write!(f, "\n  {:>9} {:5}", same[0].size.to_string(), same[0].encoding)?;
            for format in same {
                write!(f, " {}", (format.fps * 100.0).round() / 100.0)?;
            }
            write!(f, " fps")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        let format = |size: &str, fps| Format { encoding: Encoding::Yuyv, size: size.parse().unwrap(), fps };
        let formats = vec![format("1280x720", 10.0), format("1280x720", 7.5), format("640x480", 30_000.0 / 1001.0)];
        Device { index: 0, name: "Cam".into(), problem: None, formats }
    }

    #[test]
    fn a_camera_reads_well_as_text() {
        assert_eq!(device().to_string(), "camera 0: Cam\n   1280x720 YUYV  10 7.5 fps\n    640x480 YUYV  29.97 fps");
        let locked = Device { problem: Some(fault::Fault::Busy.to_string()), formats: Vec::new(), ..device() };
        assert!(locked.to_string().starts_with("camera 0: Cam\n  in use by another program"));
    }

    #[test]
    fn a_camera_is_json() {
        let json = serde_json::to_string(&device()).unwrap();
        assert!(
            json.starts_with(r#"{"index":0,"name":"Cam","formats":[{"encoding":"YUYV","size":"1280x720","fps":10.0}"#),
            "{json}"
        );
    }

    #[test]
    fn a_camera_that_is_not_there_is_a_clear_error() {
        let error = open(&Options { index: 4_000, ..Options::default() }).err().unwrap().to_string();
        assert!(error.starts_with("camera 4000: not found; "), "{error}");
    }
}
