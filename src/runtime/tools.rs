//! What an agent does with its peers, as methods of [`Handle`]: the same as the HTTP API and the
//! command line, for programs that have the node in their own process.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::channel::{Channel, ChannelError};
use super::handle::Handle;
use crate::proto::node::{
    Command, CommandError, CommandErrorCode, PeerRef, PeerView, Priority, Reply, WakeRequest,
    WakeView,
};
use crate::types::WakeId;
use crate::types::limits::TALK_TIMEOUT_MS;
use crate::wire::WakeStatus;

/// Between two attempts to restart an agent; doubles.
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// More attempts than that are no help.
pub const RESTART_ATTEMPTS_MAX: u32 = 5;

/// Whether a peer is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliveView {
    /// Whether it answered a moment ago.
    pub alive: bool,
    /// How long the answer took.
    pub rtt_us: Option<u64>,
    pub peer: PeerView,
}

/// What is said to an agent that is woken or restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeOptions {
    /// At most 1,024 bytes.
    pub reason: String,
    pub priority: Priority,
    /// How long to follow one wake-up.
    pub within: Duration,
}

impl Default for WakeOptions {
    fn default() -> WakeOptions {
        WakeOptions {
            reason: String::new(),
            priority: Priority::High,
            within: Duration::from_secs(90),
        }
    }
}

impl Handle {
    /// Wakes a peer's agent and follows that to its last phase, or to the phase it is in when
    /// `within` is over. Delivery is tried three times, 5 and then 10 s after a failure.
    ///
    /// # Errors
    /// As [`Handle::call`]. That the other side refuses or fails is a phase, not an error.
    pub async fn wake_up_peer(
        &self,
        peer: PeerRef,
        options: WakeOptions,
    ) -> Result<WakeView, CommandError> {
        self.wake_and_follow(peer, options, WakeRequest::Resume)
            .await
    }

    /// Asks a peer's node to restart its agent, up to `attempts` times (1 to 5), with growing
    /// pauses, until the agent resumed or the other side refuses. Returns the last attempt.
    ///
    /// # Errors
    /// As [`Handle::wake_up_peer`].
    pub async fn restart_peer(
        &self,
        peer: PeerRef,
        options: WakeOptions,
        attempts: u32,
    ) -> Result<WakeView, CommandError> {
        let attempts = attempts.clamp(1, RESTART_ATTEMPTS_MAX);
        let mut pause = RESTART_PAUSE;
        for _ in 1..attempts {
            let request = WakeRequest::Restart;
            let view = self
                .wake_and_follow(peer.clone(), options.clone(), request)
                .await?;
            if !may_try_again(&view.phase) {
                return Ok(view);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.wake_and_follow(peer, options, WakeRequest::Restart)
            .await
    }

    async fn wake_and_follow(
        &self,
        peer: PeerRef,
        options: WakeOptions,
        request: WakeRequest,
    ) -> Result<WakeView, CommandError> {
        let command = Command::Wake {
            peer,
            reason: options.reason,
            priority: options.priority,
            request,
        };
        let mut view = wake_of(self.call(command).await?)?;
        let id: WakeId = view.id.parse().map_err(|_| unexpected())?;
        let end = Instant::now() + options.within;
        loop {
            let seen = match view.phase.as_str() {
                "sending" => None,
                "delivered" => Some(WakeStatus::Delivered),
                "hook_started" => Some(WakeStatus::HookStarted),
                _ => return Ok(view),
            };
            let next = self.call(Command::AwaitWake { id, seen });
            match timeout_at(end, next).await {
                Ok(reply) => view = wake_of(reply?)?,
                Err(_) => return Ok(view),
            }
        }
    }

    /// Whether a peer is there: what is known of it, and a ping that is sent now.
    ///
    /// # Errors
    /// `not_found` or `ambiguous` when nobody goes by that name. That it does not answer is no
    /// error.
    pub async fn check_peer_alive(&self, peer: PeerRef) -> Result<AliveView, CommandError> {
        let rtt_us = match self.call(Command::Ping(peer.clone())).await {
            Ok(Reply::Pong(pong)) => pong.rtt_us.first().copied(),
            Ok(_) => return Err(unexpected()),
            Err(error) if error.code == CommandErrorCode::Unreachable => None,
            Err(error) => return Err(error),
        };
        let Reply::Peer(peer) = self.call(Command::Peer(peer)).await? else {
            return Err(unexpected());
        };
        Ok(AliveView {
            alive: rtt_us.is_some(),
            rtt_us,
            peer: *peer,
        })
    }
}

/// Whether another attempt may do better: the peer's word that it refuses is final.
fn may_try_again(phase: &str) -> bool {
    matches!(
        phase,
        "sending" | "delivered" | "hook_started" | "failed" | "undelivered"
    )
}

fn wake_of(reply: Reply) -> Result<WakeView, CommandError> {
    match reply {
        Reply::Wake(view) => Ok(view),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> CommandError {
    CommandError::new(
        CommandErrorCode::Stopping,
        "the node gave an unexpected reply: please report this",
    )
}

/// How a report is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportOptions {
    pub priority: Priority,
    /// Whether it counts as received only once it is on the other side's disk.
    pub durable: bool,
    /// Whether to await that it was received; otherwise only that it is queued here.
    pub confirm: bool,
    /// How long to try, reaching the peer included.
    pub within: Duration,
}

impl Default for ReportOptions {
    fn default() -> ReportOptions {
        ReportOptions {
            priority: Priority::Normal,
            durable: false,
            confirm: true,
            within: Duration::from_millis(TALK_TIMEOUT_MS),
        }
    }
}

impl Handle {
    /// Says something to a peer's agent and awaits its reply: `within` is for all of it, reaching
    /// the peer included. At most 256 KiB either way.
    ///
    /// # Errors
    /// As [`Handle::call`]; `unreachable` when no reply came in time (the message may have arrived
    /// all the same), `peer_refused` with what the peer said, `too_large`.
    pub async fn talk_to_peer(
        &self,
        peer: PeerRef,
        body: impl Into<Bytes>,
        priority: Priority,
        within: Duration,
    ) -> Result<Bytes, CommandError> {
        let named = peer.to_string();
        let end = Instant::now() + within;
        let said = async {
            let channel = self.channel(peer).await?;
            let left = end.saturating_duration_since(Instant::now());
            let reply = channel.talk(body, priority, left).await;
            reply.map_err(|error| channel_error(&channel, error))
        };
        timeout_at(end, said)
            .await
            .unwrap_or_else(|_| Err(silent(&named)))
    }

    /// Tells a peer's agent something; no reply is awaited. At most 256 KiB.
    ///
    /// # Errors
    /// As [`Handle::talk_to_peer`].
    pub async fn report_to_peer(
        &self,
        peer: PeerRef,
        body: impl Into<Bytes>,
        options: ReportOptions,
    ) -> Result<(), CommandError> {
        let ReportOptions {
            priority,
            durable,
            confirm,
            within,
        } = options;
        if durable && !confirm {
            let text = "a durable report is confirmed: what nobody awaits promises nothing";
            return Err(CommandError::new(CommandErrorCode::Invalid, text));
        }
        let named = peer.to_string();
        let end = Instant::now() + within;
        let told = async {
            let channel = self.channel(peer).await?;
            let left = end.saturating_duration_since(Instant::now());
            let told = match confirm {
                true => channel.report(body, priority, durable, left).await,
                false => channel.post(body, priority).await,
            };
            told.map_err(|error| channel_error(&channel, error))
        };
        timeout_at(end, told)
            .await
            .unwrap_or_else(|_| Err(silent(&named)))
    }
}

fn channel_error(channel: &Channel, error: ChannelError) -> CommandError {
    let code = match error {
        ChannelError::Refused(code) => return CommandError::refused_by(&channel.peer(), code),
        ChannelError::TooLarge => CommandErrorCode::TooLarge,
        ChannelError::TimedOut | ChannelError::Closed => CommandErrorCode::Unreachable,
    };
    CommandError::new(code, error.to_string())
}

fn silent(named: &str) -> CommandError {
    let text = format!("{named} could not be reached, or did not answer in time");
    CommandError::new(CommandErrorCode::Unreachable, text)
}
