//! A file's BLAKE3 tree, cut into chunks: each chunk has a hash that can be checked by itself, and
//! all of them together give the hash of the file, the same that `b3sum` prints.
//!
//! A chunk is a power of two of at least 1 KiB and begins at a multiple of its size, so it is a
//! whole subtree, and its hash that subtree's chaining value. A file of one chunk has no subtree:
//! its chunk's hash is the file's.

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

/// A chunk's hash: a chaining value, or the file's own hash where it is the only chunk.
pub type ChunkHash = [u8; 32];

/// A chunk is a multiple of this.
pub const CHUNK_ALIGN_BYTES: u64 = blake3::CHUNK_LEN as u64;

/// Hashes one chunk, piece by piece.
pub struct ChunkHasher {
    hasher: blake3::Hasher,
    only: bool,
}

impl ChunkHasher {
    /// For the chunk that begins at `offset`; `only` if the file has no other.
    pub fn new(offset: u64, only: bool) -> ChunkHasher {
        let mut hasher = blake3::Hasher::new();
        if !only {
            hasher.set_input_offset(offset);
        }
        ChunkHasher { hasher, only }
    }

    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The chunk's hash.
    pub fn finish(&self) -> ChunkHash {
        if self.only {
            *self.hasher.finalize().as_bytes()
        } else {
            self.hasher.finalize_non_root()
        }
    }
}

/// Hashes a whole content, piece by piece: the same hash as that of its chunks merged.
#[derive(Debug, Default)]
pub struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    /// Takes in the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The content's hash.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The hash of a file of `size` bytes whose chunks of `chunk_bytes` have these hashes; none when
/// their number does not fit the size.
pub fn root_of(chunks: &[ChunkHash], size: u64, chunk_bytes: u64) -> Option<[u8; 32]> {
    if !chunk_bytes.is_power_of_two() || chunk_bytes < CHUNK_ALIGN_BYTES {
        return None;
    }
    if chunks.len() as u64 != size.div_ceil(chunk_bytes).max(1) {
        return None;
    }
    if let [only] = chunks {
        return Some(*only);
    }
    let (head, tail) = halves(chunks);
    Some(*merge_subtrees_root(&merge(head), &merge(tail), Mode::Hash).as_bytes())
}

fn merge(chunks: &[ChunkHash]) -> ChainingValue {
    if let [one] = chunks {
        return *one;
    }
    let (head, tail) = halves(chunks);
    merge_subtrees_non_root(&merge(head), &merge(tail), Mode::Hash)
}

/// The left part is the largest power of two that leaves something to the right.
fn halves(chunks: &[ChunkHash]) -> (&[ChunkHash], &[ChunkHash]) {
    chunks.split_at(chunks.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(data: &[u8], chunk_bytes: u64) -> Vec<ChunkHash> {
        let step = usize::try_from(chunk_bytes).expect("small");
        let count = data.len().div_ceil(step).max(1);
        let hash = |n: usize| {
            let piece = &data[n * step..data.len().min((n + 1) * step)];
            let mut hasher = ChunkHasher::new((n * step) as u64, count == 1);
            piece.chunks(700).for_each(|part| hasher.update(part));
            hasher.finish()
        };
        (0..count).map(hash).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_chunks_hashes_give_the_hash_of_the_file(size in 0..80_000_usize, log in 10..15_u32) {
            let data: Vec<u8> = (0..size).map(|n| (n * 7 + n / 251) as u8).collect();
            let chunk_bytes = 1_u64 << log;
            let mut chunks = hashes(&data, chunk_bytes);
            let root = *blake3::hash(&data).as_bytes();
            prop_assert_eq!(root_of(&chunks, size as u64, chunk_bytes), Some(root));
            // Any other list, or the same under another size, is not this file's.
            let other = size as u64 + chunk_bytes;
            prop_assert_eq!(root_of(&chunks, other, chunk_bytes), None);
            let last = chunks.len() - 1;
            chunks[last][31] ^= 1;
            prop_assert_ne!(root_of(&chunks, size as u64, chunk_bytes), Some(root));
        }
    }

    #[test]
    fn a_chunk_size_that_is_no_subtree_is_refused() {
        assert_eq!(root_of(&[[0; 32]], 10, 512), None);
        assert_eq!(root_of(&[[0; 32]], 10, 1_025), None);
        assert_eq!(root_of(&[], 0, 1_024), None);
    }
}
