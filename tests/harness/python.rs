//! The interpreter with numpy that `scripts/setup.sh tests` installs, and functions for it.

use std::path::PathBuf;

use tempfile::TempDir;

/// The interpreter.
///
/// # Panics
/// If it is not there.
pub fn interpreter() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let target = test.ancestors().nth(3).expect("tests are in target/PROFILE/deps");
    let installed = target.join("python");
    let complete = installed.join("complete").exists();
    assert!(complete, "{} is not complete; scripts/setup.sh tests installs numpy there", installed.display());
    installed.join("venv/bin/python")
}

/// A Python file in a folder of its own.
pub struct Script {
    folder: TempDir,
}

impl Script {
    /// A file with this text.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn new(text: &str) -> Self {
        let script = Self { folder: tempfile::tempdir().expect("there is room for a folder") };
        script.write(text);
        script
    }

    /// Changes the text.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("there is room for a file");
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("own.py")
    }

    /// How a list of analyzers names a function of it.
    pub fn function(&self, name: &str) -> String {
        format!("python:{}:{name}", self.path().display())
    }
}
