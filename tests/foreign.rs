//! Odd offers and odd streams, from a client that knows nothing of ours: each is answered picture by picture, or refused.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

use cv_tests::{
    Receiver, clips,
    foreign::{Channel, Client, Offer, Packing},
    lines,
    python::{self, Script},
    streams::{self, Unit},
};
use serde_json::{Value, json};
use webrtc::peer_connection::{
    RTCCertificate,
    crypto::{SignatureScheme, providers::RingCrypto},
};

const PACKED: Packing = Packing::Packed(1200);
/// What an x264 stream needs to be without B-frames and look-ahead.
const PLAIN: [&str; 4] = ["-profile:v", "baseline", "-tune", "zerolatency"];

/// A staircase of `frames` pictures of 320x240.
fn plain(frames: u32) -> Vec<Unit> {
    streams::staircase("320x240", frames, &PLAIN)
}

/// Sends `units` and gives all lines of the session.
fn run(receiver: &Receiver, session: &str, offer: Offer, units: &[Unit]) -> Vec<String> {
    run_packed(receiver, (session, offer), units, PACKED)
}

fn run_packed(receiver: &Receiver, (session, offer): (&str, Offer), units: &[Unit], packing: Packing) -> Vec<String> {
    let mut client = Client::connect(receiver.address, session, offer);
    send_all(&mut client, units, packing);
    receiver.wait_for_frame(session, 0);
    settle(receiver, session, units.len());
    client.end();
    receiver.lines_until_closed(session)
}

fn send_all(client: &mut Client, units: &[Unit], packing: Packing) {
    for unit in units {
        client.send(unit, packing);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until nothing more comes: all `frames` are analysed, or as many as the decoder lets out before the end.
fn settle(receiver: &Receiver, session: &str, frames: usize) {
    let (mut seen, mut since) = (0, Instant::now());
    while seen < frames as u64 && since.elapsed() < Duration::from_secs(1) {
        let now = receiver.describe(session)["totals"]["received"].as_u64().unwrap();
        if now > seen {
            (seen, since) = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn brightness(result: &Value) -> f64 {
    result["analysis"]["stats"]["brightness"].as_f64().unwrap()
}

/// Checks that all `frames` pictures of a staircase were answered, each once, in presentation order, 30 a second.
fn assert_staircase(all: &[String], frames: usize, size: (u64, u64)) {
    let results = lines::of_type(all, "result");
    assert_eq!(lines::accounted(all), (0..frames as u64).collect::<Vec<_>>());
    assert_eq!(results.len(), frames);
    for (number, result) in results.iter().enumerate() {
        let time = result["time"].as_f64().unwrap();
        assert!((time - number as f64 / 30.0).abs() < 2e-5, "frame {number} has time {time}");
        let luma = brightness(result);
        assert!((luma - streams::luma(number)).abs() < 1.5, "frame {number} has luma {luma}");
        assert_eq!((result["width"].as_u64(), result["height"].as_u64()), (Some(size.0), Some(size.1)), "{result}");
    }
    assert_closed(all, frames);
}

/// Checks what every session of a client without stamps must hold.
fn assert_closed(all: &[String], frames: usize) {
    for result in lines::of_type(all, "result") {
        let source = result["clock"]["source"].as_str().unwrap();
        assert!(["arrival", "rtcp-sr", "abs-capture-time"].contains(&source), "{result}");
        assert!(result["errors"].as_array().unwrap().is_empty(), "{result}");
    }
    let closed = lines::of_type(all, "session").pop().unwrap();
    let totals = &closed["totals"];
    let of = |value: &Value| value.as_u64().unwrap();
    let dropped: u64 = ["late", "busy", "undecodable"].iter().map(|cause| of(&totals["dropped"][cause])).sum();
    assert_eq!(of(&totals["received"]), of(&totals["analyzed"]) + dropped, "{closed}");
    assert_eq!(of(&totals["analyzed"]), frames as u64, "{closed}");
}

#[test]
fn an_offer_that_lists_vp8_first_and_has_audio_is_answered_with_h264() {
    let receiver = Receiver::start(&[]);
    let offer = Offer { vp8_first: true, audio: true, ..Offer::default() };
    let mut client = Client::connect(receiver.address, "vp8", offer);
    assert!(!client.answer.contains("VP8"), "{}", client.answer);
    assert!(client.answer.contains("opus") && !client.answer.contains("m=audio 0"), "{}", client.answer);
    let units = plain(30);
    for (number, unit) in units.iter().enumerate() {
        client.send(unit, PACKED);
        (0..2).for_each(|half| client.send_audio(2 * number as u16 + half));
    }
    settle(&receiver, "vp8", units.len());
    client.end();
    assert_staircase(&receiver.lines_until_closed("vp8"), 30, (320, 240));
}

#[test]
fn an_offer_without_a_usable_candidate_connects() {
    let receiver = Receiver::start(&[]);
    let units = plain(10);
    let none = Offer {
        edit: |sdp| {
            let kept = sdp.lines().filter(|line| !line.starts_with("a=candidate:") && *line != "a=end-of-candidates");
            kept.map(|line| format!("{line}\r\n")).collect()
        },
        ..Offer::default()
    };
    assert_staircase(&run(&receiver, "none", none, &units), 10, (320, 240));
    let hidden = Offer {
        edit: |sdp| sdp.replace(" 127.0.0.1 ", " 0f1e2d3c-aaaa-bbbb-cccc-1234567890ab.local "),
        ..Offer::default()
    };
    assert_staircase(&run(&receiver, "mdns", hidden, &units), 10, (320, 240));
}

#[test]
fn an_offer_without_format_parameters_means_baseline_in_single_units() {
    let receiver = Receiver::start(&[]);
    let units = streams::staircase("320x240", 30, &[&PLAIN[..], &["-x264-params", "slice-max-size=300"]].concat());
    let offer = Offer { fmtp: "", query: "", ..Offer::default() };
    let all = run_packed(&receiver, ("bare", offer), &units, Packing::Single);
    assert_staircase(&all, 30, (320, 240));
}

#[test]
fn every_profile_is_decoded_exactly() {
    let receiver = Receiver::start(&[]);
    for (profile, fmtp) in [
        ("baseline", "packetization-mode=1;profile-level-id=42001f"),
        ("baseline", "packetization-mode=0;profile-level-id=42e01f"),
        ("main", "packetization-mode=1;profile-level-id=4d001f"),
        ("high", "packetization-mode=1;profile-level-id=64001f"),
        ("high", "level-asymmetry-allowed=1;profile-level-id=640c34;packetization-mode=1"),
    ] {
        let session = fmtp.replace([';', '='], "-");
        let units = streams::staircase("320x240", 20, &["-profile:v", profile, "-bf", "0"]);
        let all = run(&receiver, &session, Offer { fmtp, ..Offer::default() }, &units);
        assert_staircase(&all, 20, (320, 240));
    }
}

#[test]
fn pictures_of_odd_sizes_keep_their_size() {
    let receiver = Receiver::start(&[]);
    for (width, height) in [(642, 362), (322, 182), (18, 34), (16, 16), (1280, 2)] {
        let size = format!("{width}x{height}");
        let all = run(&receiver, &size, Offer::default(), &streams::staircase(&size, 10, &PLAIN));
        assert_staircase(&all, 10, (width, height));
    }
}

#[test]
fn a_picture_may_change_its_size_in_the_middle_of_a_stream() {
    let receiver = Receiver::start(&[]);
    let small = streams::staircase("322x182", 20, &PLAIN);
    let large = streams::staircase("640x360", 20, &PLAIN).into_iter();
    let later = large.map(|unit| Unit { ticks: unit.ticks + 20 * 3000, ..unit });
    let units: Vec<Unit> = small.into_iter().chain(later).collect();
    let all = run(&receiver, "sizes", Offer::default(), &units);
    let results = lines::of_type(&all, "result");
    assert_eq!(results.len(), 40);
    for (number, result) in results.iter().enumerate() {
        let size = if number < 20 { (322, 182) } else { (640, 360) };
        assert_eq!((result["width"].as_u64(), result["height"].as_u64()), (Some(size.0), Some(size.1)), "{result}");
        assert!((brightness(result) - streams::luma(number % 20)).abs() < 1.5, "{result}");
        assert!((result["time"].as_f64().unwrap() - number as f64 / 30.0).abs() < 2e-5, "{result}");
    }
    assert_closed(&all, 40);
}

#[test]
fn single_units_aggregates_and_fragments_give_the_same_results() {
    let receiver = Receiver::start(&[]);
    let units = streams::staircase("320x240", 30, &[&PLAIN[..], &["-x264-params", "slice-max-size=500"]].concat());
    let without_session = |all: Vec<String>| {
        let analysis = |result: &Value| (result["frame"].clone(), result["time"].clone(), result["analysis"].clone());
        lines::of_type(&all, "result").iter().map(analysis).collect::<Vec<_>>()
    };
    // Its first packet is a SEI unit: every-frame would wait for what might have come before it.
    let live = || Offer { query: "", ..Offer::default() };
    let single = run_packed(&receiver, ("single", live()), &units, Packing::Single);
    assert_staircase(&single, 30, (320, 240));
    let single = without_session(single);
    for most in [1200, 60] {
        let name = format!("packed-{most}");
        let packed = run_packed(&receiver, (&name, live()), &units, Packing::Packed(most));
        assert_eq!(without_session(packed), single, "payloads of {most} bytes");
    }
}

#[test]
fn a_sender_without_pauses_is_answered_in_full_or_told_how_many_were_left_out() {
    let receiver = Receiver::start(&[]);
    let units = plain(230).into_iter();
    let units: Vec<Unit> = units.map(|unit| Unit { ticks: unit.ticks * 30 / 230, ..unit }).collect();
    for (session, offer) in [("every", Offer::default()), ("live", Offer { query: "", ..Offer::default() })] {
        let mut client = Client::connect(receiver.address, session, offer);
        units.iter().for_each(|unit| client.send(unit, PACKED));
        settle(&receiver, session, units.len());
        client.end();
        let all = receiver.lines_until_closed(session);
        let results = lines::of_type(&all, "result");
        assert_closed(&all, results.len());
        let numbers: Vec<_> = results.iter().map(|result| result["frame"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..results.len() as u64).collect::<Vec<_>>());
        let closed = lines::of_type(&all, "session").pop().unwrap();
        assert_eq!(closed["totals"]["received"], 230, "{closed}");
        if session == "every" {
            assert_eq!(results.len(), 230);
            let time = results[229]["time"].as_f64().unwrap();
            assert!((time - 229.0 / 230.0).abs() < 2e-5, "{time}");
        }
    }
}

#[test]
fn pictures_that_are_sent_out_of_order_are_answered_in_presentation_order() {
    let receiver = Receiver::start(&[]);
    for (session, x264) in [
        ("main-2", "bframes=2:b-adapt=0:b-pyramid=none"),
        ("pyramid", "bframes=5:b-adapt=0:b-pyramid=normal:ref=4"),
        ("open-gop", "bframes=3:b-adapt=0:open-gop=1:keyint=15:min-keyint=15"),
        ("closed-gop", "bframes=3:b-adapt=0:keyint=15:min-keyint=15"),
    ] {
        let units = streams::staircase("320x240", 60, &["-profile:v", "high", "-x264-params", x264]);
        assert!(units.windows(2).any(|pair| pair[1].ticks < pair[0].ticks), "{x264} has B-frames");
        let offer = Offer { fmtp: "packetization-mode=1;profile-level-id=64001f", ..Offer::default() };
        assert_staircase(&run(&receiver, session, offer, &units), 60, (320, 240));
    }
}

#[test]
fn real_clips_sent_as_they_are_are_measured_as_ffmpeg_decodes_them() {
    let receiver = Receiver::start(&[]);
    for (name, size, frames) in [
        ("variants/v01_h264_baseline.mp4", (640, 360), 90),
        ("variants/v02_h264_main_b2.mp4", (640, 360), 90),
        ("variants/v03_h264_high_b3_opengop.mp4", (640, 360), 90),
        ("variants/v10_vfr.mp4", (640, 360), 59),
        ("variants/v12_h264_322x182_cropped.mp4", (322, 182), 90),
    ] {
        let Some(file) = clips::clip(name) else { return };
        let session = &name[9..12];
        let (units, expected) = (streams::units(&file), streams::brightness(&file, size));
        assert_eq!((units.len(), expected.len()), (frames, frames), "{name}");
        let all = run(&receiver, session, Offer::default(), &units);
        let results = lines::of_type(&all, "result");
        assert_eq!(results.len(), frames, "{name}");
        let mut ticks: Vec<i64> = units.iter().map(|unit| unit.ticks).collect();
        ticks.sort_unstable();
        for ((result, expected), ticks) in results.iter().zip(expected).zip(ticks) {
            assert!((brightness(result) - expected).abs() < 0.01, "{name}: {expected} expected in {result}");
            let time = result["time"].as_f64().unwrap();
            assert!((time - ticks as f64 / 90_000.0).abs() < 1e-5, "{name}: {ticks} ticks expected in {result}");
            assert_eq!(
                (result["width"].as_u64(), result["height"].as_u64()),
                (Some(size.0 as u64), Some(size.1 as u64))
            );
        }
        assert_closed(&all, frames);
    }
}

#[test]
fn a_client_with_an_rsa_certificate_connects() {
    let receiver = Receiver::start(&[]);
    let offer = Offer { certificate: Some(rsa_certificate()), ..Offer::default() };
    assert_staircase(&run(&receiver, "rsa", offer, &plain(10)), 10, (320, 240));
}

fn rsa_certificate() -> RTCCertificate {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.der"));
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("openssl: {error}; scripts/setup.sh tests installs it"));
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    openssl(
        &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=foreign", "-keyout", key]
            .into_iter()
            .chain(["-outform", "DER", "-out", certificate])
            .collect::<Vec<_>>(),
    );
    let key = openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", key, "-outform", "DER"]);
    let chain = vec![std::fs::read(certificate).unwrap().into()];
    let expires = SystemTime::now() + Duration::from_secs(86_400);
    RTCCertificate::from_pkcs8(&RingCrypto, SignatureScheme::RsaPkcs1Sha256, chain, &key, expires).unwrap()
}

#[test]
fn an_offer_that_insists_on_its_dtls_role_connects() {
    let receiver = Receiver::start(&[]);
    let active = Offer { edit: |sdp| sdp.replace("a=setup:actpass", "a=setup:active"), ..Offer::default() };
    assert_staircase(&run(&receiver, "active", active, &plain(10)), 10, (320, 240));
    let passive = Offer { edit: |sdp| sdp.replace("a=setup:actpass", "a=setup:passive"), ..Offer::default() };
    assert_staircase(&run(&receiver, "passive", passive, &plain(10)), 10, (320, 240));
}

#[test]
fn a_section_for_channels_without_a_channel_is_given_one() {
    let receiver = Receiver::start(&[]);
    let offer = Offer { channel: Channel::SectionOnly, ..Offer::default() };
    let mut client = Client::connect(receiver.address, "section", offer);
    send_all(&mut client, &plain(20), PACKED);
    // It comes some time after the pictures, and has all lines from the first on.
    let heard: Vec<String> = (0..21).map(|_| client.line()).collect();
    client.end();
    let printed = receiver.lines_until_closed("section");
    assert_eq!(heard, printed[..21]);
    assert_staircase(&printed, 20, (320, 240));
}

#[test]
fn a_channel_that_opens_late_hears_all_lines_from_the_first_on() {
    let receiver = Receiver::start(&[]);
    let offer = Offer { channel: Channel::SectionOnly, ..Offer::default() };
    let mut client = Client::connect(receiver.address, "late", offer);
    let units = plain(20);
    send_all(&mut client, &units[..10], PACKED);
    receiver.wait_for_frame("late", 9);
    client.open_channel("anything at all");
    send_all(&mut client, &units[10..], PACKED);
    let heard: Vec<String> = (0..21).map(|_| client.line()).collect();
    client.end();
    let printed = receiver.lines_until_closed("late");
    assert_eq!(heard, printed[..21]);
    assert_staircase(&printed, 20, (320, 240));
}

#[test]
fn what_a_client_says_on_its_channel_changes_nothing() {
    let receiver = Receiver::start(&[]);
    let offer = Offer { channel: Channel::Open("results"), ..Offer::default() };
    let mut client = Client::connect(receiver.address, "rubbish", offer);
    let units = plain(30);
    client.send(&units[0], PACKED);
    // With the first line the channel is open.
    let mut heard = vec![client.line()];
    for (number, unit) in units.iter().enumerate().skip(1) {
        client.say(&cv_tests::link::nonsense(number as u64 * 0x1_0001));
        client.say(&[]);
        client.say_text("");
        client.say_text("{\"type\":\"result\",\"frame\":18446744073709551615}");
        if number % 10 == 0 {
            client.say(&vec![number as u8; 60_000]);
        }
        client.send(unit, PACKED);
    }
    heard.extend((0..30).map(|_| client.line()));
    heard.extend(client.end());
    let printed = receiver.lines_until_closed("rubbish");
    assert_eq!(heard, printed[..heard.len()]);
    assert_staircase(&printed, 30, (320, 240));
    assert!(!receiver.program.stderr().contains("panicked"), "{}", receiver.program.stderr());
}

#[test]
fn a_result_that_is_too_long_for_a_channel_is_a_gap_there_and_the_channel_goes_on() {
    let script =
        Script::new("def look(frame, meta):\n    return {'text': 'x' * (300_000 if meta.frame == 3 else 30)}\n");
    let python = python::interpreter();
    let receiver = Receiver::start(&["--python", python.to_str().unwrap(), "--analyze", &script.function("look")]);
    let offer = Offer { channel: Channel::Open("results"), ..Offer::default() };
    let mut client = Client::connect(receiver.address, "long", offer);
    send_all(&mut client, &plain(10), PACKED);
    let heard: Vec<String> = (0..11).map(|_| client.line()).collect();
    client.end();
    assert_eq!(lines::of_type(&heard, "result").len(), 9);
    let gaps = lines::of_type(&heard, "gap");
    assert_eq!(gaps, [json!({"type": "gap", "session": "long", "from": 3, "to": 3, "cause": "slow-reader"})]);
    assert_eq!(lines::of_type(&receiver.lines_until_closed("long"), "result").len(), 10);
    receiver.program.wait_for_stderr("a warning", |line| line.contains("too long for the sender's channel"));
}

#[test]
fn the_clock_names_the_best_source_that_the_client_gives() {
    let receiver = Receiver::start(&[]);
    let units = plain(10);
    let sources = |all: &[String]| {
        let source = |result: &Value| result["clock"]["source"].as_str().unwrap().to_owned();
        lines::of_type(all, "result").iter().map(source).collect::<Vec<_>>()
    };
    let silent = run(&receiver, "silent", Offer { feedback: false, ..Offer::default() }, &units);
    assert_eq!(sources(&silent), vec!["arrival"; 10]);
    let mut reporting = Client::connect(receiver.address, "reporting", Offer::default());
    let source_of = |frame: u64| {
        receiver.wait_for_frame("reporting", frame);
        let printed = receiver.program.stdout();
        let results = lines::of_type(&printed, "result");
        let result = results.iter().find(|result| result["session"] == "reporting" && result["frame"] == frame);
        result.unwrap()["clock"]["source"].as_str().unwrap().to_owned()
    };
    reporting.send(&units[0], PACKED);
    assert_eq!(source_of(0), "arrival");
    let long_stream = plain(300);
    // A report goes out every second or so; from then on pictures have their sender's time.
    let named = (1..300).find(|&number| {
        reporting.send(&long_stream[number], PACKED);
        thread::sleep(Duration::from_millis(50));
        source_of(number as u64) == "rtcp-sr"
    });
    assert!(named.is_some());
    reporting.end();
    let mut stamping = Client::connect(receiver.address, "stamping", Offer { capture_time: true, ..Offer::default() });
    let captured = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    units.iter().for_each(|unit| stamping.send_captured(unit, PACKED, Some(captured)));
    settle(&receiver, "stamping", units.len());
    stamping.end();
    let stamped = receiver.lines_until_closed("stamping");
    assert_eq!(sources(&stamped), vec!["abs-capture-time"; 10]);
    for result in lines::of_type(&stamped, "result") {
        assert_eq!(result["clock"]["captured"], "2023-11-14T22:13:20.123456Z");
    }
}
