//! The node itself and the peers it knows.

use super::http::{ANSWER_TIMEOUT, PING_TIMEOUT};
use super::{ApiClient, ClientError};
use crate::api::body::{AliveBody, BenchBody, HealthView, PingBody, RotateBody, StatsView};
use crate::proto::node::{
    DrainView, EntryView, FingerprintView, IdentityView, PeerStatusView, PeerView, PongView,
    StatusView,
};
use crate::runtime::AliveView;
use crate::runtime::bench::Measured;

impl ApiClient {
    /// Whether the API answers.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn health(&self) -> Result<HealthView, ClientError> {
        self.fetch(&["health"], &[]).await
    }

    /// Who the node is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn public_key(&self) -> Result<IdentityView, ClientError> {
        self.fetch(&["public-key"], &[]).await
    }

    /// The description of the API.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.fetch(&["openapi.json"], &[]).await
    }

    /// The node as a whole.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        self.fetch(&["v1", "status"], &[]).await
    }

    /// Tells the node to take no more tasks of others, or to take them again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drain(&self, on: bool, timeout_ms: Option<u64>) -> Result<DrainView, ClientError> {
        let mut body = serde_json::json!({ "on": on });
        if let Some(timeout_ms) = timeout_ms {
            body["timeout_ms"] = timeout_ms.into();
        }
        self.post(&["v1", "drain"], Some(&body), ANSWER_TIMEOUT)
            .await
    }

    /// How far that is.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drained(&self) -> Result<DrainView, ClientError> {
        self.fetch(&["v1", "drain"], &[]).await
    }

    /// The node in numbers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stats(&self) -> Result<StatsView, ClientError> {
        self.fetch(&["stats"], &[]).await
    }

    /// The peers it knows.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn peers(&self) -> Result<Vec<PeerView>, ClientError> {
        self.fetch(&["v1", "peers"], &[]).await
    }

    /// The registry's entries; only those offering `capability` if one is named.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn registry(&self, capability: Option<&str>) -> Result<Vec<EntryView>, ClientError> {
        let query: Vec<_> = capability
            .map(|name| ("capability", name))
            .into_iter()
            .collect();
        self.fetch(&["v1", "registry"], &query).await
    }

    /// How a peer is, asked for now.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn peer_status(&self, peer: &str) -> Result<PeerStatusView, ClientError> {
        self.fetch(&["v1", "peers", peer, "status"], &[]).await
    }

    /// Puts the node's next key into use. `passphrase` is the key file's, if it has one.
    ///
    /// # Errors
    /// See [`ClientError`]; the code `invalid` when the passphrase is wrong.
    pub async fn rotate_key(
        &self,
        passphrase: Option<&str>,
    ) -> Result<FingerprintView, ClientError> {
        let body = RotateBody {
            passphrase: passphrase.map(str::to_owned),
        };
        self.post(&["v1", "key", "rotate"], Some(&body), ANSWER_TIMEOUT)
            .await
    }

    /// Whose key is whose: a peer's, or the node's own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn fingerprint(&self, peer: Option<&str>) -> Result<FingerprintView, ClientError> {
        let query: Vec<_> = peer.map(|peer| ("peer", peer)).into_iter().collect();
        self.fetch(&["v1", "key", "fingerprint"], &query).await
    }

    /// Pings a peer `count` times.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ping(&self, peer: &str, count: u8) -> Result<PongView, ClientError> {
        let body = PingBody {
            peer: peer.to_owned(),
            count,
        };
        self.post(&["v1", "ping"], Some(&body), PING_TIMEOUT).await
    }

    /// Whether a peer is there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn alive(&self, peer: &str) -> Result<AliveView, ClientError> {
        let body = AliveBody {
            peer: peer.to_owned(),
        };
        self.post(&["v1", "alive"], Some(&body), PING_TIMEOUT).await
    }

    /// Has the node measure the way to a peer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn bench(&self, order: &BenchBody) -> Result<Measured, ClientError> {
        self.post(&["v1", "bench"], Some(order), PING_TIMEOUT).await
    }
}
