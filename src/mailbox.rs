//! Bounded queues between threads, with the overflow rule in the call's name.
//!
//! Every queue of the product is one of these, a bounded tokio channel, or bounded by who fills it; the tables in
//! `sender.rs` and `receiver.rs` list them with size, rule and counter.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

/// The other side is gone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end of the queue is gone")]
pub struct Closed;

/// Nothing came in time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing came in time")]
pub struct TimedOut;

/// Why [`Sender::try_send`] gave the item back.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// The queue is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// A queue that holds at most `capacity` items.
///
/// # Panics
/// If `capacity` is zero.
pub fn mailbox<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a mailbox holds at least one item");
    let state = State { items: VecDeque::with_capacity(capacity), senders: 1, open: true };
    let shared =
        Arc::new(Shared { state: Mutex::new(state), capacity, filled: Condvar::new(), emptied: Condvar::new() });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// Puts items in. Clones share the queue; it ends for the receiver when the last one is dropped.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Takes items out. Dropping it closes the queue and drops what waits.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

/// Locked only to move an item in or out, hence a plain mutex.
struct Shared<T> {
    state: Mutex<State<T>>,
    capacity: usize,
    filled: Condvar,
    emptied: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    senders: usize,
    open: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("nobody panics while holding a mailbox")
    }
}

impl<T> Sender<T> {
    /// Puts `item` in; blocks while the queue is full.
    pub fn send_wait(&self, item: T) -> Result<(), Closed> {
        let full = |state: &mut State<T>| state.open && state.items.len() == self.shared.capacity;
        let mut state =
            self.shared.emptied.wait_while(self.shared.lock(), full).expect("nobody panics while holding a mailbox");
        if !state.open {
            return Err(Closed);
        }
        state.items.push_back(item);
        self.shared.filled.notify_one();
        Ok(())
    }

    /// Puts `item` in; when the queue is full the oldest one makes room and is returned.
    pub fn send_replace(&self, item: T) -> Result<Option<T>, Closed> {
        let mut state = self.shared.lock();
        if !state.open {
            return Err(Closed);
        }
        let displaced = if state.items.len() == self.shared.capacity { state.items.pop_front() } else { None };
        state.items.push_back(item);
        self.shared.filled.notify_one();
        Ok(displaced)
    }

    /// Puts `item` in unless the queue is full; never blocks.
    pub fn try_send(&self, item: T) -> Result<(), Refused<T>> {
        let mut state = self.shared.lock();
        if !state.open {
            return Err(Refused::Closed(item));
        }
        if state.items.len() == self.shared.capacity {
            return Err(Refused::Full(item));
        }
        state.items.push_back(item);
        self.shared.filled.notify_one();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.senders -= 1;
        if state.senders == 0 {
            self.shared.filled.notify_all();
        }
    }
}

impl<T> Receiver<T> {
    /// The oldest item; blocks for one. `None` once the queue is empty and every sender is gone.
    pub fn recv(&self) -> Option<T> {
        let starved = |state: &mut State<T>| state.items.is_empty() && state.senders > 0;
        let mut state =
            self.shared.filled.wait_while(self.shared.lock(), starved).expect("nobody panics while holding a mailbox");
        let item = state.items.pop_front();
        self.shared.emptied.notify_one();
        item
    }

    /// The oldest item; blocks for one, at most for `limit`. `Ok(None)` once the queue is empty and every sender is gone.
    pub fn recv_timeout(&self, limit: Duration) -> Result<Option<T>, TimedOut> {
        let starved = |state: &mut State<T>| state.items.is_empty() && state.senders > 0;
        let (mut state, waited) = self
            .shared
            .filled
            .wait_timeout_while(self.shared.lock(), limit, starved)
            .expect("nobody panics while holding a mailbox");
        if waited.timed_out() {
            return Err(TimedOut);
        }
        let item = state.items.pop_front();
        self.shared.emptied.notify_one();
        Ok(item)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.open = false;
        // Items may hold senders of other mailboxes: let them go only after the lock.
        let orphans = std::mem::take(&mut state.items);
        self.shared.emptied.notify_all();
        drop(state);
        drop(orphans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_replaces_the_oldest() {
        let (sender, receiver) = mailbox(1);
        assert_eq!(sender.send_replace(1), Ok(None));
        assert_eq!(sender.send_replace(2), Ok(Some(1)));
        assert_eq!(receiver.recv(), Some(2));
    }

    #[test]
    fn a_full_queue_makes_the_sender_wait_and_loses_nothing() {
        let (sender, receiver) = mailbox(2);
        let producer = std::thread::spawn(move || (0..1000).try_for_each(|item| sender.send_wait(item)));
        let received: Vec<_> = std::iter::from_fn(|| receiver.recv()).collect();
        assert_eq!(received, (0..1000).collect::<Vec<_>>());
        assert_eq!(producer.join().unwrap(), Ok(()));
    }

    #[test]
    fn what_waits_is_still_received_after_the_last_sender_is_gone() {
        let (sender, receiver) = mailbox(2);
        let second = sender.clone();
        sender.try_send(1).unwrap();
        drop(sender);
        second.try_send(2).unwrap();
        assert_eq!(second.try_send(3), Err(Refused::Full(3)));
        drop(second);
        assert_eq!((receiver.recv(), receiver.recv(), receiver.recv()), (Some(1), Some(2), None));
    }

    #[test]
    fn a_gone_receiver_frees_a_waiting_sender() {
        let (sender, receiver) = mailbox(1);
        sender.send_wait(1).unwrap();
        let waiting = std::thread::spawn(move || sender.send_wait(2));
        drop(receiver);
        assert_eq!(waiting.join().unwrap(), Err(Closed));
    }

    #[test]
    fn a_wait_with_a_limit_ends_for_an_item_the_end_or_the_limit() {
        let (sender, receiver) = mailbox(1);
        sender.try_send(1).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(Some(1)));
        assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(TimedOut));
        drop(sender);
        assert_eq!(receiver.recv_timeout(Duration::MAX), Ok(None));
    }
}
