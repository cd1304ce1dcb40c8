//! When something that is too costly for every picture is done again, by media time alone.

/// Every so many seconds of media time, whatever the rate of pictures.
pub(super) struct Cadence {
    interval: f64,
    /// From when on it is time again.
    due: Option<f64>,
}

impl Cadence {
    /// Every `interval` seconds, above zero; at once to begin with.
    pub(super) fn every(interval: f64) -> Self {
        Self { interval, due: None }
    }

    /// Whether it is time at `time` seconds, as it also is where a source started over. Then the next time is set.
    pub(super) fn is_due(&mut self, time: f64) -> bool {
        let is_due = time.is_finite() && self.due.is_none_or(|due| time >= due || time < due - 2.0 * self.interval);
        if is_due {
            self.due = Some(((time / self.interval).floor() + 1.0) * self.interval);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_once_an_interval_and_at_once_where_a_source_starts_over() {
        let mut cadence = Cadence::every(0.25);
        let due: Vec<bool> =
            [0.0, 0.1, 0.24, 0.25, 0.3, 5.0, 5.1, f64::NAN, 4.8, 0.0, 0.1].map(|time| cadence.is_due(time)).into();
        assert_eq!(due, [true, false, false, true, false, true, false, false, false, true, false]);
    }
}
