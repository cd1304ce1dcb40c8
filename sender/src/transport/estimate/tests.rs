//! The estimate and the pacer together on a path in virtual time.

use std::time::Instant;

use super::{super::pacer::Pacer, *};

/// Pictures of a live stream: their rate where the path takes it, and the encoder's share otherwise.
const CEILING: f64 = 1.5e6;
const SHARE: f64 = 0.85;
const FRAME: i64 = 33_333;

/// A path, and what is sent over it.
struct Path {
    /// Bits a second of the bottleneck.
    capacity: f64,
    /// One-way delay without the queue, and how much it varies, in microseconds.
    delay: i64,
    jitter: i64,
    loss: f64,
    now: i64,
    start: Instant,
    free: i64,
    last: i64,
    chances: u64,
    pacer: Pacer<()>,
    estimator: Estimator,
    number: u64,
    total: u64,
    pending: Vec<(i64, Option<Arrival>)>,
    reported: i64,
    /// Time, bytes and queueing time of each packet; no time for one that was dropped.
    samples: Vec<(i64, u32, Option<i64>)>,
}

const QUEUE_SIZE: i64 = 200_000;

impl Path {
    fn new(capacity: f64) -> Self {
        Self {
            capacity,
            delay: 20_000,
            jitter: 0,
            loss: 0.0,
            now: 0,
            start: Instant::now(),
            free: 0,
            last: 0,
            chances: 1,
            pacer: Pacer::new(2.0 * START),
            estimator: Estimator::new(),
            number: 0,
            total: 0,
            pending: Vec::new(),
            reported: 0,
            samples: Vec::new(),
        }
    }

    fn chance(&mut self) -> f64 {
        self.chances = self.chances.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chances >> 33) as f64 / f64::from(u32::MAX >> 1)
    }

    /// Runs for so many seconds in steps of a millisecond.
    fn run(&mut self, seconds: f64) {
        let end = self.now + (seconds * 1e6) as i64;
        while self.now < end {
            self.now += 1000;
            if self.now / FRAME != (self.now - 1000) / FRAME {
                self.picture();
            }
            let at = self.start + Duration::from_micros(self.now as u64);
            while let Some(released) = self.pacer.pop(at) {
                self.transmit(released.bytes as u32);
            }
            self.feed_back(at);
        }
    }

    /// Every sixtieth picture is a keyframe of four times the size.
    fn picture(&mut self) {
        if self.pacer.backlog() > Duration::from_millis(100) {
            return;
        }
        let media = (self.estimator.rate() * SHARE).min(CEILING);
        let keyframe = (self.now / FRAME) % 60 == 0;
        let bytes = media / 30.0 / 8.0 * if keyframe { 4.0 } else { 0.95 };
        let packets = (bytes / 1200.0).ceil().max(1.0);
        for _ in 0..packets as usize {
            self.pacer.push((), (bytes / packets) as usize);
        }
    }

    fn transmit(&mut self, bytes: u32) {
        self.total += u64::from(bytes);
        let queued = (self.free - self.now).max(0);
        let lost = queued > QUEUE_SIZE;
        self.samples.push((self.now, bytes, (!lost).then_some(queued)));
        let mut arrival = None;
        if !lost {
            self.free = self.now + queued + (f64::from(bytes) * 8e6 / self.capacity) as i64;
            let varied = (self.jitter as f64 * self.chance()) as i64;
            self.last = self.last.max(self.free + self.delay + varied);
            let (number, total, sent, arrived) = (self.number, self.total, self.now, self.last);
            arrival = (self.chance() >= self.loss).then_some(Arrival { number, sent, arrived, bytes, total });
        }
        self.number += 1;
        self.pending.push((self.last.max(self.now), arrival));
    }

    /// What arrived by now is told every 33 ms; the feedback takes as long as a packet.
    fn feed_back(&mut self, at: Instant) {
        if self.now - self.reported < FRAME {
            return;
        }
        self.reported = self.now;
        let (now, delay) = (self.now, self.delay);
        let (known, rest): (Vec<_>, Vec<_>) = self.pending.drain(..).partition(|(time, _)| time + delay <= now);
        self.pending = rest;
        let arrivals: Vec<Arrival> = known.iter().filter_map(|(_, arrival)| *arrival).collect();
        let lost = known.len() - arrivals.len();
        self.estimator.hear(now, &arrivals, (arrivals.len() as u32, lost as u32));
        self.pacer.set_rate(at, self.estimator.pacing());
    }

    /// Use, 95th percentile of the queue and share of drops in the last so many seconds.
    fn last(&self, seconds: f64) -> (f64, i64, f64) {
        let since = self.now - (seconds * 1e6) as i64;
        let within: Vec<_> = self.samples.iter().filter(|(at, ..)| *at >= since).collect();
        let mut queued: Vec<i64> = within.iter().filter_map(|(.., queued)| *queued).collect();
        queued.sort_unstable();
        let bytes: u32 = within.iter().filter(|(.., queued)| queued.is_some()).map(|(_, bytes, _)| bytes).sum();
        let used = f64::from(bytes) * 8.0 / seconds / self.capacity;
        let drops = 1.0 - queued.len() as f64 / within.len() as f64;
        (used, queued[queued.len() * 95 / 100], drops)
    }
}

#[test]
fn a_bottleneck_is_used_well_with_a_short_queue() {
    for capacity in [0.3e6, 0.5e6, 1e6, 1.3e6] {
        let mut path = Path::new(capacity);
        path.run(5.0);
        path.run(20.0);
        let (used, queued, drops) = path.last(20.0);
        assert!(used > 0.7 && queued < 150_000 && drops < 0.01, "{capacity}: {used} {queued} {drops}");
    }
}

#[test]
fn the_rate_is_back_two_seconds_after_a_bottleneck_is_gone() {
    let mut path = Path::new(0.5e6);
    path.run(15.0);
    path.capacity = 20e6;
    path.run(2.0);
    let rate = path.estimator.rate();
    assert!(rate * SHARE > 0.9 * CEILING, "{rate}");
}

#[test]
fn a_fast_path_is_known_from_the_first_picture_on() {
    let mut path = Path::new(1e9);
    path.delay = 100;
    path.run(0.2);
    assert!(path.estimator.pacing() > 30e6, "{}", path.estimator.pacing());
    path.run(10.0);
    assert!(path.estimator.rate() * SHARE > CEILING);
    assert!(path.estimator.pacing() > 30e6, "{}", path.estimator.pacing());
}

#[test]
fn losses_that_a_lower_rate_does_not_cure_do_not_lower_it_for_good() {
    let mut path = Path::new(20e6);
    path.loss = 0.2;
    path.run(15.0);
    let rate = path.estimator.rate();
    assert!(rate * SHARE > CEILING, "{rate}");
}

#[test]
fn varying_delay_is_no_queue() {
    let mut path = Path::new(20e6);
    path.jitter = 20_000;
    path.run(20.0);
    let rate = path.estimator.rate();
    assert!(rate * SHARE > CEILING, "{rate}");
}

#[test]
fn a_long_way_only_takes_longer() {
    let mut path = Path::new(1e6);
    path.delay = 500_000;
    path.run(15.0);
    path.run(20.0);
    let (used, queued, drops) = path.last(20.0);
    assert!(used > 0.6 && queued < 200_000 && drops < 0.02, "{used} {queued} {drops}");
}

#[test]
fn an_outage_leaves_the_rate_as_it_was() {
    let mut path = Path::new(2e6);
    path.run(5.0);
    let before = path.estimator.rate();
    path.now += 5_000_000;
    (path.free, path.last, path.reported) = (path.now, path.now, path.now);
    path.pending.clear();
    path.estimator.resume(path.now);
    path.run(2.0);
    let rate = path.estimator.rate();
    assert!(rate > 0.9 * before, "{rate} after {before}");
}

#[test]
fn reports_of_loss_alone_lower_the_rate_and_their_end_raises_it() {
    let mut estimator = Estimator::new();
    for second in 0..10 {
        estimator.hear_report(second * 1_000_000, 0.25);
    }
    let low = estimator.rate();
    assert!(low < START / 2.0);
    for second in 10..40 {
        estimator.hear_report(second * 1_000_000, 0.0);
    }
    assert!(estimator.rate() > 2.0 * low);
}
