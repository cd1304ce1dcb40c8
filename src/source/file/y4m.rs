//! YUV4MPEG2: pictures as they are behind a line of text, as `ffmpeg -f yuv4mpegpipe` and most
//! codecs' tools write them (mjpegtools, yuv4mpeg(5)).
//!
//! Only 8-bit forms are read. Chroma of other forms than 4:2:0 is averaged down to it.

use std::io::{self, BufRead, Read};

use cv_core::{
    geometry::Size,
    picture::{PictureBuf, PlaneMut, Pool, Range},
    timestamp::{TimeBase, Timestamp},
};

use super::progress::Progress;
use crate::{Captured, Error, Info, Source};

/// Longest line that is read: real ones are below 200 bytes.
const MAX_LINE: u64 = 4096;

/// How chroma is stored, as samples of luma for one of chroma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chroma {
    None,
    Shared { x: usize, y: usize },
}

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Header {
    size: Size,
    /// Length of a picture.
    tick: TimeBase,
    chroma: Chroma,
    range: Range,
}

/// Reads pictures off a stream.
pub(super) struct Y4m<R> {
    input: R,
    header: Header,
    pool: Pool,
    /// One plane or two rows of other chroma than 4:2:0.
    scratch: Vec<u8>,
    next: i64,
    ended: bool,
    progress: Progress,
    info: Info,
}

impl<R: BufRead> Y4m<R> {
    /// Reads the first line.
    pub(super) fn open(mut input: R, progress: Progress) -> Result<Self, Error> {
        let line = line(&mut input).map_err(|error| progress.not_video(format!("cannot be read: {error}")))?;
        let header = Header::parse(&line).map_err(|problem| progress.not_video(problem))?;
        let fps = f64::from(header.tick.den()) / f64::from(header.tick.num());
        let info = Info { name: progress.name("Y4M"), size: header.size, fps, frames: None, live: false };
        Ok(Self { input, header, pool: Pool::default(), scratch: Vec::new(), next: 0, ended: false, progress, info })
    }

    /// The next picture, `None` where the stream ends between two.
    fn picture(&mut self) -> io::Result<Option<PictureBuf>> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        if !line(&mut self.input)?.starts_with(b"FRAME") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no FRAME where the next picture should begin"));
        }
        let mut picture = self.pool.picture(self.header.size, self.header.range);
        let [mut luma, mut u, mut v] = picture.planes_mut();
        fill(&mut self.input, &mut luma)?;
        for chroma in [&mut u, &mut v] {
            match self.header.chroma {
                Chroma::Shared { x: 2, y: 2 } => fill(&mut self.input, chroma)?,
                Chroma::Shared { x, y } => self.average(chroma, x, y)?,
                Chroma::None => chroma.data.fill(128),
            }
        }
        Ok(Some(picture))
    }

    /// Fills a 4:2:0 plane with the means of samples that stand for `x` by `y` of luma each.
    fn average(&mut self, to: &mut PlaneMut<'_>, x: usize, y: usize) -> io::Result<()> {
        let width = (self.header.size.width() as usize).div_ceil(x);
        let height = (self.header.size.height() as usize).div_ceil(y);
        self.scratch.resize(2 * width, 0);
        let (across, down) = (2 / x, 2 / y);
        for row in 0..to.height {
            let rows = down.min(height - row * down);
            self.input.read_exact(&mut self.scratch[..rows * width])?;
            for (column, sample) in to.row_mut(row).iter_mut().enumerate() {
                let columns = across.min(width - column * across);
                let cells = (0..rows).flat_map(|r| self.scratch[r * width + column * across..][..columns].iter());
                let sum: usize = cells.map(|cell| usize::from(*cell)).sum();
                let count = rows * columns;
                *sample = ((sum + count / 2) / count) as u8;
            }
        }
        Ok(())
    }
}

impl<R: BufRead + Send> Source for Y4m<R> {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, Error> {
        while !self.ended {
            let picture = self.picture();
            self.ended = !matches!(picture, Ok(Some(_)));
            let problem = |error: io::Error| match error.kind() {
                io::ErrorKind::UnexpectedEof => "it ends in the middle of a picture; it was cut off".to_owned(),
                _ => format!("the next picture cannot be read: {error}"),
            };
            let Some(picture) = picture.map_err(|error| self.progress.broken(problem(error)))? else { break };
            let pts = Timestamp::new(self.next, self.header.tick);
            self.next += 1;
            if self.progress.admits(pts) {
                return Ok(Some(Captured { pts, picture: picture.freeze(), captured: None }));
            }
        }
        Ok(None)
    }
}

impl Header {
    fn parse(line: &[u8]) -> Result<Self, String> {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split_ascii_whitespace();
        if fields.next() != Some("YUV4MPEG2") {
            return Err("is not YUV4MPEG2: convert it with ffmpeg -i INPUT -f yuv4mpegpipe -".to_owned());
        }
        let (mut width, mut height, mut tick, mut chroma, mut range) = (0, 0, None, "420jpeg", Range::Limited);
        for field in fields {
            let (tag, value) = field.split_at(field.chars().next().map_or(0, char::len_utf8));
            match tag {
                "W" => width = value.parse().unwrap_or(0),
                "H" => height = value.parse().unwrap_or(0),
                "F" => tick = frame_time(value),
                "C" => chroma = value,
                "X" if value == "COLORRANGE=FULL" => range = Range::Full,
                _ => {}
            }
        }
        Ok(Self {
            size: Size::new(width, height).map_err(|error| format!("has a bad header: {error}"))?,
            tick: tick.ok_or("has no picture rate in its header (such as F30:1)")?,
            chroma: shared(chroma).ok_or_else(|| {
                format!("stores its samples as {chroma}: convert it with ffmpeg -i INPUT -pix_fmt yuv420p OUTPUT.y4m")
            })?,
            range,
        })
    }
}

/// The length of a picture, from pictures a second as `NUM:DEN`.
fn frame_time(rate: &str) -> Option<TimeBase> {
    let (num, den) = rate.split_once(':')?;
    TimeBase::new(den.parse().ok()?, num.parse().ok()?)
}

fn shared(name: &str) -> Option<Chroma> {
    Some(match name {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Chroma::Shared { x: 2, y: 2 },
        "422" => Chroma::Shared { x: 2, y: 1 },
        "444" => Chroma::Shared { x: 1, y: 1 },
        "mono" => Chroma::None,
        _ => return None,
    })
}

/// The next line without its end.
fn line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        _ if line.len() + 1 < MAX_LINE as usize => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a header line of more than 4096 bytes")),
    }
}

/// Reads the rows of a plane.
pub(super) fn fill(input: &mut impl Read, plane: &mut PlaneMut<'_>) -> io::Result<()> {
    (0..plane.height).try_for_each(|y| input.read_exact(plane.row_mut(y)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8]) -> Result<(Vec<Captured>, Option<Error>), Error> {
        let mut source = Y4m::open(stream, Progress::new("test", None))?;
        let mut pictures = Vec::new();
        loop {
            match source.next() {
                Ok(Some(picture)) => pictures.push(picture),
                Ok(None) => return Ok((pictures, None)),
                Err(error) => {
                    assert!(source.next().unwrap().is_none(), "nothing comes behind an error");
                    return Ok((pictures, Some(error)));
                }
            }
        }
    }

    fn stream(header: &str, picture: &[u8], count: usize) -> Vec<u8> {
        let mut stream = format!("YUV4MPEG2 {header}\n").into_bytes();
        (0..count).for_each(|_| stream.extend([b"FRAME Ip\n", picture].concat()));
        stream
    }

    fn refused(header: &str) -> String {
        read(&stream(header, &[], 0)).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn odd_pictures_and_fractional_rates_are_exact() {
        let picture: Vec<u8> = (0..3 * 3 + 2 * 2 * 2).collect();
        let (pictures, error) =
            read(&stream("W3 H3 F30000:1001 C420mpeg2 A1:1 XCOLORRANGE=FULL", &picture, 4)).unwrap();
        assert!(error.is_none());
        assert_eq!(pictures.iter().map(|p| p.pts.seconds()).collect::<Vec<_>>(), [0.0, 0.033367, 0.066733, 0.1001]);
        let last = &pictures[3].picture;
        assert_eq!(
            (last.range(), last.plane(0).row(2), last.plane(2).row(1)),
            (Range::Full, &[6, 7, 8][..], &[15, 16][..])
        );
    }

    #[test]
    fn other_chroma_forms_are_averaged_and_mono_is_gray() {
        let luma = [0u8; 9];
        let full = [&luma[..], &[10, 20, 30, 20, 30, 50, 70, 90, 200], &[1; 9]].concat();
        let (pictures, _) = read(&stream("W3 H3 F25:1 C444", &full, 1)).unwrap();
        assert_eq!(pictures[0].picture.plane(1).rows().flatten().copied().collect::<Vec<_>>(), [20, 40, 80, 200]);
        let half = [&luma[..], &[10, 20, 30, 40, 50, 60], &[1; 6]].concat();
        let (pictures, _) = read(&stream("W3 H3 F25:1 C422", &half, 1)).unwrap();
        assert_eq!(pictures[0].picture.plane(1).rows().flatten().copied().collect::<Vec<_>>(), [20, 30, 50, 60]);
        let (pictures, _) = read(&stream("W3 H3 F25:1 Cmono", &luma, 2)).unwrap();
        assert_eq!((pictures.len(), pictures[1].picture.plane(2).row(1)), (2, &[128, 128][..]));
    }

    #[test]
    fn a_cut_picture_breaks_the_stream_behind_the_whole_ones() {
        let whole = stream("W4 H4 F30:1", &[7; 24], 3);
        let (pictures, error) = read(&whole[..whole.len() - 1]).unwrap();
        assert_eq!(pictures.len(), 2);
        assert_eq!(
            error.unwrap().to_string(),
            "test is broken after frame 2, at 0.033333 s: it ends in the middle of a picture; it was cut off"
        );
        let (pictures, error) = read(&whole[..whole.len() - 26]).unwrap();
        assert!(pictures.len() == 2 && error.is_some());
        let (pictures, error) = read(&[&whole[..], b"garbage\n"].concat()).unwrap();
        assert!(pictures.len() == 3 && error.unwrap().to_string().contains("no FRAME"));
    }

    #[test]
    fn hostile_headers_are_refused_with_a_reason() {
        assert!(refused("W99999 H99999 F30:1").contains("99999x99999"));
        assert!(refused("W4 H-4 F30:1").contains("4x0"));
        assert!(refused("W4 H4").contains("no picture rate"));
        assert!(refused("W4 H4 F0:0").contains("no picture rate"));
        assert!(refused("W4 H4 F30:1 C420p10").contains("420p10"));
        assert!(refused(&"X".repeat(5000)).contains("4096"));
        assert!(read(b"RIFF....").is_err() && read(b"").is_err());
        assert!(refused("W4 H4 F30:1 \u{e9}").is_empty(), "unknown fields do not matter");
    }
}
