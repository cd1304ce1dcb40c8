//! Results over HTTP, for connections without a data channel.

use bytes::{Bytes, BytesMut};
use reqwest::{Response, Url};
use tokio::sync::mpsc;

use crate::transport::whip::{Endpoint, Error};

/// The longest line that is waited for; beyond it the stream is not ours.
const MAX_LINE: usize = 4 << 20;

/// Lines from `url`, from frame `since` on. The channel ends with the stream.
pub async fn subscribe(endpoint: &Endpoint, url: &Url, since: u64) -> Result<mpsc::Receiver<Bytes>, Error> {
    let response = endpoint.results(url, since).await?;
    let (lines, receiver) = mpsc::channel(64);
    tokio::spawn(split(response, lines));
    Ok(receiver)
}

async fn split(mut response: Response, lines: mpsc::Sender<Bytes>) {
    let mut rest = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line = rest.split_to(end + 1).freeze();
            if lines.send(line.slice(..end)).await.is_err() {
                return;
            }
        }
        if rest.len() > MAX_LINE {
            tracing::warn!("the results over HTTP are not lines");
            return;
        }
    }
}
