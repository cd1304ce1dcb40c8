//! The memory through which a process sees pictures.

use std::{io, os::fd::OwnedFd};

use cv_core::{
    geometry::Size,
    picture::Picture,
    rgb::{self, Order},
};
use memmap2::MmapMut;

/// Bytes of the memory. Only what pictures touch is real: 896x504 in colours takes 1.3 MB.
pub(super) const CAPACITY: usize = 128 << 20;

/// How a picture lies in memory, rows from top to bottom without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// Three bytes a pixel, red first.
    #[default]
    Rgb,
    /// Three bytes a pixel, blue first.
    Bgr,
    /// The luma as it is coded, a byte a pixel.
    Gray,
    /// I420: the luma, then U and V at half the width and height.
    Yuv,
}

impl Format {
    /// Their names.
    pub(super) const NAMES: [(&str, Self); 4] =
        [("rgb", Self::Rgb), ("bgr", Self::Bgr), ("gray", Self::Gray), ("yuv", Self::Yuv)];

    /// The name of this one.
    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("rgb", |(name, _)| name)
    }

    /// Bytes of a picture.
    fn bytes(self, size: Size) -> Result<usize, String> {
        let pixels = size.width() as usize * size.height() as usize;
        match self {
            Self::Rgb | Self::Bgr => Ok(rgb::bytes(size)),
            Self::Gray => Ok(pixels),
            Self::Yuv if size.width().is_multiple_of(2) && size.height().is_multiple_of(2) => Ok(pixels * 3 / 2),
            Self::Yuv => Err(format!("format=yuv takes even widths and heights, not {size}")),
        }
    }

    fn write(self, picture: &Picture, bytes: &mut [u8]) {
        match self {
            Self::Rgb => rgb::convert(picture, Order::Rgb, bytes),
            Self::Bgr => rgb::convert(picture, Order::Bgr, bytes),
            Self::Gray => pack(picture, 0..1, bytes),
            Self::Yuv => pack(picture, 0..3, bytes),
        }
    }
}

/// Puts the rows of some planes one after another.
fn pack(picture: &Picture, planes: std::ops::Range<usize>, bytes: &mut [u8]) {
    let rows = planes.flat_map(|plane| picture.plane(plane).rows());
    let mut rest = bytes;
    for row in rows {
        let (place, behind) = rest.split_at_mut(row.len());
        place.copy_from_slice(row);
        rest = behind;
    }
}

/// The memory as we see it.
pub(super) struct Memory {
    map: MmapMut,
    format: Format,
}

impl Memory {
    /// New memory, and its file for the process that shares it.
    pub(super) fn new(format: Format) -> io::Result<(Self, OwnedFd)> {
        let file = file()?;
        // SAFETY: the file has no name, is sealed against truncation where that can be had, and the map is only ever
        // written, so nothing that another process does to the bytes can change a value that we read.
        #[allow(unsafe_code, reason = "there is no other way to share memory with a process of another language")]
        let map = unsafe { memmap2::MmapOptions::new().len(CAPACITY).map_mut(&file)? };
        Ok((Self { map, format }, file))
    }

    /// Puts a picture behind the first `begin` bytes; says where it ends.
    pub(super) fn put(&mut self, picture: &Picture, begin: usize) -> Result<usize, String> {
        let end = begin + self.format.bytes(picture.size())?;
        let place = self.map.get_mut(begin..end).ok_or_else(|| {
            let before = if begin > 0 { " with those before it" } else { "" };
            format!("a picture of {}{before} takes more than the {} MB that are shared", picture.size(), CAPACITY >> 20)
        })?;
        self.format.write(picture, place);
        Ok(end)
    }
}

/// A file in memory of [`CAPACITY`] bytes that nobody can make shorter: a shorter one would end us with a signal.
#[cfg(target_os = "linux")]
fn file() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let file = memfd_create("cv-receiver pictures", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, CAPACITY as u64)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn file() -> io::Result<OwnedFd> {
    let file = tempfile::tempfile()?;
    file.set_len(CAPACITY as u64)?;
    Ok(file.into())
}
