//! What a file is, and which of its chunks are there.

use std::ops::Range;
use std::sync::Arc;

use crate::crypto::{ChunkHash, root_of};
use crate::types::limits::{CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, CHUNKS_MAX, FILE_MAX_BYTES};
use crate::wire::ChunkOffer;

/// A file's size, hash, and the hashes of its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub size: u64,
    pub chunk_bytes: u64,
    pub root: [u8; 32],
    /// At least one, also of an empty file.
    pub chunks: Arc<[ChunkHash]>,
}

impl Manifest {
    /// How a file of this size is cut; none when it is too large to be sent.
    pub fn chunk_bytes_for(size: u64) -> Option<u64> {
        if size > FILE_MAX_BYTES {
            return None;
        }
        let least = size.div_ceil(CHUNKS_MAX as u64).next_power_of_two();
        Some(least.clamp(CHUNK_MIN_BYTES, CHUNK_MAX_BYTES))
    }

    /// From the hashes of a file's chunks; none when they do not fit its size.
    pub fn new(size: u64, chunk_bytes: u64, chunks: Vec<ChunkHash>) -> Option<Manifest> {
        if !(CHUNK_MIN_BYTES..=CHUNK_MAX_BYTES).contains(&chunk_bytes) || chunks.len() > CHUNKS_MAX
        {
            return None;
        }
        let root = root_of(&chunks, size, chunk_bytes)?;
        Some(Manifest {
            size,
            chunk_bytes,
            root,
            chunks: chunks.into(),
        })
    }

    /// From an offer; none when its parts contradict each other. Bounded: the list has at most
    /// [`CHUNKS_MAX`] hashes, and their tree is a few times that of hashing.
    pub fn from_offer(offer: &ChunkOffer) -> Option<Manifest> {
        Manifest::from_parts(offer.size, offer.chunk_bytes, offer.root, &offer.chunks)
    }

    /// From what is sent and stored: the list is empty where the root is the only chunk's hash.
    pub fn from_parts(
        size: u64,
        chunk_bytes: u64,
        root: [u8; 32],
        list: &[u8],
    ) -> Option<Manifest> {
        let (hashes, rest) = list.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() == 1 {
            return None;
        }
        let chunks = if hashes.is_empty() {
            vec![root]
        } else {
            hashes.to_vec()
        };
        Manifest::new(size, chunk_bytes, chunks).filter(|manifest| manifest.root == root)
    }

    /// The list as it is sent and stored.
    pub fn list(&self) -> Vec<u8> {
        if self.chunks.len() == 1 {
            return Vec::new();
        }
        self.chunks.as_flattened().to_vec()
    }

    /// How many chunks there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.chunks.len()).expect("at most CHUNKS_MAX")
    }

    /// Where chunk `index` stands in the file.
    pub fn range(&self, index: u32) -> Range<u64> {
        let start = u64::from(index) * self.chunk_bytes;
        start.min(self.size)..(start + self.chunk_bytes).min(self.size)
    }
}

/// A set of a file's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkSet {
    bits: Vec<u8>,
    count: u32,
}

impl ChunkSet {
    /// None of `count` chunks.
    pub fn empty(count: u32) -> ChunkSet {
        ChunkSet {
            bits: vec![0; count.div_ceil(8) as usize],
            count,
        }
    }

    /// From its bytes, the lowest bit first; none when they are not a set of `count` chunks.
    pub fn from_bytes(bytes: &[u8], count: u32) -> Option<ChunkSet> {
        let spare = (!count.is_multiple_of(8)).then(|| 0xff_u8 << (count % 8));
        let fits = bytes.len() == count.div_ceil(8) as usize
            && spare.is_none_or(|mask| bytes.last().is_some_and(|last| last & mask == 0));
        fits.then(|| ChunkSet {
            bits: bytes.to_vec(),
            count,
        })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Whether chunk `index` is in it.
    pub fn has(&self, index: u32) -> bool {
        index < self.count && self.bits[index as usize / 8] & (1 << (index % 8)) != 0
    }

    /// Adds or removes a chunk; one that the file does not have is left out.
    pub fn set(&mut self, index: u32, there: bool) {
        if index >= self.count {
            return;
        }
        let (byte, bit) = (&mut self.bits[index as usize / 8], 1_u8 << (index % 8));
        *byte = if there { *byte | bit } else { *byte & !bit };
    }

    /// Those that are in it, or those that are not.
    pub fn iter(&self, there: bool) -> impl Iterator<Item = u32> + '_ {
        (0..self.count).filter(move |index| self.has(*index) == there)
    }

    /// Whether every chunk is in it.
    pub fn is_full(&self) -> bool {
        self.iter(false).next().is_none()
    }

    /// The bytes of the chunks in it.
    pub fn bytes_of(&self, manifest: &Manifest) -> u64 {
        let length = |index| {
            let range = manifest.range(index);
            range.end - range.start
        };
        self.iter(true).map(length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ChunkHasher;

    fn manifest(size: u64) -> Manifest {
        let chunk_bytes = Manifest::chunk_bytes_for(size).expect("not too large");
        let count = size.div_ceil(chunk_bytes).max(1);
        let hash = |n: u64| {
            let mut hasher = ChunkHasher::new(n * chunk_bytes, count == 1);
            let length = chunk_bytes.min(size - n * chunk_bytes);
            hasher.update(&vec![n as u8; usize::try_from(length).expect("small")]);
            hasher.finish()
        };
        Manifest::new(size, chunk_bytes, (0..count).map(hash).collect()).expect("it fits")
    }

    #[test]
    fn the_list_is_bounded_whatever_the_size() {
        for size in [0, 1, 1 << 20, (1 << 34) + 1, FILE_MAX_BYTES] {
            let chunk_bytes = Manifest::chunk_bytes_for(size).expect("not too large");
            assert!(size.div_ceil(chunk_bytes) <= CHUNKS_MAX as u64);
        }
        assert_eq!(Manifest::chunk_bytes_for(1 << 30), Some(1 << 20));
        assert_eq!(Manifest::chunk_bytes_for((1 << 34) + 1), Some(2 << 20));
        assert_eq!(Manifest::chunk_bytes_for(FILE_MAX_BYTES + 1), None);
    }

    #[test]
    fn what_is_stored_reads_again_and_nothing_else_does() {
        for size in [0, 5, 1 << 20, (1 << 20) + 1, (3 << 20) + 7] {
            let manifest = manifest(size);
            let list = manifest.list();
            let read = |size, list: &[u8]| Manifest::from_parts(size, 1 << 20, manifest.root, list);
            assert_eq!(read(size, &list), Some(manifest.clone()));
            let mut bent = list.clone();
            if let Some(byte) = bent.last_mut() {
                *byte ^= 1;
                assert_eq!(read(size, &bent), None);
                assert_eq!(read(size, &list[1..]), None);
                assert_eq!(read(size, &list[32..]), None);
            }
            assert_eq!(read(size + (4 << 20), &list), None);
        }
    }

    #[test]
    fn a_set_keeps_to_its_file() {
        let manifest = manifest((2 << 20) + 3);
        let mut set = ChunkSet::empty(manifest.count());
        set.set(2, true);
        set.set(3, true);
        assert_eq!(set.bytes_of(&manifest), 3);
        assert_eq!(set.iter(false).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(ChunkSet::from_bytes(set.as_bytes(), 3), Some(set.clone()));
        assert_eq!(ChunkSet::from_bytes(&[0b1000], 3), None);
        assert_eq!(ChunkSet::from_bytes(&[0, 0], 3), None);
        set.set(0, true);
        set.set(1, true);
        assert!(set.is_full());
    }
}
