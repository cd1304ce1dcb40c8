//! Lines as messages of a data channel.
//!
//! A line is a message. What a channel takes at once is limited (64 KB unless both ends say more, RFC 8841, 6.1), so one
//! of our own senders is given a longer line in pieces: each but the last ends in [`CONTINUES`], which no JSON has.

/// Ends a message whose line goes on in the next one: "end of transmission block".
pub const CONTINUES: u8 = 0x17;

/// Bytes of a line that go into one message at most.
pub const PIECE: usize = 48 << 10;

/// The messages that a line takes.
pub fn pieces(line: &str) -> impl Iterator<Item = String> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        if line.len() <= PIECE {
            rest = None;
            return Some(line.to_owned());
        }
        let (piece, more) = line.split_at(line.floor_char_boundary(PIECE));
        rest = Some(more);
        Some(format!("{piece}{}", char::from(CONTINUES)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_as_short_as_they_have_to_be_and_make_up_the_line() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 7] {
            // Three bytes each, so that no piece may end where it is full.
            let line = "€".repeat(length.div_ceil(3));
            let messages: Vec<_> = pieces(&line).collect();
            assert!(messages.iter().all(|message| message.len() <= PIECE + 1));
            let (last, others) = messages.split_last().unwrap();
            assert!(!last.as_bytes().ends_with(&[CONTINUES]));
            let joined: String =
                others.iter().map(|piece| piece.strip_suffix(char::from(CONTINUES)).unwrap()).collect();
            assert_eq!(joined + last, line);
        }
    }
}
