//! The API over real sockets on loopback, in front of a node that is played.

mod description;
mod events;
mod feed;
mod guarding;
mod inbox;
mod keys;
mod refusals;
mod replies;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::problem::{PROBLEM_JSON, Problem};
use super::{ApiClient, ApiError, ApiServer, ApiToken};
use crate::proto::node::{
    AttemptView, Command, CommandResult, CountView, Direction, DrainView, EntryView,
    FingerprintView, IdentityView, LoadView, MessageKind, MessageView, NodeStats, PayloadView,
    PeerStatusView, PeerView, PongView, Priority, Reply, StatusView, TaskCounts, TaskState,
    TaskView, TransferView, WakeView,
};
use crate::runtime::Handle;
use crate::types::{EntityId, FileRef, PeerId, TaskId};
use crate::wire::{Evidence, TaskEvidence};

/// Nothing here takes longer.
const SOON: Duration = Duration::from_secs(60);
const WORKER: EntityId = EntityId([7; 32]);

/// A server in front of a played node.
struct Served {
    base: String,
    token: ApiToken,
    http: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), ApiError>>,
}

impl Served {
    fn start(handle: Handle) -> Served {
        let server = ApiServer::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let base = format!("http://{}", server.local_addr());
        let token = ApiToken::generate().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let ended = tokio::spawn(server.serve(handle, token.clone(), shutdown));
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(SOON)
            .build()
            .unwrap();
        Served {
            base,
            token,
            http,
            stop: Some(stop),
            ended,
        }
    }

    /// A request without a token.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(self.token.reveal())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.request(Method::GET, path).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let response = self
            .request(Method::POST, path)
            .json(&body)
            .send()
            .await
            .unwrap();
        (response.status(), response.json().await.unwrap())
    }

    fn client(&self) -> ApiClient {
        ApiClient::new(&self.base, self.token.reveal()).unwrap()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(SOON, self.ended)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// Sends, and reads the problem that must come back.
async fn problem(request: RequestBuilder) -> Problem {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status);
    assert!(!problem.detail.is_empty() && !problem.title.is_empty());
    assert_eq!(problem.kind, format!("urn:junto:problem:{}", problem.code));
    problem
}

/// What the played node was asked, in order.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Command>>>);

impl Asked {
    fn all(&self) -> Vec<Command> {
        self.0.lock().unwrap().clone()
    }

    fn last(&self) -> Command {
        self.all().last().cloned().expect("the node was asked")
    }
}

/// A node that has one of everything and refuses nothing.
fn played() -> (Handle, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let handle = Handle::stub(move |command| {
        log.0.lock().unwrap().push(command.clone());
        answer(command)
    });
    (handle, asked)
}

fn answer(command: Command) -> CommandResult {
    Ok(match command {
        Command::Status => Reply::Status(Box::new(status_view())),
        Command::Peers => Reply::Peers(vec![peer_view()]),
        Command::Peer(_) => Reply::Peer(Box::new(peer_view())),
        Command::Registry { .. } => Reply::Registry(vec![entry_view()]),
        Command::Submit(submission) => {
            Reply::Task(Box::new(task_view(submission.id.0, TaskState::Submitted)))
        }
        Command::Tasks(filter) => Reply::Tasks {
            tasks: vec![task_view(Uuid::nil(), TaskState::Working)],
            next: filter.after.is_none().then_some(TaskId(Uuid::max())),
        },
        Command::Task(id) => Reply::Task(Box::new(task_view(id.0, TaskState::Working))),
        Command::FindTask(_) => Reply::Found(TaskId(Uuid::nil())),
        Command::AwaitTask(id) => Reply::Task(Box::new(task_view(id.0, TaskState::Completed))),
        Command::TaskEvents { id, after } | Command::AwaitTaskEvents { id, after } => {
            return events::told(id, after, 3);
        }
        Command::Events(filter) => return feed::fed(&filter, 12),
        Command::AwaitEvents { .. } => Reply::Done,
        Command::Notify { .. } => Reply::Done,
        Command::TaskResult(_) => Reply::TaskResult {
            worker: Some(WORKER),
            attempts: 2,
            result: vec![0, 255, 10],
        },
        Command::TaskInput(_) => Reply::TaskInput(vec![0, 1, 2]),
        Command::SubmitMany(all) => Reply::Tasks {
            tasks: { all.iter() }
                .map(|one| task_view(one.id.0, TaskState::Submitted))
                .collect(),
            next: None,
        },
        Command::KeepPayload { content, .. } => Reply::Payload(payload_view(content)),
        Command::Payload(root) => Reply::Payload(payload_view(FileRef { root, size: 3 })),
        Command::CancelTask(id) => Reply::Task(Box::new(task_view(id.0, TaskState::Canceled))),
        Command::Resubmit { as_id, .. } => {
            Reply::Task(Box::new(task_view(as_id.0, TaskState::Submitted)))
        }
        Command::DropTask(id) => Reply::Task(Box::new(task_view(id.0, TaskState::Failed))),
        Command::Ping(peer) => Reply::Pong(PongView {
            peer_id: peer.to_string(),
            rtt_us: vec![250],
        }),
        Command::PeerStatus(peer) => Reply::PeerStatus(PeerStatusView {
            peer_id: peer.to_string(),
            entity_id: WORKER.to_string(),
            rtt_us: 300,
            uptime_ms: 1,
            load: LoadView {
                held: 1,
                slots: 4,
                free: 3,
                waiting: 0,
                draining: false,
            },
            agent: "awake".into(),
        }),
        Command::Stats => Reply::Stats(Box::new(NodeStats {
            sessions_made: 2,
            messages: [("ping".to_owned(), ping_counts())].into(),
            ..NodeStats::default()
        })),
        Command::Reach(_) => Reply::Reached {
            peer_id: PeerId::random(),
            entity_id: WORKER,
        },
        Command::Wake { peer, reason, .. } => {
            let view = wake_view(Uuid::nil(), "sending");
            Reply::Wake(WakeView {
                peer: peer.to_string(),
                reason,
                ..view
            })
        }
        Command::AwaitWake { id, .. } => Reply::Wake(wake_view(id.0, "delivered")),
        Command::Resumed { .. } => Reply::Done,
        Command::Inbox(_) => Reply::Inbox {
            messages: vec![message_view(Uuid::nil())],
            last: 7,
        },
        Command::Message(id) => Reply::Message {
            view: Box::new(message_view(id.0)),
            body: b"hello".to_vec(),
        },
        Command::TaskProof(_) => Reply::TaskProof(Box::new(TaskEvidence {
            entries: vec![serde_bytes::ByteBuf::from(*b"an entry")],
            outcomes: vec![serde_bytes::ByteBuf::from(*b"an outcome")],
            agree: None,
        })),
        Command::MessageProof(_) => Reply::Proof(Box::new(Evidence {
            entry: vec![1],
            message: vec![2],
        })),
        Command::AwaitInbox { .. }
        | Command::ReplyTo { .. }
        | Command::Acknowledge(_)
        | Command::Attend { .. }
        | Command::SayOfRun { .. }
        | Command::EndRun { .. } => Reply::Done,
        Command::Drain { .. } | Command::Undrain | Command::Drained => Reply::Drain(DrainView {
            draining: true,
            running: 2,
            undelivered: 1,
        }),
        // The echo is as good as any answer.
        Command::Envelope(bytes) => Reply::Envelope(bytes),
        Command::Identity => Reply::Identity(Box::new(IdentityView {
            entity_id: WORKER.to_string(),
            peer_id: PeerId::random().to_string(),
            public_key: "00".repeat(32),
            fingerprint: "0000".into(),
            entry: String::new(),
        })),
        Command::SendFile(new) => Reply::Transfer(Box::new(transfer_view(new.id.0, "hashing"))),
        Command::Transfers => Reply::Transfers(vec![transfer_view(Uuid::nil(), "completed")]),
        Command::AwaitTransfer { id, seen } => {
            let state = if seen.is_some() {
                "completed"
            } else {
                "sending"
            };
            Reply::Transfer(Box::new(transfer_view(id.0, state)))
        }
        Command::CancelTransfer(id) => Reply::Transfer(Box::new(transfer_view(id.0, "canceled"))),
        Command::KeyRotated(_) => Reply::Done,
        Command::Fingerprint { peer } => Reply::Fingerprint(FingerprintView {
            name: peer.map_or("alice".into(), |peer| peer.to_string()),
            peer_id: "12D3KooWAlice".into(),
            entity_id: WORKER.to_string(),
            fingerprint: "0001 0002".into(),
            key: Some("00ff".into()),
            rotations: 1,
        }),
        Command::WakesReceived => Reply::Wakes(vec![wake_view(Uuid::nil(), "delivered")]),
    })
}

fn transfer_view(id: Uuid, state: &str) -> TransferView {
    TransferView {
        id: id.to_string(),
        direction: Direction::Out,
        peer: WORKER.to_string(),
        name: "holiday.mp4".into(),
        path: Some("/home/alice/holiday.mp4".into()),
        state: state.into(),
        size: 7,
        done_bytes: 3,
        moved_bytes: 3,
        hash: None,
        started: "2026-01-01T00:00:00Z".into(),
        changed: "2026-01-01T00:00:00Z".into(),
        reason: None,
        revision: 41,
    }
}

fn status_view() -> StatusView {
    StatusView {
        name: "alice".into(),
        peer_id: "12D3KooWAlice".into(),
        entity_id: WORKER.to_string(),
        fingerprint: "0001 0002".into(),
        network: "junto".into(),
        version: "0.1.0".into(),
        listen: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        capabilities: vec!["wc".into()],
        unattended: Vec::new(),
        uptime_ms: 5,
        connected: 3,
        sessions: 2,
        registry: 4,
        tasks: TaskCounts {
            completed: 9,
            ..TaskCounts::default()
        },
        held: 1,
        draining: false,
        storage: "ok".into(),
        guard: Default::default(),
        health: Default::default(),
        pool: Default::default(),
    }
}

fn peer_view() -> PeerView {
    PeerView {
        peer_id: "12D3KooWBob".into(),
        entity_id: None,
        name: Some("bob".into()),
        state: "connected".into(),
        capabilities: vec!["wc".into()],
        addresses: vec![],
        ..PeerView::default()
    }
}

fn entry_view() -> EntryView {
    EntryView {
        peer_id: "12D3KooWBob".into(),
        entity_id: WORKER.to_string(),
        name: "bob".into(),
        state: "self".into(),
        capabilities: vec!["wc".into()],
        labels: vec![],
        addresses: vec![],
        key: "00ff".into(),
        rotations: 0,
        seq: 1,
        expires: "2030-01-01T00:00:00Z".into(),
    }
}

fn payload_view(content: FileRef) -> PayloadView {
    PayloadView {
        hash: data_encoding::HEXLOWER.encode(&content.root),
        size: content.size,
    }
}

fn task_view(id: Uuid, state: TaskState) -> TaskView {
    TaskView {
        id: id.to_string(),
        capability: "wc".into(),
        state,
        priority: Priority::Normal,
        to: None,
        submitted: "2030-01-01T00:00:00Z".into(),
        start_at: None,
        deadline: "2030-01-01T00:10:00Z".into(),
        key: None,
        parent: None,
        budget: None,
        stops: false,
        stream: false,
        input_bytes: 3,
        moving: None,
        progress: None,
        result_bytes: None,
        reason: None,
        no_worker: false,
        dead: false,
        prior: None,
        again: None,
        attempts: vec![AttemptView {
            worker: WORKER.to_string(),
            token: 1,
            started: "2030-01-01T00:00:01Z".into(),
            ended: None,
            outcome: "working".into(),
            considered: vec![],
            others: 0,
        }],
        attempts_cut: 0,
        labels: vec![],
        needs: vec![],
        min_tier: None,
        considered: vec![],
        others: 0,
        agreement: None,
        dissent: None,
        part_of: None,
        webhook: None,
    }
}

fn message_view(id: Uuid) -> MessageView {
    MessageView {
        id: id.to_string(),
        number: 7,
        from: WORKER.to_string(),
        name: Some("bob".into()),
        kind: MessageKind::Talk,
        state: "new".into(),
        priority: Priority::Normal,
        durable: false,
        sent: "2030-01-01T00:00:00Z".into(),
        received: "2030-01-01T00:00:01Z".into(),
        bytes: 5,
        awaits_reply: true,
        provable: true,
    }
}

fn wake_view(id: Uuid, phase: &str) -> WakeView {
    WakeView {
        id: id.to_string(),
        peer: WORKER.to_string(),
        reason: "work".into(),
        priority: Priority::High,
        request: "resume".into(),
        manual_check_needed: false,
        phase: phase.into(),
        elapsed_ms: 1,
        phases: Vec::new(),
        peer_code: None,
    }
}

fn ping_counts() -> CountView {
    CountView {
        messages_sent: 5,
        bytes_sent: 1_500,
        ..CountView::default()
    }
}
