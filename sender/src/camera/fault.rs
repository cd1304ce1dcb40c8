//! Why a camera gives no pictures, said to the person in front of it.

use std::time::Duration;

use cv_core::worker::Worker;

use super::format::Format;

/// What is wrong with a camera. The text goes behind "camera 0: ".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    #[error("not found; {}", Here(.0))]
    Absent(Vec<(u32, String)>),
    #[error(
        "no permission to open it; add yourself to its group (`sudo usermod -aG video $USER`) and log in again, or hand the device into the container"
    )]
    Denied,
    #[error("in use by another program; close that one (`fuser -v /dev/video*` names it)")]
    Busy,
    #[error("unplugged or switched off; plug it in again")]
    Gone,
    #[error("offers no format that can be read ({0}); try another camera of --list-cameras, or send a file")]
    NoFormat(String),
    #[error(
        "refuses {asked} and sets {got} instead; ask for another size or rate of --list-cameras, or reset it with `v4l2-ctl -d /dev/videoN -p 30`, N being its number"
    )]
    Refused { asked: Format, got: String },
    #[error("no longer offers {0}; start again to choose anew")]
    Changed(Format),
    #[error("no picture for {:.0} s; unplug it and plug it in again, or try another cable or port", .0.as_secs_f64())]
    Silent(Duration),
    #[error("does not answer within {} s; unplug it and plug it in again", .0.as_secs_f64())]
    Unresponsive(Duration),
    #[error("its pictures are damaged (the last one: {0}); try another cable or port, or a smaller size")]
    Damaged(String),
    #[error("its driver failed in a way nobody foresaw; the lines above say where")]
    Crashed,
    #[error("{0}; unplug it and plug it in again, or try another size of --list-cameras")]
    Driver(String),
}

impl Fault {
    /// What a system error number means while a camera is opened or read.
    pub(super) fn from_errno(number: i32, text: String) -> Self {
        match number {
            2 | 6 => Self::Absent(Vec::new()),
            19 => Self::Gone,
            1 | 13 => Self::Denied,
            16 => Self::Busy,
            _ => Self::Driver(text),
        }
    }

    /// What nokhwa says: it keeps only the text of a system error, `... (os error 19)`.
    pub(super) fn from_nokhwa(error: &nokhwa::NokhwaError) -> Self {
        let text = error.to_string();
        let number = text.rsplit_once("(os error ").and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
        number.map_or_else(|| Self::Driver(text.clone()), |number| Self::from_errno(number, text.clone()))
    }
}

/// Which cameras there are, to choose another.
struct Here<'a>(&'a [(u32, String)]);

impl std::fmt::Display for Here<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(f, "no camera is connected: plug one in, or send a file");
        }
        let names: Vec<_> = self.0.iter().map(|(index, name)| format!("{index} ({name})")).collect();
        write!(f, "choose one that is here: {}", names.join(", "))
    }
}

/// Runs `work` on a thread called `name`, for drivers that may hang or whose bindings panic.
///
/// After `limit` the thread is left to itself.
pub(super) fn guarded<T: Send + 'static>(
    name: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    let (sender, receiver) = cv_core::mailbox::mailbox(1);
    let worker = Worker::spawn(name, move || {
        // Nobody waits any more once the limit has passed.
        drop(sender.try_send(work()));
    });
    worker.map_err(|error| Fault::Driver(format!("cannot start a thread: {error}")))?.detach();
    match receiver.recv_timeout(limit) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(Fault::Crashed),
        Err(cv_core::mailbox::TimedOut) => Err(Fault::Unresponsive(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nokhwa::NokhwaError;

    #[test]
    fn system_errors_are_recognised_in_nokhwas_text() {
        let unplugged = NokhwaError::ReadFrameError("No such device (os error 19)".into());
        assert_eq!(Fault::from_nokhwa(&unplugged), Fault::Gone);
        let busy = NokhwaError::OpenStreamError("Device or resource busy (os error 16)".into());
        assert_eq!(Fault::from_nokhwa(&busy), Fault::Busy);
        let other = NokhwaError::OpenStreamError("Input/output error (os error 5)".into());
        assert!(Fault::from_nokhwa(&other).to_string().starts_with("Could not open device stream: Input/output error"));
    }

    #[test]
    fn a_missing_camera_names_those_that_are_here() {
        assert!(Fault::Absent(Vec::new()).to_string().contains("no camera is connected"));
        let here = Fault::Absent(vec![(0, "Front".into()), (2, "Rear".into())]);
        assert_eq!(here.to_string(), "not found; choose one that is here: 0 (Front), 2 (Rear)");
    }

    #[test]
    fn a_hanging_or_panicking_driver_is_survived() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let limit = Duration::from_millis(5);
        assert_eq!(guarded("hangs", limit, move || held.recv().is_ok()), Err(Fault::Unresponsive(limit)));
        drop(release);
        assert_eq!(
            guarded("panics", Duration::MAX, || -> u8 { std::panic::resume_unwind(Box::new(())) }),
            Err(Fault::Crashed)
        );
        assert_eq!(guarded("answers", Duration::MAX, || 7), Ok(7));
    }
}
