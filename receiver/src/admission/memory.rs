//! The memory that the control group grants, where there is one with a limit (systemd's MemoryMax).

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Refusal;
use crate::process;

/// Room that a new sender must find: decoder, reference pictures and lines of a large picture.
const ROOM: u64 = 64 << 20;

/// Fails if a new sender could bring this process to its limit.
pub(super) fn check() -> Result<(), Refusal> {
    let (Some(limit), Some(used)) = (limit(), process::anonymous_bytes()) else { return Ok(()) };
    judge(used, limit)
}

fn judge(used: u64, limit: u64) -> Result<(), Refusal> {
    // A limit so small that one sender does not fit says nothing about the second one.
    if used.saturating_add(ROOM.min(limit / 4)) > limit {
        return Err(Refusal::Memory { used_mb: used >> 20, limit_mb: limit >> 20 });
    }
    Ok(())
}

/// The lowest limit among this process's group and those above it (cgroup v2).
fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    lowest(Path::new("/sys/fs/cgroup"), groups.lines().find_map(|line| line.strip_prefix("0::"))?)
}

fn lowest(root: &Path, group: &str) -> Option<u64> {
    let group: PathBuf = root.join(group.trim_start_matches('/'));
    let above = group.ancestors().take_while(|path| path.starts_with(root));
    above.filter_map(|path| fs::read_to_string(path.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_finds_room_or_is_told_how_much_there_is() {
        assert_eq!(judge(100 << 20, 512 << 20), Ok(()));
        assert_eq!(judge(460 << 20, 512 << 20), Err(Refusal::Memory { used_mb: 460, limit_mb: 512 }));
        assert_eq!(judge(10 << 20, 32 << 20), Ok(()));
        assert!(judge(u64::MAX, 1).is_err());
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let service = root.path().join("system.slice/cv.service");
        fs::create_dir_all(&service).unwrap();
        fs::write(service.join("memory.max"), "max\n").unwrap();
        assert_eq!(lowest(root.path(), "/system.slice/cv.service"), None);
        fs::write(root.path().join("system.slice/memory.max"), "1000\n").unwrap();
        assert_eq!(lowest(root.path(), "/system.slice/cv.service"), Some(1000));
        fs::write(service.join("memory.max"), "500\n").unwrap();
        assert_eq!(lowest(root.path(), "/system.slice/cv.service"), Some(500));
        assert_eq!(lowest(root.path(), "/nowhere"), None);
    }
}
