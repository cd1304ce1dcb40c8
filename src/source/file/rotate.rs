//! Turning planes upright while they are copied out of a decoder.

use cv_core::{
    geometry::Size,
    picture::{Plane, PlaneMut},
};

use super::mp4::Rotation;

/// Side of the squares in which a quarter turn goes over a plane, so that both sides stay in the cache.
const TILE: usize = 32;

/// Size of a picture of `size` after the turn.
pub(super) fn turned(size: Size, rotation: Rotation) -> Size {
    match rotation {
        Rotation::None | Rotation::Half => size,
        Rotation::Right | Rotation::Left => {
            Size::new(size.height(), size.width()).expect("limits on sizes do not depend on the direction")
        }
    }
}

/// Copies `from`, turned, into `to`, which has the size after the turn.
pub(super) fn copy(from: Plane<'_>, to: &mut PlaneMut<'_>, rotation: Rotation) {
    match rotation {
        Rotation::None => to.copy_from(from.data, from.stride),
        Rotation::Half => {
            for y in 0..to.height {
                let row = from.row(from.height - 1 - y);
                to.row_mut(y).iter_mut().zip(row.iter().rev()).for_each(|(to, from)| *to = *from);
            }
        }
        Rotation::Right => quarter(to, |x, y| (from.height - 1 - x) * from.stride + y, from.data),
        Rotation::Left => quarter(to, |x, y| x * from.stride + from.width - 1 - y, from.data),
    }
}

/// Fills `to` by looking up where its sample `x`, `y` lies in `data`.
fn quarter(to: &mut PlaneMut<'_>, source: impl Fn(usize, usize) -> usize, data: &[u8]) {
    let (width, height) = (to.width, to.height);
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for y in top..height.min(top + TILE) {
                for (x, sample) in (left..width.min(left + TILE)).zip(&mut to.row_mut(y)[left..]) {
                    *sample = data[source(x, y)];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(rotation: Rotation, width: usize, height: usize) -> Vec<u8> {
        let from = Plane { data: &[1, 2, 3, 4, 5, 6], width: 3, height: 2, stride: 3 };
        let mut data = vec![0; 6];
        copy(from, &mut PlaneMut { data: &mut data, width, height, stride: width }, rotation);
        data
    }

    #[test]
    fn turns_go_clockwise() {
        assert_eq!(turn(Rotation::None, 3, 2), [1, 2, 3, 4, 5, 6]);
        assert_eq!(turn(Rotation::Right, 2, 3), [4, 1, 5, 2, 6, 3]);
        assert_eq!(turn(Rotation::Half, 3, 2), [6, 5, 4, 3, 2, 1]);
        assert_eq!(turn(Rotation::Left, 2, 3), [3, 6, 2, 5, 1, 4]);
    }

    #[test]
    fn planes_larger_than_a_tile_turn_and_turn_back() {
        let (width, height) = (75, 41);
        let data: Vec<u8> = (0..width * height).map(|i| (i * 7 % 251) as u8).collect();
        let (mut right, mut back) = (vec![0; data.len()], vec![0; data.len()]);
        let plane = Plane { data: &data, width, height, stride: width };
        copy(plane, &mut PlaneMut { data: &mut right, width: height, height: width, stride: height }, Rotation::Right);
        let plane = Plane { data: &right, width: height, height: width, stride: height };
        copy(plane, &mut PlaneMut { data: &mut back, width, height, stride: width }, Rotation::Left);
        assert_eq!(data, back);
    }
}
