//! Black.

use cv_core::{geometry::Size, picture::Picture, picture::Pool};

use super::{Kind, Moment, Painter, canvas, colour::BLACK};

pub(super) const KIND: Kind =
    Kind { name: "black", help: "black pictures", parameters: &[], open: |size, _| Ok(Box::new(Black::new(size))) };

/// One black picture, given again and again.
struct Black(Picture);

impl Black {
    fn new(size: Size) -> Self {
        Self(canvas::picture(&Pool::default(), size, |canvas| canvas.clear(BLACK)))
    }
}

impl Painter for Black {
    fn paint(&mut self, _: Moment) -> Picture {
        self.0.clone()
    }
}
