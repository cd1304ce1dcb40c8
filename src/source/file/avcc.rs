//! Samples of H.264 as MP4 keeps them: NAL units behind their lengths (ISO 14496-15, section 5.3.3).

use std::io::{self, Read, Seek, SeekFrom};

use cv_core::annex_b::{
    START_CODE, nal_type,
    nal_type::{IDR, PPS, SLICE, SPS},
};

use super::mp4::Sample;

/// The largest coded picture that is read: a raw 8K picture is smaller.
const MAX_SAMPLE: u32 = 64 << 20;

/// The bytes of a sample.
pub(super) fn read(file: &mut (impl Read + Seek), sample: Sample) -> io::Result<Vec<u8>> {
    if sample.size > MAX_SAMPLE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a picture of more than 64 MiB"));
    }
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(sample.offset))?;
    // Memory grows with what is there: a cut file claims sizes that it does not have.
    file.by_ref().take(sample.size.into()).read_to_end(&mut data)?;
    if data.len() < sample.size as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(data) }
}

/// Appends the NAL units that matter for decoding, with start codes instead of lengths;
/// says whether there is a coded slice among them.
pub(super) fn append_annex_b(sample: &[u8], length_size: usize, stream: &mut Vec<u8>) -> Result<bool, String> {
    let mut rest = sample;
    let mut coded = false;
    while !rest.is_empty() {
        let beyond = "the next picture is corrupt (a unit reaches beyond its end)";
        let (length, tail) = rest.split_at_checked(length_size).ok_or(beyond)?;
        let length = length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        let (nal, tail) = tail.split_at_checked(length).ok_or(beyond)?;
        let kind = nal_type(nal);
        // Others are advice, or extensions that the decoder would take for pictures of their own.
        if matches!(kind, SLICE | IDR | SPS | PPS) {
            stream.extend_from_slice(&START_CODE);
            stream.extend_from_slice(nal);
            coded |= matches!(kind, SLICE | IDR);
        }
        rest = tail;
    }
    Ok(coded)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn lengths_of_every_width_become_start_codes() {
        for width in 1..=4 {
            let unit = |nal: &[u8]| [&(nal.len() as u32).to_be_bytes()[4 - width..], nal].concat();
            let sample = [unit(&[0x06, 1]), unit(&[0x67, 2]), unit(&[]), unit(&[0x65, 3])].concat();
            let mut stream = Vec::new();
            assert_eq!(append_annex_b(&sample, width, &mut stream), Ok(true));
            assert_eq!(stream, [0, 0, 0, 1, 0x67, 2, 0, 0, 0, 1, 0x65, 3]);
        }
        assert_eq!(append_annex_b(&[1, 0x68], 1, &mut Vec::new()), Ok(false));
    }

    #[test]
    fn lengths_beyond_the_sample_are_an_error() {
        assert!(append_annex_b(&[0, 0, 0, 2, 0x65], 4, &mut Vec::new()).is_err());
        assert!(append_annex_b(&[0, 0], 4, &mut Vec::new()).is_err());
        assert!(append_annex_b(&[0xff, 0xff, 0xff, 0xff, 0x65], 4, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_sample_that_is_not_all_there_takes_no_memory() {
        let sample = |offset, size| Sample { offset, size, dts: 0, pts: 0, sync: true, shown: true };
        let mut file = Cursor::new(vec![7; 10]);
        assert_eq!(read(&mut file, sample(8, 2)).unwrap(), [7, 7]);
        assert_eq!(read(&mut file, sample(8, 1 << 25)).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read(&mut file, sample(u64::MAX, 1)).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read(&mut file, sample(0, u32::MAX)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
