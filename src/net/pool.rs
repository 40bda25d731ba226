//! The connections as a pool: one to a peer carries all requests, each a stream of its own.

use super::Net;
use super::behaviour::{CONNECTIONS_MAX, INCOMING_MAX, PER_PEER_MAX, STREAMS_MAX};

/// Connections and the requests on them, with their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    pub connections: usize,
    /// Of these, opened by others.
    pub incoming: usize,
    pub connections_max: usize,
    pub incoming_max: usize,
    pub per_peer_max: usize,
    /// Our requests under way.
    pub requests_sent: usize,
    /// Others' requests that await an answer.
    pub requests_received: usize,
    /// Streams of one connection for requests of both directions.
    pub streams_max: usize,
}

impl Net {
    /// What is in use at the moment.
    pub fn pool(&self) -> Pool {
        let info = self.swarm.network_info();
        let counters = info.connection_counters();
        Pool {
            connections: counters.num_established() as usize,
            incoming: counters.num_established_incoming() as usize,
            connections_max: CONNECTIONS_MAX as usize,
            incoming_max: INCOMING_MAX as usize,
            per_peer_max: PER_PEER_MAX as usize,
            requests_sent: self.exchanges.len(),
            requests_received: self.inbound.len(),
            streams_max: STREAMS_MAX,
        }
    }
}
