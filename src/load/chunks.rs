//! [`Chunks`]: the stamps of an answer's chunks, packed into three or four bytes each.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use crate::unit::Nanos;

/// Ascending stamps, stored as differences in LEB128 (seven bits per byte, lowest first). A token every 10 ms
/// takes four bytes. In JSON they are plain nanoseconds since the cell's epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    packed: Vec<u8>,
    count: u32,
    first: Nanos,
    last: Nanos,
}

impl Chunks {
    /// No stamps, with room for this many packed bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { packed: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Adds the stamp of the next chunk.
    pub fn push(&mut self, at: Nanos) {
        if self.count == 0 {
            self.first = at;
        }
        // Wrapping preserves even a stamp that goes backwards, in ten bytes.
        let mut distance = at.0.wrapping_sub(self.last.0);
        while distance >= 0x80 {
            self.packed.push(distance as u8 | 0x80);
            distance >>= 7;
        }
        self.packed.push(distance as u8);
        self.last = at;
        self.count += 1;
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are no chunks.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the first chunk arrived.
    pub fn first(&self) -> Option<Nanos> {
        (self.count > 0).then_some(self.first)
    }

    /// When the last chunk arrived.
    pub fn last(&self) -> Option<Nanos> {
        (self.count > 0).then_some(self.last)
    }

    /// Size of the packed stamps in memory, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.packed.capacity()
    }

    /// All stamps, in order.
    pub fn iter(&self) -> impl Iterator<Item = Nanos> + Clone + '_ {
        let mut at = 0u64;
        self.distances().map(move |distance| {
            at = at.wrapping_add(distance);
            Nanos(at)
        })
    }

    /// Nanoseconds between consecutive chunks: one fewer than there are chunks.
    pub fn gaps(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        self.distances().skip(1)
    }

    fn distances(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        let mut rest = self.packed.iter();
        std::iter::from_fn(move || {
            let mut distance = 0;
            let mut shift = 0;
            loop {
                let byte = *rest.next()?;
                distance |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    return Some(distance);
                }
                shift += 7;
            }
        })
    }
}

impl FromIterator<Nanos> for Chunks {
    fn from_iter<I: IntoIterator<Item = Nanos>>(stamps: I) -> Self {
        let mut chunks = Self::default();
        for at in stamps {
            chunks.push(at);
        }
        chunks
    }
}

/// The packed bytes, for serialization in binary formats.
struct Packed<'a>(Cow<'a, [u8]>);

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("packed stamps")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        Ok(Self(Cow::Owned(deserializer.deserialize_byte_buf(Bytes)?)))
    }
}

impl Serialize for Chunks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_seq(self.iter());
        }
        let packed = Packed(Cow::Borrowed(&self.packed));
        (self.count, self.first, self.last, packed).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Chunks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let stamps = Vec::<Nanos>::deserialize(deserializer)?;
            return Ok(stamps.into_iter().collect());
        }
        let (count, first, last, packed) = <(u32, Nanos, Nanos, Packed<'_>)>::deserialize(deserializer)?;
        Ok(Self { packed: packed.0.into_owned(), count, first, last })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_every_ten_milliseconds_costs_four_bytes() {
        let chunks: Chunks = (1..=256).map(|n| Nanos(n * 10_000_000)).collect();
        assert_eq!(chunks.packed.len(), 256 * 4);
    }

    proptest! {
        #[test]
        fn packed_stamps_are_read_back(stamps in prop::collection::vec(any::<u64>(), 0..40)) {
            let stamps: Vec<Nanos> = stamps.into_iter().map(Nanos).collect();
            let chunks: Chunks = stamps.iter().copied().collect();
            prop_assert_eq!(chunks.iter().collect::<Vec<_>>(), stamps.clone());
            prop_assert_eq!(chunks.len(), stamps.len());
            prop_assert_eq!(chunks.first(), stamps.first().copied());
            prop_assert_eq!(chunks.last(), stamps.last().copied());
            let gaps: Vec<u64> = stamps.windows(2).map(|pair| pair[1].0.wrapping_sub(pair[0].0)).collect();
            prop_assert_eq!(chunks.gaps().collect::<Vec<_>>(), gaps);
            let text = serde_json::to_string(&chunks).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&stamps).unwrap());
            prop_assert_eq!(serde_json::from_str::<Chunks>(&text).unwrap(), chunks);
        }
    }
}
