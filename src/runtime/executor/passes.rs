//! Passes: with one a run may hand parts of its task on over the API, and do nothing else.
//!
//! A pass is 32 random bytes, known to the run alone: here is its hash, in memory, for as long as
//! the run lasts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::BASE32_NOPAD;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::crypto::{Digest, hash};
use crate::proto::node::HeldKey;

/// The passes that are good now.
#[derive(Default)]
pub struct Passes {
    /// Where the API listens, if there is one.
    api: Option<SocketAddr>,
    good: Mutex<BTreeMap<Digest, HeldKey>>,
}

/// What whoever does a task needs to hand parts of it on over the API.
#[derive(Clone, PartialEq, Eq)]
pub struct RunAccess {
    /// Where the API listens.
    pub url: String,
    /// Good for that, as long as the run lasts.
    pub token: Zeroizing<String>,
}

impl std::fmt::Debug for RunAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("RunAccess");
        shown.field("url", &self.url).finish_non_exhaustive()
    }
}

/// A run's pass; it is good until this is dropped.
pub(super) struct Pass {
    passes: Arc<Passes>,
    digest: Digest,
    text: Zeroizing<String>,
}

impl Passes {
    pub(super) fn new(api: Option<SocketAddr>) -> Passes {
        Passes {
            api,
            ..Passes::default()
        }
    }

    /// Gives a run for this task a pass; none where there is no API to show it to.
    pub(super) fn give(self: &Arc<Self>, key: HeldKey) -> Option<Pass> {
        self.api?;
        let mut bytes = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(&mut bytes[..]).ok()?;
        let mut text = Zeroizing::new(BASE32_NOPAD.encode(&bytes[..]));
        text.make_ascii_lowercase();
        let digest = digest_of(text.as_bytes());
        self.table().insert(digest, key);
        Some(Pass {
            passes: Arc::clone(self),
            digest,
            text,
        })
    }

    /// The task whose run has this pass.
    pub fn bearer(&self, pass: &[u8]) -> Option<HeldKey> {
        self.table().get(&digest_of(pass)).copied()
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Digest, HeldKey>> {
        // Each use is a single operation of the map: a panic elsewhere leaves it whole.
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// What a run gets to know of it.
    pub(super) fn access(&self) -> RunAccess {
        let api = self.passes.api.map(|api| match api.ip().is_unspecified() {
            true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), api.port()),
            false => api,
        });
        RunAccess {
            url: api.map_or_else(String::new, |api| format!("http://{api}")),
            token: self.text.clone(),
        }
    }

    /// As a command reads it.
    pub(super) fn env(&self) -> [(&'static str, String); 2] {
        let RunAccess { url, token } = self.access();
        [("JUNTO_API", url), ("JUNTO_API_TOKEN", token.to_string())]
    }

    /// As a program reads it that is posted to.
    pub(super) fn headers(&self) -> [(&'static str, String); 2] {
        let RunAccess { url, token } = self.access();
        [
            ("x-junto-api", url),
            ("x-junto-api-token", token.to_string()),
        ]
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.passes.table().remove(&self.digest);
    }
}

/// The table is looked through by hashes: how long that takes says nothing of a pass.
fn digest_of(pass: &[u8]) -> Digest {
    hash("junto run pass", &[pass])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{EntityId, TaskId};

    #[test]
    fn a_pass_is_good_as_long_as_its_run_and_is_nobody_elses() {
        let key = |n: u8| HeldKey {
            requester: EntityId([n; 32]),
            task: TaskId(uuid::Uuid::nil()),
        };
        assert!(Arc::new(Passes::default()).give(key(1)).is_none(), "no API");
        let api = "0.0.0.0:9".parse().expect("an address");
        let passes = Arc::new(Passes::new(Some(api)));
        let (one, two) = (passes.give(key(1)), passes.give(key(2)));
        let (one, two) = (one.expect("a pass"), two.expect("a pass"));
        assert_eq!(passes.bearer(one.text.as_bytes()), Some(key(1)));
        assert_eq!(passes.bearer(two.text.as_bytes()), Some(key(2)));
        assert_eq!(passes.bearer(b""), None);
        assert_eq!(one.env()[0], ("JUNTO_API", "http://127.0.0.1:9".into()));
        assert_eq!(one.env()[1], ("JUNTO_API_TOKEN", one.text.to_string()));
        assert_eq!(
            one.headers()[1],
            ("x-junto-api-token", one.text.to_string())
        );
        let shown = format!("{:?}", one.access());
        assert!(!shown.contains(one.text.as_str()), "{shown}");
        let text = one.text.clone();
        drop(one);
        assert_eq!(passes.bearer(text.as_bytes()), None);
        assert_eq!(passes.table().len(), 1);
    }
}
