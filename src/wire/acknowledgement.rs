//! What was heard, told to who said it.

/// The first byte. No protocol that shares a port with WebRTC begins with it (RFC 7983, RFC 9443), so the library,
/// and every other one, drops such datagrams.
const MARK: u8 = 8;
/// Numbers are those that DTLS gives its records: epoch and sequence, which nobody encrypts.
const LENGTH: usize = 1 + 3 * 8;

/// An acknowledgement of records with application data.
///
/// It is not authenticated. A forged one keeps something from being said again early, which DTLS and SCTP then do
/// late: as much as whoever can forge it could do by dropping datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    /// The highest number heard.
    pub(crate) highest: u64,
    /// Which of the 64 numbers up to the highest were heard, that one in the lowest bit.
    pub(crate) heard: u64,
    /// Up to this number everything will be acknowledged.
    pub(crate) promise: u64,
}

impl Acknowledgement {
    pub(crate) fn to_datagram(self) -> [u8; LENGTH] {
        let mut datagram = [MARK; LENGTH];
        for (place, value) in datagram[1..].chunks_exact_mut(8).zip([self.highest, self.heard, self.promise]) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        datagram
    }

    pub(crate) fn from_datagram(datagram: &[u8]) -> Option<Self> {
        let datagram: &[u8; LENGTH] = datagram.try_into().ok()?;
        let mut values = datagram[1..].as_chunks().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let (highest, heard, promise) = (values.next()?, values.next()?, values.next()?);
        (datagram[0] == MARK).then_some(Self { highest, heard, promise })
    }

    /// Whether it says that `number` was heard.
    pub(crate) fn covers(&self, number: u64) -> bool {
        self.highest.checked_sub(number).is_some_and(|back| back < 64 && self.heard >> back & 1 == 1)
    }

    /// Whether it says that `number` was not heard, although a later one was.
    pub(crate) fn misses(&self, number: u64) -> bool {
        number < self.highest && self.highest - number < 64 && !self.covers(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_says_of_64_numbers_whether_they_were_heard() {
        let told = Acknowledgement { highest: 100, heard: 0b1011, promise: 200 };
        assert!(told.covers(100) && told.covers(99) && told.covers(97));
        assert!(told.misses(98) && told.misses(37));
        for unknown in [0, 36, 101, u64::MAX] {
            assert!(!told.covers(unknown) && !told.misses(unknown), "{unknown}");
        }
    }

    proptest! {
        #[test]
        fn it_comes_out_as_it_went_in(highest: u64, heard: u64, promise: u64) {
            let told = Acknowledgement { highest, heard, promise };
            prop_assert_eq!(Acknowledgement::from_datagram(&told.to_datagram()), Some(told));
        }

        #[test]
        fn nothing_else_is_taken_for_one(datagram in proptest::collection::vec(any::<u8>(), 0..64)) {
            let read = Acknowledgement::from_datagram(&datagram);
            prop_assert_eq!(read.is_some(), datagram.len() == LENGTH && datagram[0] == MARK);
            if let Some(read) = read {
                prop_assert!(!(read.covers(read.promise) && read.misses(read.promise)));
            }
        }
    }
}
