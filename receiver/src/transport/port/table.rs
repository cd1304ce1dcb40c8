//! Whose datagram is it: the connections on one port, with their credentials and their peers' addresses.
//!
//! An address belongs to a connection from the moment that it proves by a signed binding request to know the
//! connection's password. An address that is heard of stays with its connection, so that not even somebody who has
//! a connection of his own can take it away by sending under a false address.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use ring::hmac;

use super::{
    inbox::{Inbox, Pushed},
    stun::{self, BindingRequest},
};

/// Addresses of one peer. It has as many as interfaces, and new ones when a NAT changes its mind.
const ADDRESSES: usize = 32;
/// Credentials of one connection that count: those in use, and those before an ICE restart.
const CREDENTIALS: usize = 2;
/// An address that was silent for this long may turn up as somebody else's.
const SILENCE: Duration = Duration::from_secs(5);

/// A connection on the port.
pub(super) type Member = u64;

/// What becomes of a datagram.
pub(super) enum Fate {
    /// It is in an inbox; who reads there is to be woken.
    Delivered(Option<Waker>),
    /// The connection does not keep up.
    Full,
    /// It comes from nobody we know.
    Unknown,
    /// It names a connection whose password its sender does not know, or whose address is taken.
    Refused,
}

#[derive(Default)]
pub(super) struct Table {
    members: HashMap<Member, Entry>,
    recipients: HashMap<String, Member>,
    routes: HashMap<SocketAddr, Route>,
}

#[derive(Default)]
struct Entry {
    inbox: Arc<Inbox>,
    /// Username fragments and the keys that go with them, newest last.
    credentials: VecDeque<(String, hmac::Key)>,
    addresses: Vec<SocketAddr>,
}

struct Route {
    member: Member,
    inbox: Arc<Inbox>,
    heard: Instant,
}

impl Table {
    /// Adds a connection that nobody can reach yet.
    pub(super) fn enter(&mut self, member: Member, inbox: Arc<Inbox>) {
        self.members.insert(member, Entry { inbox, ..Entry::default() });
    }

    /// From now on peers reach `member` with these.
    pub(super) fn admit(&mut self, member: Member, ufrag: &str, password: &str) {
        let Some(entry) = self.members.get_mut(&member) else { return };
        if entry.credentials.iter().any(|(known, _)| known == ufrag) {
            return;
        }
        entry.credentials.push_back((ufrag.to_owned(), stun::key(password)));
        self.recipients.insert(ufrag.to_owned(), member);
        if entry.credentials.len() > CREDENTIALS
            && let Some((old, _)) = entry.credentials.pop_front()
        {
            self.recipients.remove(&old);
        }
    }

    /// Forgets a connection and all that leads to it.
    pub(super) fn leave(&mut self, member: Member) {
        let Some(entry) = self.members.remove(&member) else { return };
        for (ufrag, _) in entry.credentials {
            self.recipients.remove(&ufrag);
        }
        for address in entry.addresses {
            self.routes.remove(&address);
        }
    }

    /// Puts a datagram where it belongs.
    pub(super) fn deliver(&mut self, datagram: &[u8], from: SocketAddr, local: Option<IpAddr>, now: Instant) -> Fate {
        if let Some(request) = BindingRequest::parse(datagram)
            && let Err(fate) = self.prove(&request, from, now)
        {
            return fate;
        }
        let Some(route) = self.routes.get_mut(&from) else { return Fate::Unknown };
        route.heard = now;
        match route.inbox.push(datagram, from, local) {
            Pushed::Kept(reader) => Fate::Delivered(reader),
            Pushed::Full => Fate::Full,
            Pushed::Elsewhere => Fate::Unknown,
        }
    }

    /// Makes a route for whoever sent `request`, if he may have one.
    fn prove(&mut self, request: &BindingRequest<'_>, from: SocketAddr, now: Instant) -> Result<(), Fate> {
        let member = *self.recipients.get(request.recipient()).ok_or(Fate::Unknown)?;
        let taken = match self.routes.get(&from) {
            // The library checks the signature again before it believes anything.
            Some(route) if route.member == member => return Ok(()),
            Some(route) => now.duration_since(route.heard) < SILENCE,
            None => false,
        };
        let entry = self.members.get_mut(&member).ok_or(Fate::Unknown)?;
        let mut keys = entry.credentials.iter().filter(|(ufrag, _)| ufrag == request.recipient());
        if taken || !keys.any(|(_, key)| request.is_signed_with(key)) {
            return Err(Fate::Refused);
        }
        let inbox = entry.inbox.clone();
        self.forget(from);
        self.make_room(member);
        self.members.get_mut(&member).ok_or(Fate::Unknown)?.addresses.push(from);
        self.routes.insert(from, Route { member, inbox, heard: now });
        Ok(())
    }

    /// Takes an address away from whoever had it.
    fn forget(&mut self, address: SocketAddr) {
        if let Some(route) = self.routes.remove(&address)
            && let Some(entry) = self.members.get_mut(&route.member)
        {
            entry.addresses.retain(|known| *known != address);
        }
    }

    /// Where a peer has as many addresses as it may, the one that was silent for longest makes room.
    fn make_room(&mut self, member: Member) {
        let addresses = self.members.get(&member).map(|entry| &entry.addresses);
        let Some(addresses) = addresses.filter(|addresses| addresses.len() >= ADDRESSES) else { return };
        let heard = |address: &&SocketAddr| self.routes.get(*address).map(|route| route.heard);
        if let Some(quietest) = addresses.iter().min_by_key(heard).copied() {
            self.forget(quietest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::IoSliceMut, task::Context, task::Poll};

    use super::{super::stun::tests::request, *};

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    struct Fixture {
        table: Table,
        now: Instant,
    }

    impl Fixture {
        /// Connections 1 and 2 with the username fragments "one" and "two".
        fn new() -> Self {
            let mut table = Table::default();
            for (member, ufrag) in [(1, "one"), (2, "two")] {
                let inbox = Inbox::default();
                inbox.open(LOCAL);
                table.enter(member, Arc::new(inbox));
                table.admit(member, ufrag, &format!("password of {ufrag}"));
            }
            Self { table, now: Instant::now() }
        }

        fn deliver(&mut self, datagram: &[u8], from: u16) -> Fate {
            self.table.deliver(datagram, (LOCAL, from).into(), Some(LOCAL), self.now)
        }

        /// Sends a request that is signed as it should be.
        fn knock(&mut self, ufrag: &str, from: u16) -> Fate {
            self.deliver(&request(&format!("{ufrag}:peer"), &format!("password of {ufrag}")), from)
        }

        fn media(&mut self, from: u16) -> Fate {
            self.deliver(&[0x80, 96, 0, 1], from)
        }

        /// Who has a datagram from `from`.
        fn reader(&self, from: u16) -> Option<Member> {
            let holds = |entry: &Entry| {
                let (mut buf, mut found) = ([0; 200], false);
                let cx = Context::from_waker(Waker::noop());
                while let Poll::Ready(meta) = entry.inbox.poll(LOCAL, &cx, &mut IoSliceMut::new(&mut buf)) {
                    found |= meta.addr.port() == from;
                }
                found
            };
            let found: Vec<Member> =
                self.table.members.iter().filter(|(_, entry)| holds(entry)).map(|(member, _)| *member).collect();
            // Both may hold one; the older comes first.
            found.into_iter().min()
        }
    }

    #[test]
    fn media_follows_the_address_that_proved_itself() {
        let mut world = Fixture::new();
        assert!(matches!(world.media(10), Fate::Unknown));
        assert!(matches!(world.knock("one", 10), Fate::Delivered(_)));
        assert!(matches!(world.knock("two", 20), Fate::Delivered(_)));
        assert!(matches!(world.media(10), Fate::Delivered(_)));
        assert_eq!(world.reader(10), Some(1));
        assert!(matches!(world.media(20), Fate::Delivered(_)));
        assert_eq!(world.reader(20), Some(2));
    }

    #[test]
    fn a_wrong_signature_makes_no_route_and_moves_none() {
        let mut world = Fixture::new();
        assert!(matches!(world.deliver(&request("one:peer", "guess"), 10), Fate::Refused));
        assert!(matches!(world.media(10), Fate::Unknown));
        assert!(matches!(world.knock("one", 10), Fate::Delivered(_)));
        assert!(matches!(world.deliver(&request("two:peer", "guess"), 10), Fate::Refused));
        world.now += 2 * SILENCE;
        assert!(matches!(world.deliver(&request("two:peer", "guess"), 10), Fate::Refused));
        assert!(matches!(world.media(10), Fate::Delivered(_)));
        assert_eq!(world.reader(10), Some(1));
    }

    #[test]
    fn an_address_in_use_stays_where_it_is_even_against_a_true_signature() {
        let mut world = Fixture::new();
        assert!(matches!(world.knock("one", 10), Fate::Delivered(_)));
        world.now += SILENCE * 4 / 5;
        assert!(matches!(world.media(10), Fate::Delivered(_)));
        world.now += SILENCE * 4 / 5;
        assert!(matches!(world.knock("two", 10), Fate::Refused));
        // One that has fallen silent is free: its NAT may have given it to somebody else.
        world.now += SILENCE;
        assert!(matches!(world.knock("two", 10), Fate::Delivered(_)));
        assert_eq!(world.reader(10), Some(1), "what came before");
        assert!(matches!(world.media(10), Fate::Delivered(_)));
        assert_eq!(world.reader(10), Some(2));
    }

    #[test]
    fn whoever_leaves_takes_his_routes_with_him() {
        let mut world = Fixture::new();
        assert!(matches!(world.knock("one", 10), Fate::Delivered(_)));
        world.table.leave(1);
        assert!(matches!(world.media(10), Fate::Unknown));
        assert!(matches!(world.knock("one", 10), Fate::Unknown));
        assert!(matches!(world.knock("two", 10), Fate::Delivered(_)));
        world.table.leave(2);
        assert!(world.table.routes.is_empty() && world.table.recipients.is_empty() && world.table.members.is_empty());
    }

    #[test]
    fn after_an_ice_restart_old_and_new_credentials_lead_to_the_connection() {
        let mut world = Fixture::new();
        for ufrag in ["first", "second"] {
            world.table.admit(1, ufrag, &format!("password of {ufrag}"));
            world.table.admit(1, ufrag, "said twice");
        }
        assert!(matches!(world.knock("one", 10), Fate::Unknown));
        assert!(matches!(world.knock("first", 11), Fate::Delivered(_)));
        assert!(matches!(world.knock("second", 12), Fate::Delivered(_)));
        assert_eq!(world.table.recipients.len(), 3);
    }

    #[test]
    fn a_peer_with_many_addresses_loses_the_quietest() {
        let mut world = Fixture::new();
        for port in 0..1000 {
            world.now += Duration::from_millis(1);
            assert!(matches!(world.media(0), Fate::Delivered(_)) || port == 0);
            assert!(matches!(world.knock("one", port), Fate::Delivered(_)));
        }
        assert_eq!(world.table.routes.len(), ADDRESSES);
        assert!(matches!(world.media(0), Fate::Delivered(_)));
        assert!(matches!(world.media(999), Fate::Delivered(_)));
        assert!(matches!(world.media(1), Fate::Unknown));
    }
}
