//! How much the path takes, judged by when packets arrive and which do not.
//!
//! The queue in front of the bottleneck is what shows first, so delay above the least one seen lately
//! is the main sign (as in NADA, RFC 8698, and draft-ietf-rmcat-gcc-02); loss is the second one, for
//! queues too short to show and peers that report no arrival times. The rate falls to a share of what
//! was delivered, and grows multiplicatively while the bottleneck is far and slowly near to where it
//! was found. Packets that left back to back arrive as far apart as the bottleneck spreads them: their
//! dispersion tells its capacity without filling it (Dovrolis et al., "What do packet dispersion
//! techniques measure?"), so that a fast network is used as one from the first picture on.
//!
//! Nothing here reads a clock: microseconds come in from outside.

use std::{collections::VecDeque, time::Duration};

/// Bits a second before anything is known.
pub(super) const START: f64 = 3e6;
/// The least that is worth sending.
const FLOOR: f64 = 100e3;
const CEILING: f64 = 1e9;
/// Delay that is taken for a queue, and delay that is none (both beyond the least one seen).
const QUEUE: i64 = 40_000;
const NO_QUEUE: i64 = 15_000;
/// What is kept of the delivered rate when a queue shows: less than all, so that it drains.
const KEPT: f64 = 0.85;
/// Growth a second while the bottleneck is far, and near to where it was found.
const FAST: f64 = 2.5;
const SLOW: f64 = 1.08;
/// How long the place of the bottleneck is remembered.
const KNEE_MEMORY: i64 = 10_000_000;
/// Time over which delivery, delay and loss are measured.
const DELIVERY: i64 = 500_000;
const DELAY: i64 = 100_000;
const LOSS: i64 = 1_000_000;
/// Losses that ask for a lower rate, and those that forbid a higher one (gcc-02, 6).
const MUCH_LOSS: f64 = 0.1;
const SOME_LOSS: f64 = 0.02;
/// Packets that left within this time of each other left back to back.
const BACK_TO_BACK: i64 = 500;
/// The resolution of reported arrival times.
const RESOLUTION: i64 = 250;
/// Trains whose median is the capacity, and packets that make one. A pair says too little for that, but
/// enough to tell that a bottleneck went away, where pictures are so small.
const TRAINS: usize = 7;
const LEAST_TRAIN: usize = 3;
const PAIR: usize = 2;

/// A packet that arrived. The two clocks, in microseconds, have nothing to do with each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Its number among all packets of the connection.
    pub(super) number: u64,
    /// When it left, by our clock.
    pub(super) sent: i64,
    /// When it arrived, by the receiver's.
    pub(super) arrived: i64,
    pub(super) bytes: u32,
    /// Bytes sent so far, this packet included.
    pub(super) total: u64,
}

/// The estimate of one connection.
#[derive(Debug)]
pub(super) struct Estimator {
    rate: f64,
    /// Where the bottleneck was found last, and when.
    knee: Option<(f64, i64)>,
    delay: Least,
    round_trip: Least,
    recent: VecDeque<Arrival>,
    train: Train,
    capacities: Capacities,
    pairs: Capacities,
    losses: Losses,
    /// Evaluations in a row that saw a queue.
    queued: u32,
    /// No decision before this time: the last one's effect is not to be seen yet.
    hold: i64,
    evaluated: Option<i64>,
}

impl Estimator {
    pub(super) fn new() -> Self {
        Self {
            rate: START,
            knee: None,
            delay: Least::default(),
            round_trip: Least::default(),
            recent: VecDeque::new(),
            train: Train::default(),
            capacities: Capacities::default(),
            pairs: Capacities::default(),
            losses: Losses::default(),
            queued: 0,
            hold: 0,
            evaluated: None,
        }
    }

    /// Bits a second that the path takes for good.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Bits a second at which packets may leave for a moment.
    pub(super) fn pacing(&self) -> f64 {
        match self.knee {
            Some(_) if self.queued > 0 => self.rate,
            Some(_) => self.rate * 1.15,
            // Nothing fills up: a picture leaves as fast as the path takes it.
            None => (self.rate * 2.5).max(self.capacities.median().map_or(0.0, |capacity| capacity * 0.7)),
        }
    }

    /// The shortest round trip seen lately.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.get().map(|micros| Duration::from_micros(micros.max(0) as u64))
    }

    /// Takes what a feedback says: arrivals that are news, and how many packets arrived and were lost.
    pub(super) fn hear(&mut self, now: i64, arrivals: &[Arrival], (arrived, lost): (u32, u32)) {
        self.losses.add(now, arrived, lost);
        let Some(newest) = arrivals.iter().max_by_key(|arrival| arrival.number) else { return };
        self.round_trip.see(now, now - newest.sent);
        for arrival in arrivals {
            self.delay.see(now, arrival.arrived - arrival.sent);
            if let Some((packets, capacity)) = self.train.extend(arrival) {
                let seen = if packets >= LEAST_TRAIN { &mut self.capacities } else { &mut self.pairs };
                seen.add(capacity);
            }
            self.recent.push_back(*arrival);
        }
        let newest = newest.arrived;
        while self.recent.len() > 4096 || self.recent.front().is_some_and(|old| old.arrived < newest - DELIVERY) {
            self.recent.pop_front();
        }
        self.evaluate(now);
    }

    /// Takes a receiver report's share of packets lost, from a peer that reports no arrivals.
    pub(super) fn hear_report(&mut self, now: i64, share: f64) {
        let seconds = self.evaluated.replace(now).map_or(1.0, |last| (now - last) as f64 / 1e6);
        if share > MUCH_LOSS {
            self.set_rate(self.rate * (1.0 - 0.5 * share));
        } else if share < SOME_LOSS {
            self.set_rate(self.rate * SLOW.powf(seconds.min(2.0)));
        }
    }

    /// Takes a round trip that was measured otherwise than by arrivals.
    pub(super) fn see_round_trip(&mut self, now: i64, micros: i64) {
        if (0..10_000_000).contains(&micros) {
            self.round_trip.see(now, micros);
        }
    }

    /// Goes on after an outage at the rate from before it. The path may be another, and longer: its delays say nothing
    /// of the one before.
    pub(super) fn resume(&mut self, now: i64) {
        self.hold = now + self.settling();
        (self.delay, self.round_trip) = (Least::default(), Least::default());
        self.recent.clear();
        self.train = Train::default();
        self.losses = Losses { inherent: self.losses.inherent, ..Losses::default() };
        self.queued = 0;
        self.evaluated = Some(now);
    }

    fn evaluate(&mut self, now: i64) {
        let seconds = self.evaluated.replace(now).map_or(0.0, |last| (now - last) as f64 / 1e6).min(0.2);
        self.knee = self.knee.filter(|(_, at)| now - at < KNEE_MEMORY);
        let queue = self.queue();
        self.queued = if queue > QUEUE { self.queued + 1 } else { 0 };
        let loss = self.losses.beyond_inherent(now);
        if now < self.hold {
            return;
        }
        let delivered = self.delivered();
        if self.queued >= 2 {
            let delivered = delivered.unwrap_or(self.rate);
            self.knee = Some((delivered, now));
            self.set_rate((delivered * KEPT).min(self.rate));
            self.hold = now + self.settling();
        } else if loss.is_some_and(|loss| loss > MUCH_LOSS) {
            self.losses.blame(now, self.rate);
            self.set_rate(self.rate * (1.0 - 0.5 * loss.unwrap_or_default()));
            self.hold = now + LOSS + self.settling();
        } else if let Some(rate) = self.losses.acquit() {
            self.set_rate(rate.max(self.rate));
        } else if queue < NO_QUEUE && loss.is_none_or(|loss| loss < SOME_LOSS) {
            self.grow(seconds, delivered);
        }
    }

    fn grow(&mut self, seconds: f64, delivered: Option<f64>) {
        let Some(delivered) = delivered else { return };
        // Trains that arrive far faster prove that the bottleneck went away, as does getting past it.
        let fastest = self.capacities.median().into_iter().chain(self.pairs.median()).fold(0.0, f64::max);
        self.knee = self.knee.filter(|(knee, _)| fastest < 2.0 * knee && self.rate < 1.25 * knee);
        let rate = self.rate.max(delivered * 0.95);
        let limit = delivered * 2.0 + 200e3;
        let growth = match self.knee {
            Some((knee, _)) if rate > 0.8 * knee => SLOW,
            _ => FAST,
        };
        // What was never tried is not believed.
        if rate < limit {
            self.set_rate((rate * growth.powf(seconds)).min(limit));
        }
    }

    fn set_rate(&mut self, rate: f64) {
        self.rate = rate.clamp(FLOOR, CEILING);
    }

    /// How long a change takes to be seen in feedback.
    fn settling(&self) -> i64 {
        self.round_trip.get().unwrap_or_default() + 2 * DELAY
    }

    /// The delay that all of the newest packets share, beyond the least one: a standing queue.
    fn queue(&self) -> i64 {
        let (Some(newest), Some(least)) = (self.recent.back(), self.delay.get()) else { return 0 };
        let since = newest.arrived - DELAY;
        let latest = self.recent.iter().rev().enumerate();
        let latest = latest.take_while(|(index, arrival)| *index < LEAST_TRAIN || arrival.arrived >= since);
        latest.map(|(_, arrival)| arrival.arrived - arrival.sent).min().unwrap_or(least) - least
    }

    /// Bits a second that arrived lately, `None` if that cannot be said yet.
    fn delivered(&self) -> Option<f64> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        let span = last.arrived - first.arrived;
        // What was sent in between, so that feedback lost on the way back is no packet lost.
        let sent = last.total.saturating_sub(first.total) as f64 * (1.0 - self.losses.share().unwrap_or_default());
        (span >= DELIVERY / 3).then(|| sent * 8e6 / span as f64)
    }
}

/// What the last trains showed.
#[derive(Debug, Default)]
struct Capacities {
    seen: VecDeque<f64>,
}

impl Capacities {
    fn add(&mut self, capacity: f64) {
        self.seen.truncate(TRAINS - 1);
        self.seen.push_front(capacity);
    }

    fn median(&self) -> Option<f64> {
        let mut seen: Vec<f64> = self.seen.iter().copied().collect();
        seen.sort_by(f64::total_cmp);
        seen.get(seen.len() / 2).copied()
    }
}

/// The least value of the last ten to twenty seconds: clocks drift and paths change.
#[derive(Debug, Default)]
struct Least {
    current: Option<i64>,
    before: Option<i64>,
    since: i64,
}

impl Least {
    const SPAN: i64 = 10_000_000;

    fn see(&mut self, now: i64, value: i64) {
        if now - self.since >= Self::SPAN {
            (self.before, self.current, self.since) = (self.current.take(), None, now);
        }
        self.current = Some(self.current.map_or(value, |least| least.min(value)));
    }

    fn get(&self) -> Option<i64> {
        self.current.into_iter().chain(self.before).min()
    }
}

/// Packets that left back to back.
#[derive(Debug, Default)]
struct Train {
    first: Option<Arrival>,
    last: Option<Arrival>,
    packets: usize,
    bytes: u64,
}

impl Train {
    /// Adds a packet; gives the length of a train that ended before it, and the capacity that it shows.
    fn extend(&mut self, arrival: &Arrival) -> Option<(usize, f64)> {
        let follows = self.last.is_some_and(|last| {
            arrival.number == last.number + 1
                && arrival.sent - last.sent < BACK_TO_BACK
                && arrival.arrived >= last.arrived
        });
        let ended = if follows { None } else { self.capacity() };
        if follows {
            self.packets += 1;
            self.bytes += u64::from(arrival.bytes);
            self.last = Some(*arrival);
        } else {
            *self = Self { first: Some(*arrival), last: Some(*arrival), packets: 1, bytes: 0 };
        }
        ended
    }

    fn capacity(&self) -> Option<(usize, f64)> {
        let (first, last) = (self.first?, self.last?);
        let spread = (last.arrived - first.arrived).max(RESOLUTION);
        (self.packets >= PAIR).then(|| (self.packets, self.bytes as f64 * 8e6 / spread as f64))
    }
}

/// Losses of the last second, and how many of them the rate has nothing to do with.
#[derive(Debug, Default)]
struct Losses {
    counts: VecDeque<(i64, u32, u32)>,
    /// The share that stayed when the rate fell: a bad radio link, not a full queue.
    inherent: f64,
    /// The share and the rate when the rate was lowered for it, and when its effect is judged.
    trial: Option<(f64, f64, i64)>,
    acquitted: Option<f64>,
}

impl Losses {
    /// Fewer packets say nothing.
    const LEAST: u32 = 20;

    fn add(&mut self, now: i64, arrived: u32, lost: u32) {
        if arrived + lost > 0 {
            self.counts.push_back((now, arrived, lost));
        }
        while self.counts.front().is_some_and(|(at, ..)| *at < now - LOSS) {
            self.counts.pop_front();
        }
    }

    fn share(&self) -> Option<f64> {
        let (arrived, lost) = self.counts.iter().fold((0, 0), |sum, (_, a, l)| (sum.0 + a, sum.1 + l));
        (arrived + lost >= Self::LEAST).then(|| f64::from(lost) / f64::from(arrived + lost))
    }

    /// The share of losses that the rate may be to blame for.
    fn beyond_inherent(&mut self, now: i64) -> Option<f64> {
        let share = self.share()?;
        if let Some((before, rate, judged)) = self.trial
            && now >= judged
        {
            self.trial = None;
            if share > 0.6 * before {
                self.inherent = self.inherent.max(share);
                self.acquitted = Some(rate);
            }
        }
        // It drifts down with what is seen, never up without a trial; chance alone is no sign.
        self.inherent -= 0.02 * (self.inherent - share).max(0.0);
        Some((share - 1.3 * self.inherent).max(0.0))
    }

    /// The rate is about to be lowered from `rate`.
    fn blame(&mut self, now: i64, rate: f64) {
        self.trial = Some((self.share().unwrap_or_default(), rate, now + LOSS));
    }

    /// The rate from before a trial that showed that lowering it does not help.
    fn acquit(&mut self) -> Option<f64> {
        self.acquitted.take()
    }
}

#[cfg(test)]
mod tests;
