//! The port as it is seen from outside (RFC 8489): what STUN servers say, asked again so that a NAT keeps it open.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use cv_core::ice_server::IceServer;
use rtc::stun::{
    message::{BINDING_REQUEST, Getter, Message, TRANSACTION_ID_SIZE, TransactionId},
    xoraddr::XorMappedAddress,
};
use webrtc::runtime::Transmit;

use super::common::CommonSocket;

/// NATs forget a path after 30 seconds (RFC 4787, 4.3 asks for two minutes, in vain).
const INTERVAL: Duration = Duration::from_secs(20);
/// When a request that is not answered is sent again.
const REPEAT: Duration = Duration::from_millis(500);
/// How often it is sent before the server counts as silent.
const REQUESTS: u32 = 4;
/// What was said this long ago holds no more.
const VALIDITY: Duration = Duration::from_secs(90);
const SUCCESS: [u8; 2] = [0x01, 0x01];

/// What is known of the port's addresses outside.
#[derive(Default)]
pub(super) struct Reflexive {
    /// Locked for a look-up, hence a plain mutex.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that wait for an answer, with who was asked.
    asked: HashMap<[u8; TRANSACTION_ID_SIZE], SocketAddr>,
    /// What each server said, and when.
    said: HashMap<SocketAddr, (SocketAddr, Instant)>,
}

impl Reflexive {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Where the port is reached from outside.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let now = Instant::now();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for (mapped, since) in self.state().said.values() {
            if now.duration_since(*since) < VALIDITY && !addresses.contains(mapped) {
                addresses.push(*mapped);
            }
        }
        addresses
    }

    /// Takes a datagram that [is an answer](is_answer), if it is to one of our requests.
    pub(super) fn hear(&self, datagram: &[u8], from: SocketAddr) -> bool {
        let mut state = self.state();
        let Some(Ok(id)) = datagram.get(8..20).map(<[u8; TRANSACTION_ID_SIZE]>::try_from) else { return false };
        if state.asked.get(&id) != Some(&from) {
            return false;
        }
        state.asked.remove(&id);
        let mut message = Message { raw: datagram.to_vec(), ..Message::default() };
        let mut mapped = XorMappedAddress::default();
        let read = message.decode().and_then(|()| mapped.get_from(&message));
        if read.is_ok() && mapped.port != 0 {
            state.said.insert(from, (SocketAddr::new(mapped.ip, mapped.port), Instant::now()));
        }
        true
    }

    /// Notes a request to `server`; gives its bytes.
    fn request(&self, server: SocketAddr) -> Option<Vec<u8>> {
        let mut message = Message::new();
        message.build(&[Box::<TransactionId>::default(), Box::new(BINDING_REQUEST)]).ok()?;
        self.state().asked.insert(message.transaction_id.0, server);
        Some(message.raw)
    }

    /// Whether `server` has spoken since; what it was asked is forgotten.
    fn has_spoken(&self, server: SocketAddr, since: Instant) -> bool {
        let mut state = self.state();
        state.asked.retain(|_, asked| *asked != server);
        state.said.get(&server).is_some_and(|(_, when)| *when >= since)
    }
}

/// Whether a datagram tells that a STUN request succeeded.
pub(super) fn is_answer(datagram: &[u8]) -> bool {
    datagram.starts_with(&SUCCESS)
}

/// Asks `server` over `socket`, for its address family, until it is aborted.
pub(super) async fn ask(server: IceServer, socket: Arc<CommonSocket>, v6: bool, reflexive: Arc<Reflexive>) {
    let mut silent = false;
    loop {
        let found = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
        let address = found.ok().and_then(|mut found| found.find(|address| address.is_ipv6() == v6));
        let answered = match address {
            Some(address) => ask_once(address, &socket, &reflexive).await,
            // A server has addresses of one family only, more often than not.
            None => v6,
        };
        if !answered && !silent {
            let server = server.url();
            tracing::warn!(event = "stun-silent", %server, "{server} does not answer; senders elsewhere may find no way");
        }
        silent = !answered;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Whether the server at `address` answers.
async fn ask_once(address: SocketAddr, socket: &CommonSocket, reflexive: &Reflexive) -> bool {
    let since = Instant::now();
    for _ in 0..REQUESTS {
        let Some(request) = reflexive.request(address) else { return false };
        let transmit =
            Transmit { destination: address, ecn: None, contents: &request, segment_size: None, src_ip: None };
        if let Err(error) = std::future::poll_fn(|cx| socket.poll_send(cx, &transmit)).await {
            tracing::debug!(%error, "asking a STUN server");
        }
        tokio::time::sleep(REPEAT).await;
        if reflexive.has_spoken(address, since) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use rtc::stun::message::BINDING_SUCCESS;

    use super::*;

    fn answer(request: &[u8], mapped: SocketAddr) -> Vec<u8> {
        let mut asked = Message { raw: request.to_vec(), ..Message::default() };
        asked.decode().unwrap();
        let mut answer = Message::new();
        let mapped = XorMappedAddress { ip: mapped.ip(), port: mapped.port() };
        answer.build(&[Box::new(asked.transaction_id), Box::new(BINDING_SUCCESS), Box::new(mapped)]).unwrap();
        answer.raw
    }

    #[test]
    fn only_whoever_was_asked_is_believed_and_only_once() {
        let reflexive = Reflexive::default();
        let (server, other) = (([192, 0, 2, 1], 3478).into(), ([192, 0, 2, 2], 3478).into());
        let request = reflexive.request(server).unwrap();
        let outside: SocketAddr = ([203, 0, 113, 7], 40_000).into();
        let answer = answer(&request, outside);
        assert!(!reflexive.hear(&answer, other));
        assert!(reflexive.addresses().is_empty());
        assert!(reflexive.hear(&answer, server));
        assert_eq!(reflexive.addresses(), [outside]);
        assert!(!reflexive.hear(&answer, server));
    }

    #[test]
    fn what_is_broken_changes_nothing() {
        let reflexive = Reflexive::default();
        let server = ([192, 0, 2, 1], 3478).into();
        let request = reflexive.request(server).unwrap();
        let mut broken = answer(&request, ([203, 0, 113, 7], 1).into());
        broken.truncate(24);
        for datagram in [&[][..], &[1, 1], &request, &broken] {
            reflexive.hear(datagram, server);
        }
        assert!(reflexive.addresses().is_empty());
    }

    #[test]
    fn requests_that_nobody_answers_are_forgotten() {
        let reflexive = Reflexive::default();
        let server = ([192, 0, 2, 1], 3478).into();
        for _ in 0..10 {
            reflexive.request(server).unwrap();
            assert!(!reflexive.has_spoken(server, Instant::now()));
        }
        assert!(reflexive.state().asked.is_empty());
    }
}
