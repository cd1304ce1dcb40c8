//! Result lines over the sender's data channel.

use std::{sync::Arc, time::Duration};

use cv_core::message;
use webrtc::data_channel::DataChannel;

use super::{Inbox, Rendered};

/// Sends every line of `inbox` as a text message, in order, and returns once all are acknowledged. `in_pieces` if the
/// sender puts long lines together again; another one hears of a line that is longer than its channel takes as a gap.
///
/// Waits for ever for a sender that acknowledges nothing: the caller sets the limit. Blocks on the channel's own send limit, so that a slow sender loses lines in its outbox and not memory here.
pub async fn run(channel: Arc<dyn DataChannel>, mut inbox: Inbox, in_pieces: bool) {
    loop {
        let lines = inbox.recv().await;
        if lines.is_empty() {
            break;
        }
        for line in lines {
            let is_sent = if in_pieces { send(&channel, &line).await } else { send_whole(&channel, &line).await };
            if !is_sent {
                return;
            }
        }
    }
    // SCTP tells how much is outstanding but not when it reaches zero.
    while channel.outstanding_bytes().await.is_ok_and(|bytes| bytes > 0) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Sends a line in one message, or in several. `false` if the channel is closed.
async fn send(channel: &Arc<dyn DataChannel>, line: &Rendered) -> bool {
    for message in message::pieces(&line.json) {
        if channel.send_text(&message).await.is_err() {
            return false;
        }
    }
    true
}

/// Sends a line in one message, or word of it if it is too long. `false` if the channel is closed.
async fn send_whole(channel: &Arc<dyn DataChannel>, line: &Rendered) -> bool {
    let Err(error) = channel.send_text(&line.json).await else { return true };
    let (session, length) = (&line.session, line.json.len());
    // A channel that is closed takes a short line no more than a long one.
    if let Some(gap) = line.as_missed() {
        if channel.send_text(&gap.json).await.is_err() {
            return false;
        }
    } else if length <= message::PIECE {
        return false;
    }
    tracing::warn!(session, %error, "a line of {length} bytes is too long for the sender's channel; HTTP gives it");
    true
}
