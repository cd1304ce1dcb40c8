//! What holds for every pattern, and what is left of its truth after coding and decoding.

use std::f64::consts::TAU;

use cv_core::geometry::Rect;
use openh264::{
    OpenH264API,
    decoder::Decoder,
    encoder::{BitRate, Encoder, EncoderConfig, FrameRate},
    formats::YUVSource,
};

use super::*;

fn size(width: u32, height: u32) -> Size {
    Size::new(width, height).unwrap()
}

fn source(spec: &str, whole: Size) -> Box<dyn Source> {
    open(spec, Some(whole), None).unwrap()
}

fn pictures(spec: &str, whole: Size, count: usize) -> Vec<Picture> {
    let mut source = source(spec, whole);
    (0..count).map_while(|_| source.next().unwrap()).map(|captured| captured.picture).collect()
}

fn centre(picture: &Picture) -> Picture {
    picture.crop(Rect::centred(picture.size(), 0.7).unwrap())
}

fn samples(picture: &Picture) -> Vec<u8> {
    (0..3).flat_map(|plane| picture.plane(plane).rows().flatten().copied()).collect()
}

fn refusal(spec: &str) -> String {
    match open(spec, None, None) {
        Err(Error::Pattern(message)) => message,
        other => panic!("{spec} gives {:?}", other.map(|source| source.info().clone())),
    }
}

/// A picture as the encoder reads it, a crop in place.
struct Planes<'a>(&'a Picture);

impl YUVSource for Planes<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.0.plane(0).width, self.0.plane(0).height)
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

/// What comes out of an H.264 encoder at `bps` and a decoder.
fn coded(pictures: &[Picture], bps: u32) -> Vec<Picture> {
    let config = EncoderConfig::new()
        .bitrate(BitRate::from_bps(bps))
        .max_frame_rate(FrameRate::from_hz(30.0))
        .skip_frames(false)
        .scene_change_detect(false);
    let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).unwrap();
    let mut decoder = Decoder::new().unwrap();
    let pool = cv_core::picture::Pool::default();
    let decoded = pictures.iter().map(|picture| {
        let unit = encoder.encode(&Planes(picture)).unwrap().to_vec();
        let decoded = decoder.decode(&unit).unwrap().expect("Baseline has no delay");
        let mut copy = pool.picture(picture.size(), picture.range());
        let strides = decoded.strides();
        let [mut y, mut u, mut v] = copy.planes_mut();
        y.copy_from(decoded.y(), strides.0);
        u.copy_from(decoded.u(), strides.1);
        v.copy_from(decoded.v(), strides.2);
        copy.freeze()
    });
    decoded.collect()
}

/// Amplitude of the sinusoid of `bpm` with phase 0 at the first picture, and of its quadrature; values span whole beats.
fn fitted(values: &[f64], bpm: f64) -> [f64; 2] {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    [f64::sin, f64::cos].map(|wave| {
        let turned = |(index, value): (usize, &f64)| (value - mean) * wave(TAU * bpm / 60.0 * index as f64 / 30.0);
        values.iter().enumerate().map(turned).sum::<f64>() * 2.0 / values.len() as f64
    })
}

/// Largest distance of the values from a sinusoid of `bpm` with this amplitude around their mean.
fn worst(values: &[f64], bpm: f64, amplitude: f64) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let wave = |index: usize| amplitude * (TAU * bpm / 60.0 * index as f64 / 30.0).sin();
    values.iter().enumerate().map(|(index, value)| (value - mean - wave(index)).abs()).fold(0.0, f64::max)
}

/// Means of one plane over the middle half of each picture.
fn means(pictures: &[Picture], plane: usize) -> Vec<f64> {
    let mean = |picture: &Picture| {
        let part = picture.crop(Rect::centred(picture.size(), 0.5).unwrap());
        let plane = part.plane(plane);
        plane.rows().flatten().map(|&sample| f64::from(sample)).sum::<f64>() / (plane.width * plane.height) as f64
    };
    pictures.iter().map(mean).collect()
}

/// By how much Y, U and V beat to either side, from the definition of the colour space.
fn beat() -> [f64; 3] {
    let skin = colour::yuv([201.0, 148.0, 121.0]);
    let high = colour::yuv([201.0 * 1.0026, 148.0 * 1.0062, 121.0 * 1.0042]);
    [0, 1, 2].map(|plane| high[plane] - skin[plane])
}

#[test]
fn two_runs_are_bit_identical() {
    for (name, _) in names() {
        let run = || pictures(name, size(202, 114), 40).iter().map(samples).collect::<Vec<_>>();
        assert!(run() == run(), "{name}");
    }
}

#[test]
fn every_pattern_but_black_moves() {
    for (name, _) in names() {
        let run = pictures(name, size(320, 180), 60);
        assert_eq!(samples(&run[30]) == samples(&run[45]), *name == "black", "{name}");
    }
}

#[test]
fn odd_and_tiny_sizes_have_pictures() {
    let sides = [1, 2, 3, 5, 8, 15, 16, 47, 48, 99];
    for (name, _) in names() {
        for (width, height) in sides.into_iter().flat_map(|width| sides.map(|height| (width, height))) {
            let run = pictures(name, size(width, height), 3);
            assert!(run.iter().all(|picture| picture.size() == size(width, height)), "{name}");
        }
    }
}

#[test]
fn the_largest_and_the_longest_pictures_work() {
    for (name, _) in names() {
        assert_eq!(pictures(name, size(16_384, 2), 2).len(), 2, "{name}");
        assert_eq!(pictures(name, size(2, 16_384), 2).len(), 2, "{name}");
    }
    for name in ["bars", "noise", "pulse:motion=9", "reps"] {
        assert_eq!(pictures(name, size(8192, 4320), 1)[0].size(), size(8192, 4320), "{name}");
    }
}

#[test]
fn the_number_is_read_from_every_picture_and_its_centre() {
    for whole in [size(1280, 720), size(320, 180), size(640, 480), size(608, 1080), size(321, 181), size(160, 90)] {
        for (number, picture) in pictures("bars", whole, 70).iter().enumerate() {
            assert_eq!(read_number(picture, whole), Some(number as u64), "{whole}");
            assert_eq!(read_number(&centre(picture), whole), Some(number as u64), "centre of {whole}");
        }
    }
}

#[test]
fn the_number_outlives_h264_at_a_low_rate() {
    for (whole, bps) in [(size(1280, 720), 300_000), (size(640, 360), 150_000), (size(320, 180), 80_000)] {
        let sent: Vec<Picture> = pictures("bars", whole, 60).iter().map(centre).collect();
        for (number, picture) in coded(&sent, bps).iter().enumerate() {
            assert_eq!(read_number(picture, whole), Some(number as u64), "{whole}");
        }
    }
}

#[test]
fn the_pulse_of_raw_pictures_follows_its_sinusoid_within_two_percent() {
    for (whole, bpm) in [(size(640, 360), 72.0), (size(1280, 720), 120.0)] {
        let run = pictures(&format!("pulse:bpm={bpm}"), whole, 75);
        for (plane, expected) in beat().into_iter().enumerate() {
            let values = means(&run, plane);
            let [amplitude, quadrature] = fitted(&values, bpm);
            assert!((amplitude / expected - 1.0).abs() < 0.02, "plane {plane}: {amplitude} for {expected}");
            assert!(quadrature.abs() < 0.02 * expected.abs(), "plane {plane}: {quadrature} beside {expected}");
            let worst = worst(&values, bpm, expected);
            assert!(worst < 0.05 * expected.abs(), "plane {plane}: one picture is {worst} off {expected}");
        }
    }
}

#[test]
fn the_pulse_outlives_h264() {
    let sent: Vec<Picture> = pictures("pulse:bpm=90", size(640, 360), 220).iter().map(centre).collect();
    let received = coded(&sent, 1_500_000);
    for (plane, expected) in beat().into_iter().enumerate() {
        let values = means(&received[100..], plane);
        let strength = |bpm: f64| fitted(&values, bpm).map(|part| part * part).iter().sum::<f64>().sqrt();
        assert!(strength(90.0) > 0.7 * expected.abs(), "plane {plane}: {} for {expected}", strength(90.0));
        let others = (3..=16).map(|step| f64::from(step) * 15.0).filter(|&bpm| bpm != 90.0);
        for bpm in others {
            assert!(strength(bpm) < 0.3 * strength(90.0), "plane {plane}: {} at {bpm}", strength(bpm));
        }
    }
}

#[test]
fn ntsc_times_are_exact_ticks() {
    for (spec, fps) in [("black:fps=30000/1001", None), ("black:fps=25", Some(30_000.0 / 1001.0))] {
        let mut source = open(spec, None, fps).unwrap();
        for number in 0..3000 {
            let pts = source.next().unwrap().unwrap().pts;
            assert_eq!((pts.ticks, pts.base.num(), pts.base.den()), (number, 1001, 30_000));
        }
        assert!((source.info().fps - 29.97).abs() < 1e-3);
    }
}

#[test]
fn a_pattern_tells_what_it_is_and_ends_when_told() {
    let mut source = open("bars:frames=3,size=64x48,fps=12.5", None, None).unwrap();
    let info = source.info().clone();
    assert_eq!((info.name.as_str(), info.size), ("pattern bars:frames=3,size=64x48,fps=12.5", size(64, 48)));
    assert_eq!((info.fps, info.frames, info.live), (12.5, Some(3), false));
    assert_eq!((0..5).filter(|_| source.next().unwrap().is_some()).count(), 3);
    assert_eq!(open("bars:size=64x48", Some(size(32, 32)), None).unwrap().info().size, size(32, 32));
    let plain = open("texture", None, None).unwrap();
    assert_eq!((plain.info().size, plain.info().fps, plain.info().frames), (size(1280, 720), 30.0, None));
}

#[test]
fn repetitions_end_by_themselves_with_a_still_second() {
    assert_eq!(pictures("reps:count=2,period=1", size(32, 32), 1000).len(), 120);
    assert_eq!(pictures("reps:count=2,period=1,frames=500", size(32, 32), 1000).len(), 500);
}

#[test]
fn mistakes_name_what_is_known() {
    assert_eq!(refusal("bar"), "there is no pattern 'bar': use one of bars, noise, pulse, reps, black, texture");
    assert_eq!(
        refusal("pulse:speed=3"),
        "pattern pulse has no parameter 'speed': it takes bpm, motion, size, fps, frames"
    );
    assert_eq!(refusal("pulse:bpm=4000"), "pattern pulse: bpm=4000 is not a number from 20 to 300");
    assert_eq!(refusal("pulse:bpm"), "pattern pulse: 'bpm' is not of the form key=value");
    assert_eq!(refusal("noise:seed=1,seed=2"), "pattern noise: seed is given twice, leave one out");
    assert!(refusal("black:size=0x9").starts_with("pattern black: size: "));
    assert!(refusal("black:fps=fast").contains("'fast' is not a frame rate"));
    for spec in
        ["", ":", "bars:", "bars:,", "bars:=", "noise:level=0", "pulse:bpm=nan", "reps:count=-1", "bars:frames=0"]
    {
        assert!(!refusal(spec).is_empty());
    }
    for fps in [0.0, -30.0, f64::NAN, f64::INFINITY, 1e6] {
        assert!(open("black", None, Some(fps)).is_err(), "{fps}");
    }
}

#[test]
fn the_help_lists_every_parameter() {
    for kind in &KINDS {
        assert!(kind.parameters.iter().all(|parameter| kind.help.contains(&format!("{parameter}="))), "{}", kind.name);
    }
}
