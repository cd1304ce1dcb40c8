//! Pictures in the memory that the daemon shares.

use std::fs::File;

use anyhow::{Context, Result};
use memmap2::{Mmap, MmapOptions};

/// Where the descriptor of the memory can be opened.
const MEMORY: &str = "/dev/fd/4";

/// The memory, as this process sees it.
pub(super) struct Memory(Mmap);

impl Memory {
    /// The memory that this process was started with.
    pub(super) fn of_this_process(bytes: usize) -> Result<Self> {
        let file = File::open(MEMORY).context("there is no memory to see pictures in")?;
        // SAFETY: the daemon seals the file against truncation where that can be had, and writes a picture only
        // between an answer and the next question, while this process looks at none.
        #[allow(unsafe_code, reason = "there is no other way to see memory of another process")]
        let map = unsafe { MmapOptions::new().len(bytes).map(&file) };
        map.map(Self).context("the memory cannot be seen")
    }

    /// The picture at the beginning.
    pub(super) fn view(&self, width: u32, height: u32) -> Result<View<'_>, String> {
        let bytes = 3 * width as usize * height as usize;
        let samples = self.0.get(..bytes).filter(|samples| !samples.is_empty());
        let samples = samples.ok_or_else(|| format!("no picture has {width}x{height} pixels"))?;
        Ok(View { width, height, samples })
    }
}

/// A picture as packed RGB, rows from top to bottom without padding; it has at least one pixel.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    width: u32,
    height: u32,
    samples: &'a [u8],
}

impl<'a> View<'a> {
    /// A picture of `samples`.
    ///
    /// # Panics
    /// If there are not three samples for each of one or more pixels.
    pub(super) fn of(width: u32, height: u32, samples: &'a [u8]) -> Self {
        assert!(!samples.is_empty() && samples.len() == 3 * width as usize * height as usize);
        Self { width, height, samples }
    }

    /// Pixels in a row.
    pub(super) fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub(super) fn height(&self) -> u32 {
        self.height
    }

    /// Three samples a pixel.
    pub(super) fn samples(&self) -> &'a [u8] {
        self.samples
    }
}
