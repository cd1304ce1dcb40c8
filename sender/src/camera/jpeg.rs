//! Motion-JPEG to I420 through the decoder's own planes, and only whole pictures.
//!
//! A camera's buffer ends in what is left of longer pictures before, and a picture cut short by
//! the bus is decoded without complaint, its rest grey or out of an older picture. So the JPEG is
//! delimited first, the decoder's warnings are counted, and data left over at the end gives it away.

use std::{
    cell::Cell,
    io::{BufRead, Read},
    ops::RangeInclusive,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
};

use cv_core::{
    geometry::Size,
    picture::{Picture, PictureBuf, PlaneMut, Pool, Range},
};
use mozjpeg::{ColorSpace, CompInfoExt, Decompress};
use mozjpeg_sys::{jpeg_common_struct, jpeg_error_mgr};

use super::convert::{Damaged, mean};

/// Bytes that may follow the last sample: cheap cameras leave a few, and the decoder reads 8 ahead.
const LEFT_OVER: usize = 32;

thread_local! {
    /// Complaints of the decoder at work on this thread; its handlers are plain functions and can keep nothing else.
    static WARNINGS: Cell<u32> = const { Cell::new(0) };
}

/// Decodes pictures, keeping its memory between them.
#[derive(Default)]
pub(super) struct Decoder {
    planes: [Vec<u8>; 3],
}

impl Decoder {
    /// The baseline JPEG at the start of `data`, its top left `size` pixels. JPEG's samples are full range.
    pub(super) fn decode(&mut self, data: &[u8], size: Size, pool: &Pool) -> Result<Picture, Damaged> {
        let jpeg = delimit(data)?;
        // The decoder reports hard errors by unwinding.
        catch_unwind(AssertUnwindSafe(|| self.planes(jpeg, size)))
            .unwrap_or_else(|cause| {
                Err(damaged(cause.downcast::<String>().map_or_else(|_| "undecodable".into(), |text| *text)))
            })
            .map(|planes| {
                let mut picture = pool.picture(size, Range::Full);
                planes.fill(&self.planes, &mut picture);
                picture.freeze()
            })
    }

    fn planes(&mut self, jpeg: &[u8], size: Size) -> Result<Sampling, Damaged> {
        WARNINGS.set(0);
        let reached_end = Cell::new(false);
        let decoder = Decompress::with_err(error_handler())
            .from_reader(Halting::new(jpeg, &reached_end))
            .map_err(|error| damaged(error.to_string()))?;
        let sampling = Sampling::of(&decoder, size)?;
        let mut decoder = decoder.raw().map_err(|error| damaged(error.to_string()))?;
        let [y, u, v] = &mut self.planes;
        for plane in [&mut *y, &mut *u, &mut *v] {
            plane.clear();
        }
        decoder.read_raw_data(&mut [y, u, v]);
        // Behind the last row only bytes before the end marker can be complained of: those are judged below.
        if WARNINGS.get() > 0 || !reached_end.get() {
            return Err(damaged("a part is missing or foreign"));
        }
        decoder.finish().map_err(|error| damaged(error.to_string()))?;
        Ok(sampling)
    }
}

fn damaged(problem: impl Into<String>) -> Damaged {
    Damaged(format!("JPEG: {}", problem.into()))
}

/// The bytes from the start marker to the end marker, of a baseline JPEG with one scan
/// (ITU-T T.81, annex B), which is what cameras send.
fn delimit(data: &[u8]) -> Result<&[u8], Damaged> {
    const RESTARTS: RangeInclusive<u8> = 0xD0..=0xD7;
    if !data.starts_with(&[0xFF, 0xD8]) {
        return Err(damaged("it does not begin like one"));
    }
    let (mut at, mut scan) = (2, false);
    loop {
        let skipped = data[at..].iter().position(|byte| *byte == 0xFF).ok_or_else(|| damaged("it breaks off"))?;
        if skipped > 0 && !scan {
            return Err(damaged("its headers are broken"));
        }
        at += skipped + 1;
        let marker = *data.get(at).ok_or_else(|| damaged("it breaks off"))?;
        match marker {
            0xFF => continue,
            0xD9 if scan => return Ok(&data[..=at]),
            0x00 if scan => at += 1,
            marker if RESTARTS.contains(&marker) && scan => at += 1,
            // Start of scan, Huffman tables, frame header, quantisation, restart interval, APPn, comment.
            0xDA | 0xC4 | 0xC0 | 0xC1 | 0xDB | 0xDD | 0xE0..=0xEF | 0xFE if !scan => {
                let length = data.get(at + 1..at + 3).ok_or_else(|| damaged("it breaks off"))?;
                at += 1 + usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
                scan = marker == 0xDA;
            }
            marker => return Err(damaged(format!("marker {marker:02X} in the wrong place, or not baseline"))),
        }
        if at > data.len() {
            return Err(damaged("it breaks off"));
        }
    }
}

/// A JPEG in two helpings, so that it shows whether the decoder ever came near the end.
struct Halting<'a> {
    now: &'a [u8],
    last: &'a [u8],
    reached_end: &'a Cell<bool>,
}

impl<'a> Halting<'a> {
    fn new(jpeg: &'a [u8], reached_end: &'a Cell<bool>) -> Self {
        let padding = jpeg.iter().rev().skip(2).take_while(|byte| matches!(byte, 0 | 0xFF)).count();
        let (now, last) = jpeg.split_at(jpeg.len().saturating_sub(2 + padding + LEFT_OVER));
        Self { now, last, reached_end }
    }
}

impl BufRead for Halting<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.now.is_empty() {
            self.now = std::mem::take(&mut self.last);
            self.reached_end.set(true);
        }
        Ok(self.now)
    }

    fn consume(&mut self, amount: usize) {
        self.now = &self.now[amount..];
    }
}

impl Read for Halting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// How many luma samples share one of chroma, 1 or 2 each way, and how long the decoder's rows are.
#[derive(Clone, Copy, Debug)]
struct Sampling {
    across: usize,
    down: usize,
    strides: [usize; 3],
    grey: bool,
}

impl Sampling {
    fn of<R>(decoder: &Decompress<R>, size: Size) -> Result<Self, Damaged> {
        let (width, height) = decoder.size();
        // The decoder's memory grows with the header's claim: only rounding up to whole blocks is honest.
        let fits = |is: usize, wanted: u32| (wanted as usize..wanted as usize + 16).contains(&is);
        if !fits(width, size.width()) || !fits(height, size.height()) {
            return Err(damaged(format!("it is {width}x{height} instead of {size}")));
        }
        let factors: Vec<_> = decoder.components().iter().map(CompInfoExt::sampling).collect();
        let strides = |index: usize| decoder.components().get(index).map_or(0, CompInfoExt::row_stride);
        let strides = [strides(0), strides(1), strides(2)];
        let (across, down, grey) = match (decoder.color_space(), factors.as_slice()) {
            (ColorSpace::JCS_GRAYSCALE, [(1 | 2, 1 | 2)]) => (1, 1, true),
            (ColorSpace::JCS_YCbCr, [luma @ (1 | 2, 1 | 2), cb, cr])
                if cb == cr && luma.0 % cb.0 == 0 && luma.1 % cb.1 == 0 =>
            {
                ((luma.0 / cb.0).into(), (luma.1 / cb.1).into(), false)
            }
            (space, factors) => return Err(damaged(format!("{space:?} sampled {factors:?} is not what cameras send"))),
        };
        Ok(Self { across, down, strides, grey })
    }

    /// Copies `planes` into `picture`, averaging chroma where there is more than 4:2:0 has.
    fn fill(self, planes: &[Vec<u8>; 3], picture: &mut PictureBuf) {
        let [mut luma, mut u, mut v] = picture.planes_mut();
        luma.copy_from(&planes[0], self.strides[0]);
        if self.grey {
            u.data.fill(128);
            v.data.fill(128);
            return;
        }
        self.chroma(&planes[1], self.strides[1], &mut u);
        self.chroma(&planes[2], self.strides[2], &mut v);
    }

    fn chroma(self, source: &[u8], stride: usize, target: &mut PlaneMut<'_>) {
        for y in 0..target.height {
            let row = |y: usize| &source[y * stride..][..stride];
            // Rows come in whole blocks of 8, so a pair is always complete.
            let (top, bottom) = if self.down == 2 { (row(y), row(y)) } else { (row(2 * y), row(2 * y + 1)) };
            let target = target.row_mut(y);
            if self.across == 2 {
                for (target, (top, bottom)) in target.iter_mut().zip(top.iter().zip(bottom)) {
                    *target = mean(*top, *bottom);
                }
            } else {
                for (target, (top, bottom)) in
                    target.iter_mut().zip(top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0))
                {
                    let sum: u16 = [top[0], top[1], bottom[0], bottom[1]].map(u16::from).iter().sum();
                    *target = ((sum + 2) >> 2) as u8;
                }
            }
        }
    }
}

/// Handlers that count warnings; mozjpeg's own silence them.
fn error_handler() -> jpeg_error_mgr {
    extern "C-unwind" fn give_up(_: &mut jpeg_common_struct) {
        resume_unwind(Box::new(String::from("broken beyond decoding")));
    }
    extern "C-unwind" fn count(_: &mut jpeg_common_struct, level: i32) {
        // -1 is damaged data, higher levels are tracing (libjpeg.txt, "Error handling").
        if level < 0 {
            WARNINGS.set(WARNINGS.get() + 1);
        }
    }
    extern "C-unwind" fn ignore(_: &mut jpeg_common_struct) {}
    extern "C-unwind" fn no_text(_: &mut jpeg_common_struct, _: &[u8; 80]) {}
    jpeg_error_mgr {
        error_exit: Some(give_up),
        emit_message: Some(count),
        output_message: Some(ignore),
        format_message: Some(no_text),
        reset_error_mgr: Some(ignore),
        msg_code: 0,
        msg_parm: Default::default(),
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: ptr::null(),
        last_jpeg_message: 0,
        addon_message_table: ptr::null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A smooth coloured picture with some texture, encoded like a camera does.
    fn jpeg(width: usize, height: usize, chroma: (u8, u8), phase: u8) -> Vec<u8> {
        let mut encoder = mozjpeg::Compress::new(ColorSpace::JCS_YCbCr);
        encoder.set_fastest_defaults();
        encoder.set_optimize_coding(false);
        encoder.set_size(width, height);
        encoder.set_color_space(ColorSpace::JCS_YCbCr);
        encoder.set_chroma_sampling_pixel_sizes(chroma, chroma);
        encoder.set_quality(85.0);
        let mut encoder = encoder.start_compress(Vec::new()).unwrap();
        encoder.write_scanlines(&pixels(width, height, phase)).unwrap();
        encoder.finish().unwrap()
    }

    fn pixels(width: usize, height: usize, phase: u8) -> Vec<u8> {
        let pixel = |x: usize, y: usize| {
            let luma = (x * 200 / width + usize::from((x / 4 + y / 4).is_multiple_of(2)) * 40) as u8;
            [luma.wrapping_add(phase), (60 + 120 * x / width) as u8, (200 - 120 * y / height) as u8]
        };
        (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
    }

    fn decode(data: &[u8], width: u32, height: u32) -> Result<Picture, Damaged> {
        Decoder::default().decode(data, Size::new(width, height).unwrap(), &Pool::default())
    }

    fn error(data: &[u8]) -> String {
        decode(data, 320, 180).unwrap_err().to_string()
    }

    #[test]
    fn all_chroma_samplings_give_the_same_picture() {
        for chroma in [(1, 1), (2, 1), (2, 2), (1, 2)] {
            for (width, height) in [(320, 180), (322, 182), (37, 23)] {
                let picture = decode(&jpeg(width, height, chroma, 0), width as u32, height as u32).unwrap();
                assert_eq!(picture.range(), Range::Full);
                let pixels = pixels(width, height, 0);
                for (index, step) in [(0, 1), (1, 2), (2, 2)] {
                    let plane = picture.plane(index);
                    let off = plane
                        .rows()
                        .enumerate()
                        .flat_map(|(y, row)| row.iter().enumerate().map(move |(x, s)| (x, y, *s)));
                    let off = off.map(|(x, y, s)| s.abs_diff(pixels[(y * step * width + x * step) * 3 + index]));
                    let mean = off.map(f64::from).sum::<f64>() / (plane.width * plane.height) as f64;
                    assert!(mean < 4.0, "{chroma:?} {width}x{height} plane {index}: mean error {mean}");
                }
            }
        }
    }

    #[test]
    fn a_grey_jpeg_has_neutral_chroma() {
        let mut encoder = mozjpeg::Compress::new(ColorSpace::JCS_GRAYSCALE);
        encoder.set_fastest_defaults();
        encoder.set_size(32, 16);
        let mut encoder = encoder.start_compress(Vec::new()).unwrap();
        encoder.write_scanlines(&[77; 32 * 16]).unwrap();
        let picture = decode(&encoder.finish().unwrap(), 32, 16).unwrap();
        assert_eq!([0, 1, 2].map(|index| picture.plane(index).row(3)[5]), [77, 128, 128]);
    }

    #[test]
    fn huffman_tables_may_be_missing_as_in_avi() {
        let whole = jpeg(320, 180, (2, 1), 0);
        let mut bare = whole[..2].to_vec();
        let mut at = 2;
        while whole[at + 1] != 0xDA {
            let end = at + 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
            if whole[at + 1] != 0xC4 {
                bare.extend_from_slice(&whole[at..end]);
            }
            at = end;
        }
        bare.extend_from_slice(&whole[at..]);
        assert!(bare.len() < whole.len());
        assert_eq!(decode(&bare, 320, 180).unwrap().luma(), decode(&whole, 320, 180).unwrap().luma());
    }

    #[test]
    fn what_older_pictures_left_in_the_buffer_is_ignored() {
        let mut data = jpeg(320, 180, (2, 2), 0);
        let alone = decode(&data, 320, 180).unwrap();
        data.extend_from_slice(&jpeg(320, 180, (2, 2), 9)[1000..]);
        data.resize(200_000, 0);
        assert_eq!(decode(&data, 320, 180).unwrap().luma(), alone.luma());
    }

    #[test]
    fn a_few_bytes_or_much_padding_before_the_end_marker_are_no_damage() {
        for padding in [vec![0x12, 0x34, 0x56], vec![0; 500], vec![0xFF; 40]] {
            let mut data = jpeg(320, 180, (2, 1), 0);
            data.splice(data.len() - 2..data.len() - 2, padding.clone());
            assert!(decode(&data, 320, 180).is_ok(), "{padding:?}");
        }
    }

    #[test]
    fn half_a_picture_is_dropped_whatever_follows() {
        let (new, old) = (jpeg(320, 180, (2, 1), 0), jpeg(320, 180, (2, 1), 77));
        let half = new.len() / 2;
        assert_eq!(error(&new[..half]), "JPEG: it breaks off");
        let zeros = [&new[..half], &[0; 5000]].concat();
        assert_eq!(error(&zeros), "JPEG: it breaks off");
        let ended = [&new[..half], &[0xFF, 0xD9]].concat();
        assert_eq!(error(&ended), "JPEG: a part is missing or foreign");
        // The rest of an older picture, at a place that fits or not.
        for shift in [-400, -37, 37, 400] {
            let spliced = [&new[..half], &old[half.wrapping_add_signed(shift)..]].concat();
            assert_eq!(error(&spliced), "JPEG: a part is missing or foreign", "{shift}");
        }
    }

    #[test]
    fn a_header_that_claims_more_than_agreed_takes_no_memory() {
        let mut data = jpeg(320, 180, (2, 2), 0);
        let frame = data.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
        data[frame + 5..frame + 9].fill(0xFE);
        assert_eq!(error(&data), "JPEG: it is 65278x65278 instead of 320x180");
    }

    #[test]
    fn other_kinds_of_jpeg_are_refused() {
        let mut encoder = mozjpeg::Compress::new(ColorSpace::JCS_YCbCr);
        encoder.set_size(320, 180);
        encoder.set_color_space(ColorSpace::JCS_YCbCr);
        encoder.set_progressive_mode();
        let mut encoder = encoder.start_compress(Vec::new()).unwrap();
        encoder.write_scanlines(&pixels(320, 180, 0)).unwrap();
        let progressive = encoder.finish().unwrap();
        assert_eq!(error(&progressive), "JPEG: marker C2 in the wrong place, or not baseline");
        assert_eq!(error(b"RIFF"), "JPEG: it does not begin like one");
    }

    proptest! {
        #[test]
        fn damage_anywhere_neither_panics_nor_hangs(place in 2usize..8000, value: u8, cut in 0usize..9000) {
            let mut data = jpeg(320, 180, (2, 1), 0);
            let place = place.min(data.len() - 1);
            data[place] = value;
            drop(decode(&data, 320, 180));
            data.truncate(cut);
            drop(decode(&data, 320, 180));
        }
    }

    /// Prints milliseconds a 720p picture: `cargo test --release -p cv-sender -- --ignored --nocapture a_720p`.
    #[test]
    #[ignore = "a measurement"]
    fn a_720p_jpeg_takes_a_few_milliseconds() {
        for chroma in [(2, 1), (2, 2), (1, 1)] {
            let (data, mut decoder, pool) = (jpeg(1280, 720, chroma, 0), Decoder::default(), Pool::default());
            let mut times: Vec<_> = (0..100)
                .map(|_| {
                    let start = std::time::Instant::now();
                    decoder.decode(&data, Size::new(1280, 720).unwrap(), &pool).unwrap();
                    start.elapsed()
                })
                .collect();
            times.sort();
            eprintln!("JPEG {chroma:?}, {} bytes: median {:?}, fastest {:?}", data.len(), times[50], times[0]);
        }
    }
}
