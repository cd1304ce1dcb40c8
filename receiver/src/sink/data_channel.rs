//! Result lines over the sender's data channel.

use std::{sync::Arc, time::Duration};

use webrtc::data_channel::DataChannel;

use super::Inbox;

/// Sends every line of `inbox` as a text message, in order, and returns once all are acknowledged.
///
/// Waits for ever for a sender that acknowledges nothing: the caller sets the limit. Blocks on the channel's own send limit, so that a slow sender loses lines in its outbox and not memory here.
pub async fn run(channel: Arc<dyn DataChannel>, mut inbox: Inbox) {
    loop {
        let lines = inbox.recv().await;
        if lines.is_empty() {
            break;
        }
        for line in lines {
            if channel.send_text(&line.json).await.is_err() {
                return;
            }
        }
    }
    // SCTP tells how much is outstanding but not when it reaches zero.
    while channel.outstanding_bytes().await.is_ok_and(|bytes| bytes > 0) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
