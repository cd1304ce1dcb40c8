//! Lists of analyzers in files, for all that take one.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::path::{Path, PathBuf};

use cv_tests::{
    Finished, Receiver, Sender, lines,
    program::{self, LIMIT, Program},
    python,
};

const LINE: &str = "stats:window=1,cycles";
const TOML: &str =
    "# what is measured\n[[analyzer]]\nname = \"stats\"\nwindow = 1\n\n[[analyzer]]\nname = \"cycles\"\n";
const JSON: &str = r#"[{"name": "stats", "window": 1.0}, {"name": "cycles"}]"#;

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A clip of twenty pictures of 64x48.
fn clip(folder: &Path) -> PathBuf {
    let mut text = "YUV4MPEG2 W64 H48 F25:1 C420jpeg\n".to_owned();
    for letter in 'A'..='T' {
        text += &format!("FRAME\n{}", letter.to_string().repeat(64 * 48 * 3 / 2));
    }
    write(folder, "clip.y4m", &text)
}

fn analyze(clip: &Path, list: &str, more: &[&str]) -> Finished {
    let mut command = program::command("cv-receiver");
    command.args(["analyze", "--analyze", list]).args(more).arg("--file").arg(clip);
    let program = Program::start(command);
    let code = program.wait(LIMIT);
    Finished { code, lines: program.stdout(), stderr: program.stderr() }
}

#[test]
fn a_file_says_the_same_as_a_line_to_a_clip_a_receiver_and_a_sender() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let wanted = analyze(&clip, LINE, &[]).expect(0).lines;
    for (name, text) in [("a.toml", TOML), ("a.json", JSON)] {
        let list = write(folder.path(), name, text);
        let list = list.to_str().unwrap();
        assert_eq!(analyze(&clip, list, &[]).expect(0).lines, wanted);
        let source = ["--file", clip.to_str().unwrap(), "--pace", "max", "--session", "a"];
        let run = |receiver: &Receiver, more: &[&str]| {
            lines::without_clock(&Sender::run(&receiver.url(), &[&source[..], more].concat()).expect(0).lines)
        };
        let (by_line, by_file) = (Receiver::start(&["--no-print"]), Receiver::start(&["--analyze", list]));
        let sent = run(&by_line, &["--analyze", LINE]);
        assert_eq!(run(&by_file, &[]), sent);
        assert_eq!(run(&by_line, &["--analyze", list]), sent);
    }
}

#[test]
fn a_file_names_code_in_files_whose_names_no_line_could_say() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "mine, all mine.py", "def look(frame, meta):\n    return {'p': dict(meta.parameters)}\n");
    let list = format!(
        "[[analyzer]]\npython = '{}/mine, all mine.py:look'\nname = \"own\"\nlabel = \"a,b:c\"\n",
        folder.path().display()
    );
    let list = write(folder.path(), "code.toml", &list);
    let python = python::interpreter();
    let said = analyze(&clip(folder.path()), list.to_str().unwrap(), &["--python", python.to_str().unwrap()]).expect(0);
    assert_eq!(lines::of_type(&said.lines, "result")[0]["analysis"]["own"]["p"]["label"], "a,b:c");
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    for (name, text, reason) in [
        ("a.toml", "[[analyzer]]\nname = \"stats\"\nwindow = [1]\n", "a.toml, line 3: "),
        ("b.toml", "[[analyzer]]\nname = stats\n", "b.toml, line 2: "),
        ("c.json", "[{\"name\": \"stats\"},\n {\"window\": 1}]", "c.json, line 2: an analyzer needs the key 'name'"),
        ("d.json", "[{\"name\": \"stat\"}]", "there is no analyzer 'stat'; known are stats"),
        ("e.json", "[]", "1 to 32 entries"),
    ] {
        let list = write(folder.path(), name, text);
        let said = analyze(&clip, list.to_str().unwrap(), &[]).expect(1).says(reason).says("--analyze");
        assert_eq!(said.stderr.lines().filter(|line| line.starts_with("cv-receiver: ")).count(), 1, "{}", said.stderr);
        assert!(said.lines.is_empty());
    }
    analyze(&clip, "absent.toml", &[]).expect(1).says("cannot read absent.toml");
    let unsendable = write(folder.path(), "f.json", r#"[{"name": "quick", "model": "a,b"}]"#);
    let sender = ["--pattern", "bars", "--analyze", unsendable.to_str().unwrap()];
    Sender::run("http://127.0.0.1:9/whip", &sender).expect(1).says("model = \"a,b\" does not fit into the line");
}
