//! Bytes as datagrams at the media port: whose they are, and that nobody gets what is another's.
//!
//! The modules are taken in by path: they are private to the receiver's transport.

#![no_main]

use std::{
    collections::HashMap,
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use ring::hmac;

#[path = "../../../receiver/src/transport/port/inbox.rs"]
#[allow(dead_code, unreachable_pub)]
mod inbox;
#[path = "../../../receiver/src/transport/port/stun.rs"]
#[allow(dead_code, unreachable_pub)]
mod stun;
#[path = "../../../receiver/src/transport/port/table.rs"]
#[allow(dead_code, unreachable_pub)]
mod table;

use inbox::Inbox;
use stun::BindingRequest;
use table::{Fate, Member, Table};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// As many as one connection may have, so that none is forgotten for want of room.
const ADDRESSES: u8 = 32;
/// How long a silent address is its connection's own, as `docs/architecture.md` has it.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes of the largest datagram.
const LARGEST: usize = 2048;

fuzz_target!(|script: &[u8]| World::default().play(script));

#[derive(Default)]
struct World {
    table: Table,
    inboxes: HashMap<Member, Arc<Inbox>>,
    /// What connections are reached by: username fragment and password.
    credentials: HashMap<Member, Vec<String>>,
    /// Whose an address is, and when it was last heard of.
    owners: HashMap<SocketAddr, (Member, Instant)>,
}

impl World {
    /// Each step is written as: what, which connection, which address, tenths of a second since the last, and for
    /// a datagram length and bytes.
    fn play(&mut self, mut script: &[u8]) {
        let mut now = Instant::now();
        while let Some((&[what, member, address, pause], rest)) = script.split_first_chunk() {
            script = rest;
            now += Duration::from_millis(u64::from(pause) * 100);
            let member = Member::from(member & 7);
            let from = SocketAddr::new(LOCAL, 1000 + u16::from(address % ADDRESSES));
            match what & 7 {
                0 => self.enter(member),
                1 => self.leave(member),
                2 => self.admit(member, what >> 3),
                3..=5 => self.knock(member, usize::from(what >> 3), from, now),
                _ => {
                    let Some((&[len], rest)) = script.split_first_chunk() else { return };
                    let (datagram, rest) = rest.split_at(rest.len().min(len.into()));
                    script = rest;
                    self.noise(datagram, from, now);
                }
            }
        }
    }

    fn enter(&mut self, member: Member) {
        self.leave(member);
        let inbox = Arc::new(Inbox::default());
        inbox.open(LOCAL);
        self.table.enter(member, inbox.clone());
        self.inboxes.insert(member, inbox);
    }

    fn leave(&mut self, member: Member) {
        self.table.leave(member);
        self.inboxes.remove(&member);
        self.credentials.remove(&member);
        self.owners.retain(|_, (owner, _)| *owner != member);
    }

    fn admit(&mut self, member: Member, serial: u8) {
        let ufrag = format!("{member}-{serial}");
        self.table.admit(member, &ufrag, &password(&ufrag));
        let known = self.credentials.entry(member).or_default();
        if self.inboxes.contains_key(&member) && !known.contains(&ufrag) {
            known.push(ufrag);
            // Those before an ICE restart count, those before that do not.
            known.drain(..known.len().saturating_sub(2));
        }
    }

    /// A request that is signed as it should be.
    fn knock(&mut self, member: Member, serial: usize, from: SocketAddr, now: Instant) {
        let ufrag = format!("{member}-{serial}");
        let counts = self.credentials.get(&member).is_some_and(|known| known.contains(&ufrag));
        let theirs = self.owners.get(&from).is_some_and(|(owner, heard)| *owner != member && now - *heard < SILENCE);
        let datagram = request(&format!("{ufrag}:peer"), &password(&ufrag));
        let parsed = BindingRequest::parse(&datagram).expect("it is one");
        assert!(parsed.recipient() == ufrag && parsed.is_signed_with(&stun::key(&password(&ufrag))));
        let fate = self.table.deliver(&datagram, from, Some(LOCAL), now);
        match fate {
            Fate::Delivered(_) | Fate::Full => {
                assert!(counts && !theirs, "{member} has no right to {from}");
                self.owners.insert(from, (member, now));
            }
            Fate::Unknown => assert!(!counts),
            Fate::Refused => assert!(theirs),
        }
        self.check(from, &datagram);
    }

    /// Anything else, which proves nothing.
    fn noise(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        if let Some(parsed) = BindingRequest::parse(datagram) {
            assert!(datagram.len() >= 48 && !parsed.recipient().contains(':'));
            assert!(!parsed.is_signed_with(&stun::key("no password of anybody")));
        }
        if let Fate::Delivered(_) | Fate::Full = self.table.deliver(datagram, from, Some(LOCAL), now) {
            let owner = self.owners.get_mut(&from).expect("only who proved itself is listened to");
            owner.1 = now;
        }
        self.check(from, datagram);
    }

    /// What came is whole, and with the owner of its sender's address.
    fn check(&mut self, from: SocketAddr, datagram: &[u8]) {
        for (member, inbox) in &self.inboxes {
            let mut buf = [0; LARGEST];
            let cx = Context::from_waker(Waker::noop());
            while let Poll::Ready(meta) = inbox.poll(LOCAL, &cx, &mut IoSliceMut::new(&mut buf)) {
                assert_eq!(self.owners.get(&from).map(|(owner, _)| *owner), Some(*member));
                assert_eq!((meta.addr, &buf[..meta.len]), (from, datagram));
            }
        }
    }
}

fn password(ufrag: &str) -> String {
    format!("the password of {ufrag}")
}

/// A binding request as `username` sends it, signed with `password` (RFC 8489, 14.5).
fn request(username: &str, password: &str) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.resize(20, 7);
    push(&mut message, 0x0006, username.as_bytes());
    set_length(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let signature = hmac::sign(&key, &message);
    push(&mut message, 0x0008, signature.as_ref());
    set_length(&mut message, 0);
    message
}

fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - 20 + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}
