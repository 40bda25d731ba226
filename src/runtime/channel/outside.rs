//! An agent outside this process: a command that is run for each message, or an HTTP address.
//!
//! A talk goes to it at once and is answered with what it says. A report goes into the inbox first
//! and is taken from there, so that one that was promised survives whatever becomes of the agent:
//! it is removed when the agent has taken it, and offered again when it failed. So is the note of a
//! file that arrived.
//!
//! # Bounds
//! `slots` talks at once; who waits for a slot longer than the agent's time is told `BUSY`. Reports
//! and notes one after the other, in the order of arrival.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Agent, AgentMessage};
use crate::proto::node::{Command, InboxFilter, MessageKind, MessageView, Reply};
use crate::runtime::Handle;
use crate::runtime::executor::AgentRunner;
use crate::runtime::http::HttpCaller;
use crate::types::limits::{INBOX_MAX_MESSAGES, TALK_MAX_BYTES};
use crate::types::{EntityId, MessageId, Priority};
use crate::wire::WireError;

/// An answer in JSON, with its base64.
const HTTP_ANSWER_MAX_BYTES: usize = 2 * TALK_MAX_BYTES;
/// After a report that the agent did not take, the first pause; doubles.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Attempts before a report is left to a person.
const ATTEMPTS_MAX: u32 = 4;

/// How an agent outside is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideAgent {
    pub action: OutsideAction,
    /// A call that takes longer is cut.
    pub timeout_ms: u64,
    /// How many talks it is given at once.
    pub slots: usize,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutsideAction {
    /// Given to `/bin/sh -c` for each message: its body on stdin, the reply from stdout.
    Command(String),
    /// Each message is posted to it as JSON; the reply is the answer's body.
    Url(String),
}

/// One message on its way to the agent.
struct Call {
    id: MessageId,
    from: EntityId,
    kind: MessageKind,
    priority: Priority,
    body: Vec<u8>,
}

/// An [`OutsideAgent`] that can be called.
pub(crate) struct Outside {
    agent: OutsideAgent,
    runner: AgentRunner,
    http: Result<HttpCaller, String>,
    slots: Semaphore,
}

impl Outside {
    /// An agent that is called with what `runner` and the network give.
    pub(crate) fn new(agent: OutsideAgent, runner: AgentRunner) -> Arc<Outside> {
        Arc::new(Outside {
            slots: Semaphore::new(agent.slots),
            http: HttpCaller::new(),
            agent,
            runner,
        })
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.agent.timeout_ms)
    }

    async fn call(&self, call: Call) -> Result<Vec<u8>, String> {
        match &self.agent.action {
            OutsideAction::Command(command) => {
                let env = vec![
                    ("JUNTO_FROM", call.from.to_string()),
                    ("JUNTO_MESSAGE_ID", call.id.to_string()),
                    ("JUNTO_KIND", call.kind.as_str().to_owned()),
                    ("JUNTO_PRIORITY", call.priority.as_str().to_owned()),
                ];
                self.runner
                    .run(command.clone(), env, call.body, self.limit())
                    .await
            }
            OutsideAction::Url(url) => {
                let document = serde_json::json!({
                    "id": call.id.to_string(),
                    "from": call.from.to_string(),
                    "kind": call.kind.as_str(),
                    "priority": call.priority.as_str(),
                    "data": BASE64.encode(&call.body),
                    "text": std::str::from_utf8(&call.body).ok(),
                });
                let http = self.http.as_ref().map_err(Clone::clone)?;
                http.post(url, &document, self.limit(), HTTP_ANSWER_MAX_BYTES)
                    .await
            }
        }
    }

    async fn answer(&self, message: AgentMessage) -> Result<Vec<u8>, WireError> {
        let slot = timeout(self.limit(), self.slots.acquire()).await;
        let Ok(Ok(_slot)) = slot else {
            return Err(WireError::Busy);
        };
        let from = message.from;
        let call = Call {
            id: MessageId(uuid::Uuid::from_bytes(message.id)),
            from,
            kind: MessageKind::Talk,
            priority: message.priority,
            body: message.body.to_vec(),
        };
        let failed = |why: String| {
            tracing::warn!(%from, why, "the agent did not answer a talk");
            WireError::AgentFailed
        };
        let reply = self.call(call).await.map_err(failed)?;
        if reply.len() > TALK_MAX_BYTES {
            return Err(failed(format!(
                "its reply has {} bytes, a message takes {TALK_MAX_BYTES}",
                reply.len()
            )));
        }
        Ok(reply)
    }

    /// Takes reports and notes from the inbox to the agent until `stop`.
    pub(crate) async fn take_reports(self: Arc<Outside>, handle: Handle, stop: CancellationToken) {
        let mut failed: BTreeMap<MessageId, Failure> = BTreeMap::new();
        let mut last = 0;
        while !stop.is_cancelled() {
            let mut waiting = Vec::new();
            // Otherwise the disk refuses writes, or the node is busy or stopping: look again later.
            if let Ok(Reply::Inbox { messages, last: n }) = handle.call(Command::Inbox(all())).await
            {
                (waiting, last) = (messages, n);
            }
            // A talk that lies there came before the agent was set, and is for a person.
            waiting.retain(|message| message.kind != MessageKind::Talk);
            let ids: Vec<MessageId> = waiting.iter().filter_map(|m| m.id.parse().ok()).collect();
            failed.retain(|id, _| ids.contains(id));
            for (id, view) in ids.iter().zip(&waiting) {
                let due = failed.get(id).is_none_or(Failure::is_due);
                if stop.is_cancelled() || !due {
                    continue;
                }
                match self.hand_over(&handle, *id, view).await {
                    Ok(()) => drop(failed.remove(id)),
                    Err(why) => note_failure(&mut failed, *id, &why),
                }
            }
            let retry = failed.values().filter_map(|failure| failure.retry).min();
            let retried = async {
                match retry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = retried => {}
                waited = handle.call(Command::AwaitInbox { seen: last }) => {
                    if waited.is_err() {
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
        }
    }

    async fn hand_over(
        &self,
        handle: &Handle,
        id: MessageId,
        view: &MessageView,
    ) -> Result<(), String> {
        let shown = handle.call(Command::Message(id)).await;
        let Ok(Reply::Message { body, .. }) = shown else {
            // Somebody else has acknowledged it.
            return Ok(());
        };
        let call = Call {
            id,
            from: view.from.parse().map_err(|_| String::from("no sender"))?,
            kind: view.kind,
            priority: view.priority,
            body,
        };
        self.call(call).await?;
        // If the node dies right here the agent gets it again: at least once is what is promised.
        let acknowledged = handle.call(Command::Acknowledge(id)).await;
        acknowledged.map(drop).map_err(|error| error.to_string())
    }
}

impl Agent for Outside {
    fn talk(&self, message: AgentMessage) -> BoxFuture<'_, Result<Vec<u8>, WireError>> {
        Box::pin(self.answer(message))
    }

    /// Reports go through the inbox and do not come here.
    fn report(&self, _message: AgentMessage) -> BoxFuture<'_, Result<(), WireError>> {
        Box::pin(std::future::ready(Err(WireError::InvalidState)))
    }
}

fn all() -> InboxFilter {
    InboxFilter {
        limit: INBOX_MAX_MESSAGES,
        ..InboxFilter::default()
    }
}

/// A report that the agent did not take.
struct Failure {
    tries: u32,
    /// None: it is left to a person, or to the next start.
    retry: Option<Instant>,
}

impl Failure {
    fn is_due(&self) -> bool {
        self.retry.is_some_and(|at| at <= Instant::now())
    }
}

fn note_failure(failed: &mut BTreeMap<MessageId, Failure>, id: MessageId, why: &str) {
    let tries = failed.get(&id).map_or(0, |failure| failure.tries) + 1;
    let again = tries < ATTEMPTS_MAX;
    tracing::warn!(message = %id, why, again, "the agent did not take a report");
    let retry = again.then(|| Instant::now() + RETRY_PAUSE * (1 << (tries - 1)));
    failed.insert(id, Failure { tries, retry });
}
