//! Digits large enough to be read from across a room.

use super::{canvas::Canvas, canvas::Point, colour::Colour};

/// Columns a character takes, gap included.
pub(super) const ADVANCE: u32 = 6;
/// Rows of a character.
pub(super) const ROWS: u32 = 7;
const COLUMNS: u32 = 5;

/// Rows of `0` to `9`, from the top; the left column is the highest of five bits.
const DIGITS: [[u8; ROWS as usize]; 10] = [
    [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
    [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
    [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111],
    [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110],
    [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
    [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
    [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
    [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
    [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
    [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
];
const COLON: [u8; ROWS as usize] = [0, 0b00100, 0b00100, 0, 0b00100, 0b00100, 0];
const POINT: [u8; ROWS as usize] = [0, 0, 0, 0, 0, 0b01100, 0b01100];

fn glyph(character: char) -> [u8; ROWS as usize] {
    match character {
        ':' => COLON,
        '.' => POINT,
        digit => digit.to_digit(10).map_or([0; ROWS as usize], |value| DIGITS[value as usize]),
    }
}

/// Writes digits, colons and points from `(left, top)` on, each dot `dot` pixels wide and high.
pub(super) fn write(canvas: &mut Canvas<'_>, text: &str, (left, top): Point, dot: u32, colour: Colour) {
    let dot = f64::from(dot);
    for (index, character) in text.chars().enumerate() {
        for (row, bits) in glyph(character).into_iter().enumerate() {
            for column in (0..COLUMNS).filter(|column| bits >> (COLUMNS - 1 - column) & 1 == 1) {
                let x = left + (f64::from(index as u32 * ADVANCE + column)) * dot;
                let y = top + row as f64 * dot;
                canvas.rect((x, y), (x + dot, y + dot), colour);
            }
        }
    }
}
