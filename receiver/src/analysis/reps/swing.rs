//! Down and up again: two thresholds, a least time between them, and when the bottom was.

use std::collections::VecDeque;

use super::person::Point;

/// Seconds from going below the lower threshold to rising above the upper one that make a repetition; noise takes less.
const LEAST_DOWN: f64 = 0.09;

/// Seconds up before the first repetition: who has just come into the picture is not seen well.
const LEAST_UP: f64 = 0.2;

/// Seconds without a measurement after which nothing joins what was to what comes.
const LONGEST_GAP: f64 = 0.5;

/// Share of the way up from the lowest place within which it stays at the bottom. Nobody turns at once: the lowest value
/// alone is the noise's choice, the middle of the stay is the movement's.
const STAY: f64 = 0.1;

/// Values of one way down and up that are kept; of longer ones every other.
const MOST_VALUES: usize = 512;

/// How far what stands on the ground may move in a repetition, in its limb's lengths.
const MOST_SHIFT: f64 = 0.6;

/// Where a movement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Up,
    Down,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What makes up and down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    /// Below it is down.
    pub(super) down: f64,
    /// From here on it is up.
    pub(super) up: f64,
    /// What the value is when a limb is straight.
    pub(super) straight: f64,
}

/// What is measured of a movement in one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) time: f64,
    /// In the unit of [`Levels`].
    pub(super) value: f64,
    /// Whether it counts as the movement's bottom if it is low; half of a bottom must.
    pub(super) is_true: bool,
    /// What must stay where it is, and the length by which that is judged.
    pub(super) ground: Option<(Point, f64)>,
}

/// One movement, up and down.
pub(super) struct Swing {
    levels: Levels,
    phase: Option<Phase>,
    /// When it was up for the first time since nothing was known.
    since: f64,
    /// The time of the latest measurement.
    last: f64,
    /// Those since it went down.
    values: VecDeque<Value>,
}

impl Swing {
    pub(super) fn new(levels: Levels) -> Self {
        Self { levels, phase: None, since: 0.0, last: f64::NEG_INFINITY, values: VecDeque::new() }
    }

    /// Where it is, if that is known at `time` seconds.
    pub(super) fn phase(&self, time: f64) -> Option<Phase> {
        self.phase.filter(|_| (time - self.last).abs() <= LONGEST_GAP)
    }

    /// Takes in a measurement; the time of the bottom if that ends a repetition.
    pub(super) fn push(&mut self, value: Value) -> Option<f64> {
        if (value.time - self.last).abs() > LONGEST_GAP {
            self.phase = None;
        }
        self.last = value.time;
        let (is_up, is_down) = (value.value >= self.levels.up, value.value < self.levels.down);
        match self.phase {
            None if is_up => {
                (self.phase, self.since) = (Some(Phase::Up), value.time);
            }
            Some(Phase::Up) if is_down && value.time - self.since < LEAST_UP => self.phase = None,
            Some(Phase::Up) if is_down => {
                self.phase = Some(Phase::Down);
                self.values.clear();
                self.keep(value);
            }
            Some(Phase::Down) if is_up => {
                self.phase = Some(Phase::Up);
                return self.bottom(value);
            }
            Some(Phase::Down) => self.keep(value),
            None | Some(Phase::Up) => {}
        }
        None
    }

    fn keep(&mut self, value: Value) {
        self.values.push_back(value);
        if self.values.len() > MOST_VALUES {
            let mut index = 0;
            self.values.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// When the bottom was, if what ends with `end` was a repetition.
    fn bottom(&self, end: Value) -> Option<f64> {
        let first = self.values.front()?;
        let stays = match (first.ground, end.ground) {
            (Some((from, length)), Some((to, other))) => from.distance(to) <= MOST_SHIFT * length.max(other),
            _ => true,
        };
        if end.time - first.time < LEAST_DOWN || !stays {
            return None;
        }
        let lowest = self.values.iter().map(|value| value.value).fold(f64::INFINITY, f64::min);
        let most = lowest + STAY * (self.levels.straight - lowest);
        let stay = || self.spans(end.time).filter(|(value, _)| value.value <= most);
        let (all, sum) = stay().fold((0.0, 0.0), |(all, sum), (value, span)| (all + span, sum + span * value.time));
        let is_true: f64 = stay().filter(|(value, _)| value.is_true).map(|(_, span)| span).sum();
        (2.0 * is_true >= all).then_some(sum / all)
    }

    /// The values on the way down and up, each with the seconds that it stands for, whose way ended at `end`.
    fn spans(&self, end: f64) -> impl Iterator<Item = (&Value, f64)> {
        let time = move |index: usize| self.values.get(index).map_or(end, |value| value.time);
        self.values.iter().enumerate().map(move |(index, value)| {
            let span = time(index + 1) - time(index.saturating_sub(1));
            // Times may repeat.
            (value, span.max(1e-9))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swing() -> Swing {
        Swing::new(Levels { down: 120.0, up: 145.0, straight: 180.0 })
    }

    fn value(time: f64, value: f64) -> Value {
        Value { time, value, is_true: true, ground: None }
    }

    /// The bottoms in values a tenth of a second apart.
    fn bottoms(values: &[f64]) -> Vec<f64> {
        let mut swing = swing();
        swing.push(value(-0.3, 170.0));
        let values = values.iter().enumerate().map(|(index, &at)| value(index as f64 / 10.0, at));
        values.filter_map(|value| swing.push(value)).map(|bottom| (bottom * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn only_all_the_way_down_and_up_is_a_repetition() {
        assert_eq!(bottoms(&[170.0, 130.0, 100.0, 90.0, 100.0, 150.0]), [0.3]);
        assert_eq!(bottoms(&[170.0, 125.0, 170.0, 121.0, 170.0]), [0.0; 0]);
        assert_eq!(bottoms(&[170.0, 90.0, 90.0, 140.0, 100.0, 130.0, 170.0]), [0.167]);
        assert_eq!(swing().push(value(0.0, 90.0)), None, "nobody saw it begin");
    }

    #[test]
    fn what_is_shorter_than_anybody_moves_and_what_begins_at_once_is_none() {
        let count = |times: &[(f64, f64)]| {
            let mut swing = swing();
            times.iter().filter_map(|&(time, height)| swing.push(value(time, height))).count()
        };
        assert_eq!(count(&[(0.0, 170.0), (0.3, 170.0), (0.33, 90.0), (0.4, 170.0)]), 0);
        assert_eq!(count(&[(0.0, 170.0), (0.3, 170.0), (0.33, 90.0), (0.46, 170.0)]), 1);
        assert_eq!(count(&[(0.0, 90.0), (0.1, 170.0), (0.2, 90.0), (0.4, 90.0), (0.6, 170.0)]), 0);
    }

    #[test]
    fn the_bottom_is_the_middle_of_the_stay() {
        assert_eq!(bottoms(&[170.0, 110.0, 92.0, 90.0, 91.0, 93.0, 95.0, 110.0, 150.0]), [0.4]);
    }

    #[test]
    fn what_walks_away_and_what_is_no_true_bottom_is_none() {
        let run = |is_true, shift| {
            let mut swing = swing();
            let heights = [170.0, 170.0, 170.0, 90.0, 90.0, 170.0];
            let values = heights.into_iter().enumerate().map(|(index, height)| {
                let ground = Some((Point { x: index as f64 * shift, y: 0.0 }, 10.0));
                Value { is_true, ground, ..value(index as f64 / 10.0, height) }
            });
            values.filter_map(|value| swing.push(value)).count()
        };
        assert_eq!((run(true, 0.0), run(true, 10.0), run(false, 0.0)), (1, 0, 0));
    }

    #[test]
    fn nothing_joins_what_lies_beyond_a_gap() {
        let mut swing = swing();
        for (time, height) in [(0.0, 170.0), (0.3, 170.0), (0.5, 90.0), (0.7, 90.0), (5.0, 170.0)] {
            assert_eq!(swing.push(value(time, height)), None);
        }
        assert_eq!(swing.phase(5.4), Some(Phase::Up));
        assert_eq!(swing.phase(7.0), None);
    }

    #[test]
    fn a_rest_of_hours_takes_no_more_memory() {
        let mut swing = swing();
        swing.push(value(-0.3, 170.0));
        for index in 0..100_000 {
            swing.push(value(f64::from(index) / 10.0, 90.0));
        }
        assert!(swing.values.len() <= MOST_VALUES);
        assert!((swing.push(value(10_000.0, 170.0)).unwrap() - 5000.0).abs() < 100.0);
    }
}
