//! Analyzers with a model: objects and body points, and what becomes of files that are no models.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    io::Write,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
};

use cv_core::{
    geometry::Size,
    picture::{Pool, Range},
};
use cv_receiver::analysis::{Catalog, Input, Moment, Setup};
use cv_tests::{
    Receiver, Sender, clips, lines,
    models::{self, Made, model},
    program::{self, LIMIT, Program},
    python::{self, Script},
};
use serde_json::{Value, json};

const PATTERN: [&str; 8] = ["--pattern", "bars:size=320x240", "--frames", "20", "--session", "made", "--pace", "max"];

fn receiver(list: &str, more: &[&str]) -> Receiver {
    let (runtime, python) = (models::runtime(), python::interpreter());
    let own = ["--onnxruntime", runtime.to_str().unwrap(), "--python", python.to_str().unwrap(), "--analyze", list];
    Receiver::start(&[&own, more].concat())
}

/// What stands under `name` in the results, frame after frame.
fn findings(lines: &[String], name: &str) -> Vec<Value> {
    lines::of_type(lines, "result").into_iter().map(|line| line["analysis"][name].clone()).collect()
}

/// What is said of a clip by what `list` says.
fn run(list: &str, clip: &Path, more: &[&str]) -> Vec<String> {
    let receiver = receiver(list, &[]);
    let arguments = [&["--file", clip.to_str().unwrap(), "--pace", "max", "--session", "clip"], more].concat();
    Sender::run(&receiver.url(), &arguments).expect(0).lines
}

/// Why a receiver does not start with this list.
fn refusal(list: &str) -> String {
    let (runtime, python) = (models::runtime(), python::interpreter());
    let own = ["--onnxruntime", runtime.to_str().unwrap(), "--python", python.to_str().unwrap()];
    let mut command = Receiver::command(&[&own[..], &["--analyze", list]].concat());
    command.env_remove("ORT_DYLIB_PATH");
    let program = Program::start(command);
    assert_eq!(program.wait(LIMIT), Some(1), "{list}");
    program.stderr()
}

fn detect(model: &Path) -> String {
    format!("detect:model={}", model.display())
}

/// Numbers of each of the objects that were found.
fn counts(findings: &[Value]) -> Vec<usize> {
    findings.iter().map(|finding| finding["objects"].as_array().unwrap().len()).collect()
}

#[test]
fn persons_are_found_by_yolox() {
    let (Some(clip), Some(yolox)) = (clips::clip("people_two_walk_corridor.mp4"), model("yolox_nano_416.onnx")) else {
        return;
    };
    let found =
        findings(&run(&format!("{},only=person,threshold=0.4", detect(&yolox)), &clip, &["--crop", "1"]), "detect");
    // The very first picture is coded too coarsely for the smaller one.
    let two = counts(&found).into_iter().filter(|count| *count == 2).count();
    assert!(two >= 34, "{:?}", counts(&found));
    for object in found.iter().flat_map(|finding| finding["objects"].as_array().unwrap()) {
        assert_eq!(object["label"], "person");
        assert!(object["score"].as_f64().unwrap() >= 0.4, "{object}");
    }
}

#[test]
fn faces_are_found_by_yunet_and_by_ultraface() {
    let Some(clip) = clips::clip("faces_three_walk_in.mp4") else { return };
    // The third person comes into the picture from the side; UltraFace is not sure of her at first.
    for (name, points, least) in
        [("yunet_n_320.onnx", 5, 41), ("yunet_n_dynamic.onnx", 5, 41), ("ultraface_rfb_320.onnx", 0, 27)]
    {
        let Some(file) = model(name) else { continue };
        let found = findings(&run(&detect(&file), &clip, &["--crop", "1"]), "detect");
        let three = counts(&found).into_iter().filter(|count| *count == 3).count();
        assert!(three >= least, "{name}: {:?}", counts(&found));
        for face in found.iter().flat_map(|finding| finding["objects"].as_array().unwrap()) {
            assert_eq!(face["label"], "face");
            assert_eq!(face["points"].as_array().map_or(0, Vec::len), points, "{name}");
        }
    }
}

#[test]
fn a_body_is_followed_whether_it_stands_or_lies() {
    let (Some(pose), Some(yolox)) = (model("pose_landmark_lite.onnx"), model("yolox_nano_416.onnx")) else { return };
    let list = format!("pose:model={},detector={}", pose.display(), yolox.display());
    for (name, is_upright) in [("squat_front_5reps.mp4", true), ("pushup_side_29reps.mp4", false)] {
        let Some(clip) = clips::clip(name) else { continue };
        let lines = run(&list, &clip, &["--frames", "60"]);
        for (frame, finding) in findings(&lines, "pose").iter().enumerate() {
            let [person] = finding["people"].as_array().unwrap().as_slice() else {
                panic!("{name} {frame}: {finding}")
            };
            let point =
                |index: usize| person["points"][index].as_array().unwrap()[..2].iter().map(|x| x.as_f64().unwrap());
            let [nose, ankle] = [0, 15].map(|index| point(index).collect::<Vec<_>>());
            let (across, down) = ((nose[0] - ankle[0]).abs(), ankle[1] - nose[1]);
            assert_eq!(down > across, is_upright, "{name} {frame}: nose at {nose:?}, ankle at {ankle:?}");
            assert_eq!(person["native"]["points"].as_array().unwrap().len(), 33);
        }
    }
}

#[test]
fn several_processes_and_threads_say_what_one_says() {
    let (Some(clip), Some(yolox)) = (clips::clip("people_two_walk_corridor.mp4"), model("yolox_nano_416.onnx")) else {
        return;
    };
    let one = run(&detect(&yolox), &clip, &[]);
    let several = run(&format!("{},processes=3", detect(&yolox)), &clip, &[]);
    assert_eq!(lines::without_clock(&one), lines::without_clock(&several));
}

#[test]
fn sessions_choose_among_the_models_that_the_operator_defined() {
    let folder = tempfile::tempdir().unwrap();
    let file = movenet(folder.path());
    let define = format!("body=pose:model={}", file.display());
    let receiver = receiver("stats", &["--define", &define]);
    let named = format!("pose:model={}", file.display());
    let refused = Sender::run(&receiver.url(), &[&PATTERN[..], &["--analyze", &named]].concat()).expect(1);
    assert!(refused.stderr.contains("only the operator may name files"), "{}", refused.stderr);
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--analyze", "body"]].concat()).expect(0);
    assert_eq!(findings(&sent.lines, "body").len(), 20);
}

/// A model of MoveNet's form that sees every point at one place, a quarter from the left and halfway down, and the
/// nose at another.
fn movenet(folder: &Path) -> std::path::PathBuf {
    let mut points = [0.5, 0.25, 0.75].repeat(17);
    points[..3].copy_from_slice(&[0.125, 0.75, 0.5]);
    Made::new().input(("image", &[1, 64, 64, 3])).output(("points", &[1, 1, 17, 3]), &points).write(folder, "net.onnx")
}

#[test]
fn points_of_movenet_lie_in_the_picture_where_the_model_sees_them() {
    let folder = tempfile::tempdir().unwrap();
    let list = format!("pose:model={},follow=false", movenet(folder.path()).display());
    let receiver = receiver(&list, &[]);
    let sent = Sender::run(&receiver.url(), &PATTERN).expect(0);
    // 224x168 pixels in the middle of a square.
    for finding in findings(&sent.lines, "pose") {
        let points = finding["people"][0]["points"].as_array().unwrap();
        assert_eq!(points[0], json!([168.0, 0.0, 0.5]));
        assert_eq!(points[1], json!([56.0, 84.0, 0.75]));
        assert_eq!(finding["size"], json!([224, 168]));
    }
}

#[test]
fn points_of_rtmpose_lie_in_the_boxes_that_another_analyzer_found() {
    let folder = tempfile::tempdir().unwrap();
    // The peak of every axis lies in its middle.
    let axis = |bins: usize| (0..17 * bins).map(|bin| f32::from(bin % bins == bins / 2) * 0.8).collect::<Vec<_>>();
    let file = Made::new()
        .input(("input", &[-1, 3, 64, 48]))
        .output(("simcc_x", &[-1, 17, 96]), &axis(96))
        .output(("simcc_y", &[-1, 17, 128]), &axis(128))
        .write(folder.path(), "rtm.onnx");
    let script = Script::new(
        "
def persons(frame, meta):
    return {'objects': [{'label': 'dog', 'score': 1.0, 'box': [0, 0, 10, 10]},
                        {'label': 'person', 'score': 0.9, 'box': [20, 40, 30, 60]},
                        {'label': 'person', 'score': 0.8, 'box': [120, 40, 30, 60]}]}
def told(frame, meta):
    return {'people': len(meta.given['people'])}
",
    );
    let (persons, told) = (script.function("persons"), script.function("told"));
    let list = format!("{persons},pose:model={},from=persons,most=2,follow=false,{told},from=pose", file.display());
    let receiver = receiver(&list, &[]);
    let sent = Sender::run(&receiver.url(), &PATTERN).expect(0);
    for finding in findings(&sent.lines, "pose") {
        let people = finding["people"].as_array().unwrap();
        let noses: Vec<_> = people.iter().map(|person| person["points"][0].clone()).collect();
        assert_eq!(noses, [json!([35.0, 70.0, 0.8]), json!([135.0, 70.0, 0.8])]);
    }
    assert_eq!(findings(&sent.lines, "told"), vec![json!({"people": 2}); 20]);
}

#[test]
fn a_list_that_builds_on_what_is_not_there_is_refused() {
    let script = Script::new("def look(frame, meta):\n    return {}\n");
    let list = format!("{},from=nobody", script.function("look"));
    assert!(refusal(&list).contains("there is no nobody before it in the list"), "{}", refusal(&list));
}

#[test]
fn what_is_no_model_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let picture: models::Port<'_> = ("image", &[1, 3, 64, 64]);
    let anything: models::Port<'_> = ("out", &[1, 7]);
    let made = |name: &str, made: Made| made.write(folder.path(), name);
    for (file, reason) in [
        (folder.path().join("none.onnx"), "there is no file"),
        (write("empty.onnx", b""), "cannot be used"),
        (write("noise.onnx", &[0xff; 5000]), "cannot be used"),
        (made("shape.onnx", Made::new().input(picture).output(anything, &[0.0; 7])), "no detector that is known"),
        (
            made("two.onnx", Made::new().input(picture).input(("more", &[1])).output(anything, &[0.0; 7])),
            "has 2 inputs",
        ),
        (made("operator.onnx", Made::new().input(picture).node("Dream", "image", "out")), "Dream"),
        (made("offsets.onnx", offsets()), "offsets, not boxes"),
    ] {
        let said = refusal(&detect(&file));
        assert!(said.contains(reason), "{}: {said}", file.display());
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// UltraFace's names and shapes with numbers that are no boxes.
fn offsets() -> Made {
    let made = Made::new().input(("input", &[1, 3, 240, 320])).output(("scores", &[1, 4, 2]), &[0.5; 8]);
    made.output(("boxes", &[1, 4, 4]), &[0.1, 0.2, -0.3, 0.4].repeat(4))
}

#[test]
fn a_truncated_model_is_refused() {
    let Some(file) = model("yunet_n_320.onnx") else { return };
    let (folder, whole) = (tempfile::tempdir().unwrap(), std::fs::read(file).unwrap());
    for share in [1, 3, 7, 9] {
        let path = folder.path().join("cut.onnx");
        std::fs::write(&path, &whole[..whole.len() * share / 10]).unwrap();
        let said = refusal(&detect(&path));
        assert!(said.contains("cut.onnx") && !said.contains("panicked"), "{said}");
    }
}

#[test]
fn wrong_parameters_say_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = movenet(folder.path());
    let file = file.display();
    for (list, reason) in [
        ("detect".to_owned(), "needs a model, as in detect:model=FILE.onnx"),
        ("detect:threshold=0.5".to_owned(), "needs a model"),
        (format!("pose:model={file},threshhold=0.5"), "has no parameter 'threshhold'; it takes model, kind"),
        (format!("pose:model={file},threshold=7"), "threshold=7 is not a number from 0.01 to 1"),
        (format!("pose:model={file},kind=blazepose"), "kind=blazepose takes [1, 256, 256, 3]"),
        (format!("pose:model={file},kind=other"), "kind=other is none of blazepose, movenet, rtmpose"),
        (format!("detect:model={file}"), "no detector that is known: it takes image [1, 64, 64, 3]"),
    ] {
        let said = refusal(&list);
        assert!(said.contains(reason), "{list}: {said}");
    }
}

// The system holds a process to its grant on Linux only; elsewhere the daemon looks every now and then.
#[cfg(target_os = "linux")]
#[test]
fn a_model_that_holds_more_than_it_is_granted_is_refused_with_what_would_help() {
    let folder = tempfile::tempdir().unwrap();
    // Weights alone are beyond the grant: whether the rest would fit differs from machine to machine.
    let weights = vec![0.5; 16 << 20];
    let made = Made::new().input(("image", &[1, 64, 64, 3])).output(("points", &[1, 1, 17, 3]), &[0.5; 51]);
    let file = made.output(("weights", &[16 << 20]), &weights).write(folder.path(), "large.onnx");
    let said = refusal(&format!("pose:model={},memory=48", file.display()));
    assert!(said.contains("large.onnx cannot be used") && said.contains("memory= grants more"), "{said}");
}

#[test]
fn without_the_library_the_error_says_where_it_comes_from_and_all_else_works() {
    let folder = tempfile::tempdir().unwrap();
    let list = format!("pose:model={}", movenet(folder.path()).display());
    for (place, reason) in [("/nowhere/lib.so", "ONNX Runtime cannot be loaded"), ("/", "there is no libonnxruntime")] {
        let program = Program::start(Receiver::command(&["--onnxruntime", place, "--analyze", &list]));
        assert_eq!(program.wait(LIMIT), Some(1));
        let said = program.stderr();
        assert!(said.contains(reason), "{said}");
    }
    let receiver = Receiver::start(&["--onnxruntime", "/nowhere/lib.so"]);
    Sender::run(&receiver.url(), &PATTERN).expect(0);
}

#[test]
fn an_agpl_licence_in_a_model_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let points = [0.5; 51];
    let made = Made::new().input(("image", &[1, 64, 64, 3])).output(("points", &[1, 1, 17, 3]), &points);
    let file = made.metadata("license", "AGPL-3.0 (https://example.org)").write(folder.path(), "net.onnx");
    let receiver = receiver(&format!("pose:model={}", file.display()), &[]);
    let line = receiver.program.wait_for_stderr("a warning", |line| line.contains("AGPL-3.0"));
    assert!(line.contains("WARN") && line.contains("net.onnx"), "{line}");
}

#[test]
fn a_model_whose_process_is_killed_costs_a_picture_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let list = format!("pose:model={}", movenet(folder.path()).display());
    let receiver = receiver(&list, &[]);
    let arguments = ["--pattern", "bars:size=320x240", "--frames", "60", "--session", "killed"];
    let sender = Sender::start(&receiver.url(), &arguments);
    receiver.wait_for_frame("killed", 10);
    let victim = children(receiver.program.id()).into_iter().next().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &victim.to_string()]).status().unwrap().success());
    let sent = sender.finish().expect(3);
    assert_eq!(lines::accounted(&sent.lines), (0..60).collect::<Vec<_>>());
    let results = lines::of_type(&sent.lines, "result");
    let failed: Vec<_> = results.iter().filter(|line| !line["errors"].as_array().unwrap().is_empty()).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0]["errors"][0]["message"].as_str().unwrap().contains("the process ended"), "{:?}", failed[0]);
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let output = std::process::Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// How many damaged files are tried; `CV_DAMAGED` asks for more.
const DAMAGED: u64 = 40;

#[test]
fn a_damaged_model_is_refused_or_works_and_never_hangs_or_takes_the_program_down() {
    let count = std::env::var("CV_DAMAGED").map_or(DAMAGED, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        program: Some(program::binary("cv-receiver")),
        onnxruntime: Some(models::runtime()),
        ..Setup::default()
    };
    let catalog = Catalog::new(setup);
    let picture = Pool::default().picture(Size::new(320, 240).unwrap(), Range::Limited).freeze();
    let (mut refused, mut failed, mut fine) = (0, 0, 0);
    for (name, task) in [("yunet_n_320.onnx", "detect"), ("pose_landmark_lite.onnx", "pose")] {
        let Some(file) = model(name) else { continue };
        let whole = std::fs::read(file).unwrap();
        assert!(!whole.is_empty(), "{name} is empty");
        for seed in 0..count {
            let path = folder.path().join("damaged.onnx");
            std::fs::write(&path, damaged(&whole, seed)).unwrap();
            let list = format!("{task}:model={},memory=1024,start_timeout=20,timeout=5", path.display());
            let Ok(plan) = catalog.trusted(&list) else {
                refused += 1;
                continue;
            };
            let (extraction, _folding) = plan.begin("damaged");
            let extracted = extraction.run(&Input::new(&picture, None, Moment::default()));
            match &extracted[0] {
                Ok(_) => fine += 1,
                Err(_) => failed += 1,
            }
        }
    }
    // Much of the damage is seen at once, and some does no harm.
    let tried = refused + failed + fine;
    assert!(tried == 0 || refused > tried / 2 && fine > 0, "{refused} refused, {failed} failed, {fine} worked");
    println!("{refused} refused, {failed} failed, {fine} worked all the same");
}

#[test]
fn a_model_that_never_loads_ends_with_its_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let never = folder.path().join("never.onnx");
    assert!(std::process::Command::new("mkfifo").arg(&never).status().unwrap().success());
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut command = program::command("cv-receiver");
    command.args(["model", "detect", "--onnxruntime"]).arg(models::runtime()).process_group(0);
    let program = Program::start_with_stdin(command, OwnedFd::from(theirs).into());
    let parameters = json!({ "model": never });
    let hello = json!({"type": "hello", "v": 1, "format": "rgb", "memory": 1 << 27, "parameters": parameters});
    writeln!(ours, "{hello}").unwrap();
    // Opened as soon as it is read, and never written to.
    let _writer = std::fs::File::options().write(true).open(&never).unwrap();
    drop(ours);
    assert_eq!(program.wait(LIMIT), None, "ended by a signal");
}

/// A file with some bytes changed, a piece missing, doubled or filled.
fn damaged(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed;
    // SplitMix64 (Steele et al. 2014).
    let mut random = |most: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % most as u64) as usize
    };
    let mut bytes = whole.to_vec();
    // The form of the graph stands at the beginning and the end, weights in between: half of the damage goes there.
    let edge = 4000.min(bytes.len());
    let place = if random(2) == 0 { random(edge) } else { bytes.len() - edge + random(edge) };
    let length = (1 + random(200)).min(bytes.len() - place);
    match random(5) {
        0 => (0..1 + random(8)).for_each(|_| {
            let near = (place + random(64)).min(bytes.len() - 1);
            bytes[near] = random(256) as u8;
        }),
        1 => drop(bytes.drain(place..place + length)),
        2 => {
            let piece = bytes[place..place + length].to_vec();
            bytes.splice(place..place, piece);
        }
        3 => bytes[place..place + length].fill(0xff),
        _ => bytes.truncate(random(whole.len())),
    }
    bytes
}
