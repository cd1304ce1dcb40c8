//! ONNX Runtime as `scripts/setup.sh` fetches it, real models where there are any, and small ones made here.

use std::path::{Path, PathBuf};

use crate::clips::{shared, skipped};

/// The folder with ONNX Runtime's library.
///
/// # Panics
/// If it is not there.
pub fn runtime() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.ancestors().nth(3).expect("tests are in target/PROFILE/deps").join("onnxruntime");
    let complete = folder.join("complete").exists();
    assert!(complete, "{} is not complete; scripts/setup.sh models fetches it", folder.display());
    folder
}

/// The model called `name` in `$CV_SHARED/models`; says so on stderr if it is missing.
pub fn model(name: &str) -> Option<PathBuf> {
    let path = shared().join("models").join(name);
    if !path.exists() {
        skipped(&format!("{} is missing; CV_SHARED names the folder with models", path.display()));
        return None;
    }
    Some(path)
}

/// What an input or output of a made model is: 32-bit floating numbers in a shape, in which -1 is any length.
pub type Port<'a> = (&'a str, &'a [i64]);

/// An ONNX file that says the same of every picture (onnx.proto3, written by hand).
#[derive(Default)]
pub struct Made {
    graph: Vec<u8>,
    metadata: Vec<u8>,
}

impl Made {
    /// A model without inputs and outputs.
    pub fn new() -> Self {
        Self { graph: bytes(2, b"made"), metadata: Vec::new() }
    }

    /// Takes numbers of this name and shape, and does nothing with them.
    #[must_use]
    pub fn input(mut self, port: Port<'_>) -> Self {
        self.graph.extend(bytes(11, &value(port)));
        self
    }

    /// Gives `numbers`, as often as it is given pictures where the first length is -1.
    #[must_use]
    pub fn output(mut self, (name, shape): Port<'_>, numbers: &[f32]) -> Self {
        let constant = format!("{name}-constant");
        let fixed: Vec<i64> = shape.iter().map(|length| (*length).max(1)).collect();
        let samples: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let dimensions = fixed.iter().flat_map(|length| number(1, *length as u64));
        let tensor = [dimensions.collect(), number(2, 1), bytes(8, constant.as_bytes()), bytes(9, &samples)].concat();
        self.graph.extend(bytes(5, &tensor));
        self.graph.extend(bytes(12, &value((name, shape))));
        self.node("Identity", &constant, name)
    }

    /// Adds an operator.
    #[must_use]
    pub fn node(mut self, operator: &str, from: &str, to: &str) -> Self {
        let node = [bytes(1, from.as_bytes()), bytes(2, to.as_bytes()), bytes(4, operator.as_bytes())].concat();
        self.graph.extend(bytes(1, &node));
        self
    }

    /// Adds an entry to what the file says of itself.
    #[must_use]
    pub fn metadata(mut self, key: &str, text: &str) -> Self {
        let entry = [bytes(1, key.as_bytes()), bytes(2, text.as_bytes())].concat();
        self.metadata.extend(bytes(14, &entry));
        self
    }

    /// Writes it to a file in `folder`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let operators = bytes(8, &number(2, 13));
        let model = [number(1, 7), operators, bytes(7, &self.graph), self.metadata.clone()].concat();
        let path = folder.join(name);
        std::fs::write(&path, model).expect("there is room for a file");
        path
    }
}

/// What is known of an input or output.
fn value((name, shape): Port<'_>) -> Vec<u8> {
    let dimension = |length: &i64| match length {
        -1 => bytes(1, &bytes(2, b"any")),
        length => bytes(1, &number(1, *length as u64)),
    };
    let shape: Vec<u8> = shape.iter().flat_map(dimension).collect();
    let tensor = [number(1, 1), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat()
}

/// A field of a protocol buffer that is a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// One that has a length.
fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
