//! What nokhwa does not do on Linux: list formats truthfully, and leave a camera in a state that nokhwa accepts.
//!
//! nokhwa 0.10 lists 12.5 pictures a second as 25, and refuses to open a camera that another
//! program left at a rate or encoding it does not know. It does not tell either how long rows are
//! and which range samples have. So the format is set here first, and nokhwa finds it set.

use std::{io, ops::RangeInclusive};

use cv_core::{geometry::Size, picture::Range};
use v4l::{
    Device, FourCC,
    capability::Flags,
    context::Node,
    format::{Colorspace, Quantization},
    frameinterval::FrameIntervalEnum,
    framesize::FrameSizeEnum,
    video::{Capture, capture::Parameters},
};

use super::{
    convert::Layout,
    fault::Fault,
    format::{Encoding, Format, Wish},
};

/// Fourcc and encoding, as nokhwa pairs them ("GRAY" is its own spelling, no driver's).
const ENCODINGS: [(&[u8; 4], Encoding); 5] = [
    (b"NV12", Encoding::Nv12),
    (b"YUYV", Encoding::Yuyv),
    (b"MJPG", Encoding::Mjpeg),
    (b"RGB3", Encoding::Rgb),
    (b"BGR3", Encoding::Bgr),
];

/// Sizes and rates to pick out of what a camera offers as a continuous range.
const SIZES: [(u32, u32); 8] =
    [(320, 180), (320, 240), (640, 360), (640, 480), (960, 540), (1280, 720), (1920, 1080), (3840, 2160)];
const RATES: [f64; 9] = [5.0, 10.0, 15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0];

/// The camera's name and every format of it that can be read, `wish` included where a range allows it.
pub(super) fn offer(index: u32, wish: &Wish) -> Result<(String, Vec<Format>), Fault> {
    let device = open(index)?;
    let path = format!("/dev/video{index}");
    // The same name as in nokhwa's list of cameras, by which one is found again.
    let name = Node::new(&path).name().unwrap_or(path);
    let offered = device.enum_formats().map_err(fault)?;
    let mut formats = Vec::new();
    for (code, encoding) in ENCODINGS {
        if !offered.iter().any(|format| format.fourcc.repr == *code) {
            continue;
        }
        let code = FourCC::new(code);
        for size in sizes(&device, code, wish) {
            formats.extend(rates(&device, code, size, wish).into_iter().map(|fps| Format { encoding, size, fps }));
        }
    }
    Ok((name, formats))
}

/// Sets `format` and says how its buffers look.
pub(super) fn prepare(index: u32, format: Format) -> Result<Layout, Fault> {
    let Format { encoding, size, .. } = format;
    let (code, _) =
        ENCODINGS.iter().find(|(_, known)| *known == encoding).ok_or_else(|| Fault::NoFormat(format.to_string()))?;
    let device = open(index)?;
    let wanted = v4l::Format::new(size.width(), size.height(), FourCC::new(code));
    let set = device.set_format(&wanted).map_err(fault)?;
    let fps = format.whole_fps().ok_or_else(|| Fault::NoFormat(format.to_string()))?;
    let interval = device.set_params(&Parameters::with_fps(fps)).map_err(fault)?.interval;
    let same = (set.width, set.height, set.fourcc.repr) == (wanted.width, wanted.height, **code);
    if !same || (interval.numerator, interval.denominator) != (1, fps) {
        let rate = f64::from(interval.denominator) / f64::from(interval.numerator);
        return Err(Fault::Refused {
            asked: format,
            got: format!("{}x{} {} {rate} fps", set.width, set.height, set.fourcc),
        });
    }
    Ok(Layout { encoding, size, stride: set.stride as usize, range: range(encoding, &set) })
}

/// Whether pictures come out of device `index`, not metadata or nothing at all; yes where it does not say.
pub(super) fn captures(index: u32) -> bool {
    let caps = open(index).ok().and_then(|device| device.query_caps().ok());
    caps.is_none_or(|caps| caps.capabilities.contains(Flags::VIDEO_CAPTURE))
}

fn open(index: u32) -> Result<Device, Fault> {
    Device::new(index as usize).map_err(|error| match fault(error) {
        // A device node without a device behind it.
        Fault::Gone => Fault::Absent(Vec::new()),
        other => other,
    })
}

fn fault(error: io::Error) -> Fault {
    Fault::from_errno(error.raw_os_error().unwrap_or_default(), error.to_string())
}

/// The driver's word, or else the default of its colour space (V4L2 specification, "Colorspaces").
fn range(encoding: Encoding, format: &v4l::Format) -> Range {
    match (encoding, format.quantization, format.colorspace) {
        // RGB is converted to limited range here; the decoder of Motion-JPEG says for itself.
        (Encoding::Rgb | Encoding::Bgr, _, _) => Range::Limited,
        (_, Quantization::FullRange, _) | (_, Quantization::Default, Colorspace::JPEG) => Range::Full,
        _ => Range::Limited,
    }
}

fn sizes(device: &Device, code: FourCC, wish: &Wish) -> Vec<Size> {
    let wished = wish.size.map(|size| (size.width(), size.height()));
    let in_range = |range: &v4l::framesize::Stepwise| -> Vec<(u32, u32)> {
        let fits = |value: u32, within: RangeInclusive<u32>, step: u32| {
            within.contains(&value) && (value - within.start()).is_multiple_of(step.max(1))
        };
        let candidates = SIZES.into_iter().chain(wished);
        let offered = candidates.filter(|(width, height)| {
            fits(*width, range.min_width..=range.max_width, range.step_width)
                && fits(*height, range.min_height..=range.max_height, range.step_height)
        });
        offered.collect()
    };
    let current = || device.format().map(|format| vec![(format.width, format.height)]).unwrap_or_default();
    let listed = device.enum_framesizes(code).ok().filter(|sizes| !sizes.is_empty()).map(|sizes| {
        sizes.into_iter().flat_map(|listed| match listed.size {
            FrameSizeEnum::Discrete(size) => vec![(size.width, size.height)],
            FrameSizeEnum::Stepwise(range) => in_range(&range),
        })
    });
    let listed: Vec<_> = listed.map_or_else(current, Iterator::collect);
    listed.into_iter().filter_map(|(width, height)| Size::new(width, height).ok()).collect()
}

fn rates(device: &Device, code: FourCC, size: Size, wish: &Wish) -> Vec<f64> {
    let fps = |interval: &v4l::Fraction| f64::from(interval.denominator) / f64::from(interval.numerator.max(1));
    let in_range = |range: &v4l::frameinterval::Stepwise| -> Vec<f64> {
        // The longest interval is the lowest rate.
        let within = fps(&range.max)..=fps(&range.min);
        RATES.into_iter().chain(wish.fps).filter(|rate| within.contains(rate)).collect()
    };
    let current = || device.params().map(|params| vec![fps(&params.interval)]).unwrap_or_default();
    let listed = device.enum_frameintervals(code, size.width(), size.height()).ok().filter(|rates| !rates.is_empty());
    let listed = listed.map(|rates| {
        rates.into_iter().flat_map(|listed| match listed.interval {
            FrameIntervalEnum::Discrete(interval) => vec![fps(&interval)],
            FrameIntervalEnum::Stepwise(range) => in_range(&range),
        })
    });
    listed.map_or_else(current, Iterator::collect)
}
