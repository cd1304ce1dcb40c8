//! Lines put together again that came over a data channel in pieces.

use bytes::{Bytes, BytesMut};
use cv_core::message::CONTINUES;

/// The longest line that is put together: many times what a receiver remembers.
const LONGEST: usize = 64 << 20;

/// The pieces of a line so far.
#[derive(Default)]
pub(super) struct Joint(BytesMut);

/// A line has no end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver sends a line of more than {} MB", LONGEST >> 20)]
pub(super) struct Endless;

impl Joint {
    /// Adds a message; gives the line that it completes.
    pub(super) fn add(&mut self, message: Bytes) -> Result<Option<Bytes>, Endless> {
        let piece = message.strip_suffix(&[CONTINUES]);
        if piece.is_none() && self.0.is_empty() {
            return Ok(Some(message));
        }
        self.0.extend_from_slice(piece.unwrap_or(&message));
        if self.0.len() > LONGEST {
            return Err(Endless);
        }
        Ok(if piece.is_none() { Some(self.0.split().freeze()) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use cv_core::message::{PIECE, pieces};

    use super::*;

    #[test]
    fn lines_of_any_length_come_out_as_they_went_in() {
        let lines = ["{}".to_owned(), "x".repeat(3 * PIECE), String::new(), "y".repeat(PIECE), "z".repeat(PIECE + 1)];
        let mut joint = Joint::default();
        let messages = lines.iter().flat_map(|line| pieces(line));
        let joined: Vec<_> = messages.filter_map(|message| joint.add(message.into()).unwrap()).collect();
        assert_eq!(joined, lines);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let (mut joint, piece) = (Joint::default(), Bytes::from([&[b'x'; 1 << 20][..], &[CONTINUES]].concat()));
        let given_up = (0..100).find(|_| joint.add(piece.clone()) == Err(Endless));
        assert_eq!(given_up, Some(64));
    }
}
