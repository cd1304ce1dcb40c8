//! The loops over pixels. All are exact in integers and shaped for the vectoriser: rows of one channel each, lanes of
//! 8 or 16 bits, sums over blocks of fixed size.

/// Samples to add up at a time, as in the loops over luma of `stats`: in blocks the compiler fills registers
/// with samples, in a loop over a whole row with sums.
const BLOCK: usize = 32;

/// A difference of luma up to here is noise of the camera.
const STILL: u8 = 14;

/// `Y = (77 R + 150 G + 29 B) >> 8` of a row; the largest sum is 65 280, so 16 bits hold it.
pub(super) fn luma(red: &[u8], green: &[u8], blue: &[u8], luma: &mut [u8]) {
    for (((&r, &g), &b), y) in red.iter().zip(green).zip(blue).zip(luma) {
        *y = ((77 * u16::from(r) + 150 * u16::from(g) + 29 * u16::from(b)) >> 8) as u8;
    }
}

/// Sum of a row's samples.
pub(super) fn sum(row: &[u8]) -> u64 {
    let add = |samples: &[u8]| samples.iter().map(|&sample| u32::from(sample)).sum::<u32>();
    let (blocks, rest) = row.as_chunks::<BLOCK>();
    u64::from(blocks.iter().map(|block| add(block)).sum::<u32>() + add(rest))
}

/// How many samples of `row` but its first differ from the one on the left and the one above by more than 54 together.
/// `flags`, as long as they are, is for its own use: counting while comparing would widen each comparison.
pub(super) fn edges(above: &[u8], row: &[u8], flags: &mut [u8]) -> u64 {
    let (Some((_, here)), Some((_, above)), Some((_, flags))) =
        (row.split_first(), above.split_first(), flags.split_first_mut())
    else {
        return 0;
    };
    for (((&here, &left), &above), flag) in here.iter().zip(row).zip(above).zip(&mut *flags) {
        // Saturation changes nothing: what would exceed 255 exceeds 54.
        *flag = u8::from(here.abs_diff(left).saturating_add(here.abs_diff(above)) > 54);
    }
    sum(flags)
}

/// Above 0 where a pixel looks like skin: `R>45, G>30, B>20, R>G, R>B, max-min>15, |R-G|>10`. As red is the largest, the
/// last two and `R>G` are two differences. The least of what each condition is met by takes half the time of comparing.
fn skin_margin(r: u8, g: u8, b: u8) -> u8 {
    let bright = r.saturating_sub(45).min(g.saturating_sub(30)).min(b.saturating_sub(20));
    let red = r.saturating_sub(b).min(r.saturating_sub(g).saturating_sub(10));
    bright.min(red).min(r.saturating_sub(g.min(b)).saturating_sub(15))
}

/// 1 where a pixel looks like skin, 0 elsewhere.
pub(super) fn skin(red: &[u8], green: &[u8], blue: &[u8], mask: &mut [u8]) {
    for (((&r, &g), &b), skin) in red.iter().zip(green).zip(blue).zip(mask) {
        *skin = skin_margin(r, g, b).min(1);
    }
}

/// The bits of `mask`, whose samples are 0 or 1: eight a byte, the first lowest. `bits` has a byte for each begun eight.
pub(super) fn pack(mask: &[u8], bits: &mut [u8]) {
    // The product moves sample i, bit 8i, to bit 56 + i; no two products of bits meet, so nothing carries.
    let pack = |samples: [u8; 8]| (u64::from_le_bytes(samples).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    let (eights, rest) = mask.as_chunks::<8>();
    for (&samples, bits) in eights.iter().zip(&mut *bits) {
        *bits = pack(samples);
    }
    if let Some(bits) = bits.get_mut(eights.len()) {
        let mut samples = [0; 8];
        samples[..rest.len()].copy_from_slice(rest);
        *bits = pack(samples);
    }
}

/// Adds each sample to its column.
pub(super) fn add_to_columns<T: Copy + std::ops::AddAssign + From<u8>>(row: &[u8], columns: &mut [T]) {
    for (&sample, column) in row.iter().zip(columns) {
        *column += T::from(sample);
    }
}

/// Adds the differences between two rows to their columns, those of moving pixels only.
pub(super) fn add_motion(row: &[u8], before: &[u8], columns: &mut [u16]) {
    let add = |row: &[u8], before: &[u8], columns: &mut [u16]| {
        for ((&here, &before), column) in row.iter().zip(before).zip(columns) {
            let difference = here.abs_diff(before);
            *column += u16::from(if difference > STILL { difference } else { 0 });
        }
    };
    let ((rows, row), (befores, before), (blocks, columns)) =
        (row.as_chunks::<BLOCK>(), before.as_chunks::<BLOCK>(), columns.as_chunks_mut::<BLOCK>());
    for ((row, before), columns) in rows.iter().zip(befores).zip(blocks) {
        // In most blocks nothing moves, and to see that is cheaper than to add zeros.
        if row.iter().zip(before).fold(0, |most, (here, before)| here.abs_diff(*before).max(most)) > STILL {
            add(row, before, columns);
        }
    }
    add(row, before, columns);
}

/// Pixels and sums of their red, green and blue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Colours {
    /// How many pixels.
    pub count: u64,
    /// Sums of red, green and blue.
    pub sums: [u64; 3],
}

impl Colours {
    /// Adds a row's pixels that look like skin.
    pub(super) fn add_skin(&mut self, [red, green, blue]: [&[u8]; 3]) {
        let add = |red: &[u8], green: &[u8], blue: &[u8]| {
            let mut sums = [0u32; 4];
            for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
                let skin = if skin_margin(r, g, b) > 0 { 255 } else { 0 };
                for (sum, sample) in sums.iter_mut().zip([1, r, g, b]) {
                    *sum += u32::from(sample & skin);
                }
            }
            sums
        };
        let ((reds, red), (greens, green), (blues, blue)) =
            (red.as_chunks::<BLOCK>(), green.as_chunks::<BLOCK>(), blue.as_chunks::<BLOCK>());
        let blocks = reds.iter().zip(greens).zip(blues).map(|((red, green), blue)| add(red, green, blue));
        for [count, r, g, b] in blocks.chain([add(red, green, blue)]) {
            self.count += u64::from(count);
            for (sum, more) in self.sums.iter_mut().zip([r, g, b]) {
                *sum += u64::from(more);
            }
        }
    }

    /// Adds all of a row's pixels.
    pub(super) fn add_all(&mut self, colours: [&[u8]; 3]) {
        self.count += colours[0].len() as u64;
        for (total, row) in self.sums.iter_mut().zip(colours) {
            *total += sum(row);
        }
    }
}
