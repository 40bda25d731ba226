//! L1: keys, signatures, key derivation, authenticated encryption, the encrypted key file.
//!
//! Every hash and signature is separated by a purpose under the protocol's name, so that bytes
//! signed for one thing can never be taken for another. Nothing here reads a clock or a file;
//! randomness comes in as a generator.

mod aead;
mod backup;
mod chain;
mod chunks;
mod hash;
mod identity;
mod jitter;
mod kdf;
mod keyfile;
mod merkle;
mod passphrase;
mod protected;
mod sign;
pub mod suite;
mod work;

pub use aead::{AeadError, AeadKey, Cipher, TAG_BYTES};
pub use backup::{Backup, BackupContent, BackupError};
pub use chain::{Chain, ChainError, ChainHead, ROTATION_BYTES, Rotation, Standing, next_key_hash};
pub use chunks::{CHUNK_ALIGN_BYTES, ChunkHash, ChunkHasher, ContentHasher, root_of};
pub use hash::{Digest, hash, hmac, hmac_text, hmac_verify, sha256};
pub use identity::{Identity, Inception, InceptionError, Keys, Seeds, binding_bytes};
pub use jitter::{
    JITTER_MAX_US, Jitter, JitterRange, JitterScope, batch_verify_with_jitter, verify_with_jitter,
    verify_with_jitter_async,
};
pub use kdf::{EphemeralSecret, Prk, WeakSharedSecret};
pub use keyfile::{KeyFile, KeyFileError};
pub use merkle::{MerkleTree, merkle_climb, merkle_path, merkle_root};
pub use passphrase::KdfCost;
pub use protected::{Protected, lock_refused, scrub_stack};
pub use sign::{KeyPair, PreparedKey, PublicKey, SigCheck, Signature};
pub use work::{Subject, Work, WorkOutput};

/// The generator the shell seeds from the operating system and the simulator from its seed.
pub type Rng = rand::rngs::StdRng;
