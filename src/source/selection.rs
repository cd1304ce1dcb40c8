//! How much of a source is sent: from where, how long, how often.

use cv_core::timestamp::{TimeBase, Timestamp};

use super::{Captured, Error, Info, Source};

/// Which pictures of a source are taken. The default takes all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Seconds of presentation time to begin at.
    pub start: Option<f64>,
    /// Seconds to take from the first picture taken.
    pub duration: Option<f64>,
    /// Pictures to take.
    pub frames: Option<u64>,
    /// Pictures a second at most, thinned out by presentation time.
    pub fps: Option<f64>,
    /// Whether the source begins again at its end.
    pub repeat: bool,
}

/// Opens the source anew, for each round of a loop.
pub type Open = Box<dyn FnMut() -> Result<Box<dyn Source>, Error> + Send>;

/// A source of which only a part is taken.
pub struct Selected {
    open: Open,
    source: Box<dyn Source>,
    info: Info,
    selection: Selection,
    taken: u64,
    /// When the first picture was taken, and when the last one, in microseconds on the continued time axis.
    first: Option<i64>,
    last: Option<Timestamp>,
    /// The earliest time of the next picture, in microseconds, where pictures are thinned out.
    due: f64,
    /// What is added to the presentation times of this round.
    offset: i64,
    /// Ticks from one picture to the next, as last seen.
    step: i64,
    /// Whether this round gave a picture: an empty source must not loop for ever.
    fruitful: bool,
}

impl Selected {
    /// The part of the source that `open` opens.
    pub fn new(mut open: Open, selection: Selection) -> Result<Self, Error> {
        let source = open()?;
        let mut info = source.info().clone();
        info.fps = selection.fps.map_or(info.fps, |fps| fps.min(info.fps));
        info.frames = match (&selection, info.frames) {
            (Selection { repeat: true, frames, .. }, _) => *frames,
            (Selection { start: None, duration: None, fps: None, frames, .. }, Some(all)) => {
                Some(frames.map_or(all, |frames| frames.min(all)))
            }
            (Selection { frames, .. }, _) => *frames,
        };
        Ok(Self {
            open,
            source,
            info,
            selection,
            taken: 0,
            first: None,
            last: None,
            due: f64::MIN,
            offset: 0,
            step: 1,
            fruitful: false,
        })
    }

    /// The next picture of the source, over and over if asked for.
    fn next_round(&mut self) -> Result<Option<Captured>, Error> {
        loop {
            if let Some(mut captured) = self.source.next()? {
                self.fruitful = true;
                captured.pts.ticks = captured.pts.ticks.saturating_add(self.offset);
                self.step = self.last.map_or(self.step, |last| captured.pts.ticks.saturating_sub(last.ticks).max(1));
                self.last = Some(captured.pts);
                return Ok(Some(captured));
            }
            if !self.selection.repeat || !std::mem::take(&mut self.fruitful) {
                return Ok(None);
            }
            self.source = (self.open)()?;
            self.offset = self.last.map_or(0, |last| last.ticks.saturating_add(self.step));
            // The next round's own zero may lie elsewhere: its first picture follows the last one.
            if let Some(first) = self.source.next()? {
                self.fruitful = true;
                let pts = Timestamp::new(self.offset, first.pts.base);
                self.offset = self.offset.saturating_sub(first.pts.ticks);
                self.last = Some(pts);
                return Ok(Some(Captured { pts, ..first }));
            }
        }
    }

    /// Whether the picture at `micros` is taken.
    fn wants(&mut self, micros: i64) -> bool {
        if self.selection.start.is_some_and(|start| (micros as f64) < start * 1e6 - 0.5) {
            return false;
        }
        let Some(fps) = self.selection.fps else { return true };
        let period = 1e6 / fps;
        // A hundredth of a period makes up for time stamps that are rounded to their clock's ticks.
        if (micros as f64) < self.due - period / 100.0 {
            return false;
        }
        // A steady grid, unless the source has a gap longer than a period.
        let next = self.due + period;
        self.due = if next > micros as f64 { next } else { micros as f64 + period };
        true
    }
}

impl Source for Selected {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, Error> {
        if self.selection.frames.is_some_and(|frames| self.taken >= frames) {
            return Ok(None);
        }
        while let Some(captured) = self.next_round()? {
            let micros = captured.pts.rescale(TimeBase::MICROS).ticks;
            if !self.wants(micros) {
                continue;
            }
            let first = *self.first.get_or_insert(micros);
            if self
                .selection
                .duration
                .is_some_and(|duration| micros.saturating_sub(first) as f64 >= duration * 1e6 - 0.5)
            {
                return Ok(None);
            }
            self.taken += 1;
            return Ok(Some(captured));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cv_core::{
        geometry::Size,
        picture::{Pool, Range},
    };

    /// `count` pictures, 25 a second, the first at 2 s.
    struct Ticks {
        info: Info,
        given: u64,
        count: u64,
    }

    impl Source for Ticks {
        fn info(&self) -> &Info {
            &self.info
        }

        fn next(&mut self) -> Result<Option<Captured>, Error> {
            if self.given == self.count {
                return Ok(None);
            }
            self.given += 1;
            let pts = Timestamp::new(49 + self.given as i64, TimeBase::new(1, 25).unwrap());
            let picture = Pool::default().picture(Size::new(2, 2).unwrap(), Range::Limited).freeze();
            Ok(Some(Captured { pts, picture, captured: None }))
        }
    }

    fn times(count: u64, selection: Selection) -> Vec<f64> {
        let open = move || {
            let info = Info {
                name: String::new(),
                size: Size::new(2, 2).unwrap(),
                fps: 25.0,
                frames: Some(count),
                live: false,
            };
            Ok(Box::new(Ticks { info, given: 0, count }) as Box<dyn Source>)
        };
        let mut selected = Selected::new(Box::new(open), selection).unwrap();
        std::iter::from_fn(|| selected.next().unwrap()).map(|captured| captured.pts.seconds()).collect()
    }

    #[test]
    fn everything_is_taken_unless_asked_otherwise() {
        assert_eq!(times(3, Selection::default()), [2.0, 2.04, 2.08]);
    }

    #[test]
    fn a_part_is_cut_out_by_time_and_count() {
        let cut = Selection { start: Some(2.08), duration: Some(0.12), ..Selection::default() };
        assert_eq!(times(100, cut), [2.08, 2.12, 2.16]);
        assert_eq!(times(100, Selection { frames: Some(2), ..Selection::default() }), [2.0, 2.04]);
    }

    #[test]
    fn pictures_are_thinned_out_evenly() {
        let thin = Selection { fps: Some(10.0), ..Selection::default() };
        assert_eq!(times(11, thin), [2.0, 2.12, 2.2, 2.32, 2.4]);
        assert_eq!(times(4, Selection { fps: Some(25.0), ..Selection::default() }).len(), 4);
    }

    #[test]
    fn a_loop_goes_on_in_time() {
        let looped = Selection { repeat: true, frames: Some(5), ..Selection::default() };
        assert_eq!(times(2, looped), [2.0, 2.04, 2.08, 2.12, 2.16]);
    }

    #[test]
    fn an_empty_source_does_not_loop_for_ever() {
        assert!(times(0, Selection { repeat: true, ..Selection::default() }).is_empty());
    }
}
