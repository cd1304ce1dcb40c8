//! A recorded run is met by the same run, and a difference is named.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{fs, path::Path};

use cv_tests::{Finished, Receiver, Sender};

fn run(receiver: &Receiver, expected: &Path, more: &[&str]) -> Finished {
    let source = ["--pattern", "bars:size=320x240", "--frames", "20", "--pace", "max", "--expect"];
    Sender::run(&receiver.url(), &[&source[..], &[expected.to_str().expect("plain names")], more].concat())
}

#[test]
fn a_recorded_run_is_met_and_a_changed_value_is_named() {
    let receiver = Receiver::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let expected = folder.path().join("golden.ndjson");
    run(&receiver, &expected, &["--update"]).expect(0);
    let golden = fs::read_to_string(&expected).unwrap();
    assert!(!golden.contains("\"clock\"") && golden.lines().count() == 23, "{golden}");
    run(&receiver, &expected, &[]).expect(0);

    let line = golden.lines().find(|line| line.contains("\"frame\":7,")).unwrap();
    let brightness = line.split("\"brightness\":").nth(1).unwrap().split(',').next().unwrap();
    let shifted = format!("{:.3}", brightness.parse::<f64>().unwrap() + 0.5);
    let changed = line.replacen(&format!("\"brightness\":{brightness}"), &format!("\"brightness\":{shifted}"), 1);
    fs::write(&expected, golden.replace(line, &changed)).unwrap();
    run(&receiver, &expected, &[]).expect(4).says("frame 7").says("brightness").says(brightness).says(&shifted);
    run(&receiver, &expected, &["--tolerance", "0.6"]).expect(0);
    run(&receiver, &expected, &["--tolerance", "0.4"]).expect(4);
}

#[test]
fn a_line_too_many_and_a_line_too_few_are_differences() {
    let receiver = Receiver::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let expected = folder.path().join("golden.ndjson");
    run(&receiver, &expected, &["--update"]).expect(0);
    let golden = fs::read_to_string(&expected).unwrap();
    let shorter: String = golden.lines().take(10).map(|line| format!("{line}\n")).collect();
    fs::write(&expected, &shorter).unwrap();
    run(&receiver, &expected, &[]).expect(4).says("ends before");
    let last = golden.lines().last().unwrap();
    fs::write(&expected, format!("{golden}{last}\n")).unwrap();
    run(&receiver, &expected, &[]).expect(4).says("the run ends before line 24");
}

#[test]
fn expectations_that_cannot_be_read_fail_at_once_and_say_how_to_write_them() {
    let receiver = Receiver::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    run(&receiver, &folder.path().join("absent"), &[]).expect(1).says("--update");
    let broken = folder.path().join("broken");
    fs::write(&broken, "{\"type\":\n").unwrap();
    run(&receiver, &broken, &[]).expect(1).says("line 1");
}
