//! OpenH264 as an encoder, tuned for low delay and exact timing.

use cv_core::{
    picture::{Picture, Range},
    timestamp::{TimeBase, Timestamp},
};
use openh264::{
    OpenH264API,
    encoder::{
        BitRate, ColorPrimaries, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, MatrixCoefficients,
        RateControlMode, TransferCharacteristics, UsageType, VuiConfig,
    },
    formats::YUVSource,
};

use super::{Engine, Options};

struct OpenH264 {
    encoder: Encoder,
    started: bool,
}

/// An encoder for `options`.
pub(super) fn open(options: &Options) -> Result<Box<dyn Engine>, String> {
    let mut config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(options.bitrate))
        .max_frame_rate(FrameRate::from_hz(options.fps as f32))
        .rate_control_mode(RateControlMode::Bitrate)
        .usage_type(UsageType::CameraVideoRealTime)
        // Higher complexity gains a quarter of a dB and costs a sixth of the time.
        .complexity(Complexity::Low)
        // The default leaves pictures out to hold the rate; every picture counts here.
        .skip_frames(false)
        // Noise passes for a scene change and would give keyframes nobody asked for.
        .scene_change_detect(false)
        // Keyframes are ordered one by one, so that the schedule is ours.
        .intra_frame_period(IntraFramePeriod::from_num_frames(0))
        .num_threads(1);
    if options.range == Range::Full {
        let vui = VuiConfig::bt709_full()
            .color_primaries(ColorPrimaries::Unspecified)
            .transfer_characteristics(TransferCharacteristics::Unspecified)
            .matrix_coefficients(MatrixCoefficients::Unspecified);
        config = config.vui(vui);
    }
    let mut encoder =
        Encoder::with_api_config(OpenH264API::from_source(), config).map_err(|error| error.to_string())?;
    hush(&mut encoder);
    Ok(Box::new(OpenH264 { encoder, started: false }))
}

/// The codec warns on stderr about options that are chosen on purpose, before the wrapper tells it to be quiet.
#[allow(unsafe_code, reason = "the wrapper has no safe way to set this option before the first picture")]
fn hush(encoder: &mut Encoder) {
    let mut level = openh264_sys2::WELS_LOG_QUIET;
    // SAFETY: the option takes a pointer to an int and copies it; the wrapper sets the same one itself later.
    let status =
        unsafe { encoder.raw_api().set_option(openh264_sys2::ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast()) };
    tracing::trace!(?status, "quiet codec");
}

/// Asks a running encoder for another bitrate; `false` if it has not begun or does not want to.
#[allow(unsafe_code, reason = "the wrapper has no safe way to set this option")]
fn set_bitrate(encoder: &mut Encoder, bitrate: u32) -> bool {
    let mut wanted = openh264_sys2::SBitrateInfo {
        iLayer: openh264_sys2::SPATIAL_LAYER_ALL,
        iBitrate: i32::try_from(bitrate).unwrap_or(i32::MAX),
    };
    let option = openh264_sys2::ENCODER_OPTION_BITRATE;
    // SAFETY: the option takes a pointer to this struct and copies what it needs.
    let status = unsafe { encoder.raw_api().set_option(option, (&raw mut wanted).cast()) };
    status == 0
}

impl Engine for OpenH264 {
    fn encode(&mut self, picture: &Picture, pts: Timestamp, keyframe: bool, out: &mut Vec<u8>) -> Result<(), String> {
        // The first picture is a keyframe by itself; forcing needs an encoder that has begun.
        if keyframe && self.started {
            self.encoder.force_intra_frame();
        }
        self.started = true;
        let millis = pts.rescale(TimeBase::new(1, 1000).expect("constant")).ticks;
        let timestamp = openh264::Timestamp::from_millis(millis.max(0) as u64);
        let stream = self.encoder.encode_at(&Planes(picture), timestamp).map_err(|error| error.to_string())?;
        stream.write_vec(out);
        if out.is_empty() {
            return Err("the encoder gave nothing for a picture".into());
        }
        Ok(())
    }

    fn set_bitrate(&mut self, bitrate: u32) -> bool {
        self.started && set_bitrate(&mut self.encoder, bitrate)
    }
}

/// A picture in the shape that the encoder reads, without copying.
struct Planes<'a>(&'a Picture);

impl YUVSource for Planes<'_> {
    fn dimensions(&self) -> (usize, usize) {
        let plane = self.0.plane(0);
        (plane.width, plane.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.0.plane(0).stride, self.0.plane(1).stride, self.0.plane(2).stride)
    }

    fn y(&self) -> &[u8] {
        self.0.plane(0).data
    }

    fn u(&self) -> &[u8] {
        self.0.plane(1).data
    }

    fn v(&self) -> &[u8] {
        self.0.plane(2).data
    }
}
