//! The files that a process was started from, so that a change can be told.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Files with the time of their last change, as far as they were there.
#[derive(Debug, Default)]
pub(super) struct Code(Vec<(PathBuf, Option<SystemTime>)>);

impl Code {
    /// `files` as they were loaded by a process that `begun` to load them then.
    pub(super) fn of(files: Vec<PathBuf>, begun: SystemTime) -> Self {
        let now = SystemTime::now();
        let as_loaded = |file: PathBuf| {
            // What has changed meanwhile may have been loaded as it was before. A clock that is ahead says nothing.
            let changed = changed(&file).filter(|changed| !(begun..=now).contains(changed));
            (file, changed)
        };
        Self(files.into_iter().map(as_loaded).collect())
    }

    /// Whether any of them has changed. One that is away for a moment, as while an editor replaces it, is waited for.
    pub(super) fn has_changed(&self) -> bool {
        self.0.iter().any(|(file, loaded)| changed(file).is_some_and(|changed| Some(changed) != *loaded))
    }
}

fn changed(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_change_is_told_whenever_it_was_and_a_file_that_is_away_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (path, long) = (folder.path().join("own.py"), Duration::from_secs(1000));
        let touch = |time| File::create(&path).unwrap().set_modified(time).unwrap();
        let begun = SystemTime::now();
        for loaded in [begun - long, begun + long] {
            touch(loaded);
            let code = Code::of(vec![path.clone()], begun);
            assert!(!code.has_changed());
            fs::remove_file(&path).unwrap();
            assert!(!code.has_changed());
            touch(loaded - Duration::from_secs(1));
            assert!(code.has_changed(), "an older file is another one, too");
        }
        touch(begun);
        assert!(Code::of(vec![path.clone()], begun).has_changed(), "it changed while it was loaded");
        assert!(!Code::default().has_changed());
    }
}
