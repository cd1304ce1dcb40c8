//! Over a network that loses, repeats and reorders packets.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::sync::atomic::Ordering;

use cv_tests::{Receiver, Sender, lines, link::Link, way::Weather};

/// Many packets a picture, so that losses meet every part of one.
const SOURCE: [&str; 8] =
    ["--pattern", "noise:size=320x240", "--frames", "90", "--bitrate", "8000", "--session", "weather"];

fn gives_the_lines_of_a_good_network(loss: f64) {
    let receiver = Receiver::start(&[]);
    let clean = Sender::run(&receiver.url(), &[&SOURCE[..], &["--pace", "max"]].concat()).expect(0);
    assert_eq!(lines::accounted(&clean.lines), (0..90).collect::<Vec<_>>());
    let link = Link::start(receiver.address, Weather::with_loss(loss));
    let bad = Sender::run(&link.url(), &[&SOURCE[..], &["--timeout", "30"]].concat()).expect(0);
    lost(&link, loss);
    lines::assert_same("on a bad network", &clean.lines, &bad.lines);
}

/// Checks that the weather was as bad as announced.
fn lost(link: &Link, loss: f64) {
    let (passed, dropped) = (&link.counts().passed, &link.counts().dropped);
    let (passed, dropped) = (passed.load(Ordering::Relaxed) as f64, dropped.load(Ordering::Relaxed) as f64);
    assert!(passed > 1000.0, "only {passed} datagrams took this way");
    assert!(dropped > loss / 3.0 * passed, "{dropped} of {passed} were lost");
}

#[test]
fn two_percent_loss_changes_no_line_where_every_frame_counts() {
    gives_the_lines_of_a_good_network(0.02);
}

#[test]
fn five_percent_loss_changes_no_line_where_every_frame_counts() {
    gives_the_lines_of_a_good_network(0.05);
}

#[test]
fn twenty_percent_loss_changes_no_line_where_every_frame_counts() {
    gives_the_lines_of_a_good_network(0.20);
}

#[test]
fn live_pictures_over_a_lossy_network_are_all_accounted_for_once() {
    let receiver = Receiver::start(&[]);
    let link = Link::start(receiver.address, Weather::with_loss(0.05));
    let live = ["--mode", "live", "--timeout", "30", "--output", "json"];
    let sent = Sender::run(&link.url(), &[&SOURCE[..], &live].concat()).expect(0);
    lost(&link, 0.05);
    assert_eq!(sent.summary()["frames_sent"], 90);
    assert_eq!(lines::accounted(&sent.lines), (0..90).collect::<Vec<_>>());
    let results = lines::of_type(&sent.lines, "result").len();
    assert!(results > 45, "only {results} of 90 pictures have a result");
    assert_eq!(sent.lines, receiver.lines_until_closed("weather"));
}
