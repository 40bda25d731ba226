//! A limit on every size, count and time. Units stand last in the names.

/// One exchange frame, request or response, sealed.
pub const FRAME_MAX_BYTES: usize = 2 * 1024 * 1024;
/// The CBOR of one message before sealing.
pub const BODY_MAX_BYTES: usize = FRAME_MAX_BYTES - 64 * 1024;
/// Nesting of CBOR: our deepest message has 6 levels.
pub const CBOR_MAX_DEPTH: usize = 16;

/// One task's input in a message; larger ones travel as files.
pub const INPUT_MAX_BYTES: usize = 1024 * 1024;
/// One task's result in a message; larger ones travel as files.
pub const RESULT_MAX_BYTES: usize = 1024 * 1024;
/// Inputs and results above these limits are files: one of them.
pub const PAYLOAD_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// How many of them a node has.
pub const PAYLOADS_MAX: usize = 4_096;
/// What of a failed command's error output is kept.
pub const STDERR_TAIL_BYTES: usize = 4 * 1024;
/// The text that says why something failed.
pub const REASON_MAX_BYTES: usize = 5 * 1024;

/// Tasks that are not terminal, in one requester's queue.
pub const QUEUE_MAX_TASKS: usize = 200_000;
/// Their inputs together, in memory.
pub const QUEUE_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Results a requester keeps, in memory, unless set otherwise; the oldest tasks go first.
pub const RESULTS_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Terminal tasks a requester keeps for look-up, unless set otherwise; the oldest goes first.
pub const TERMINAL_MAX_TASKS: u32 = 100_000;
/// Failed tasks that keep their input until somebody decides, unless set otherwise; the oldest goes
/// first.
pub const DEAD_MAX_TASKS: u32 = 10_000;
/// Their inputs together, in memory.
pub const DEAD_MAX_BYTES: usize = 64 * 1024 * 1024;
/// What such a setting may say: as many tasks as one request hands over, and more than that.
pub const KEPT_MIN_TASKS: u32 = 256;
pub const KEPT_MAX_TASKS: u32 = 1_000_000;
pub const KEPT_MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Tasks a worker holds for others: running, or done and not yet acknowledged.
pub const WORKER_MAX_TASKS: usize = 4_096;
/// Their inputs and outcomes together, in memory, for another one to be taken: the results of those that
/// run come on top.
pub const WORKER_MAX_BYTES: usize = 512 * 1024 * 1024;
/// Tombstones of acknowledged tasks a worker keeps against late duplicates.
pub const TOMBSTONES_MAX: usize = 100_000;
/// Items in one list message (delegate, renew, result, cancel).
pub const LIST_MAX_ITEMS: usize = 256;
/// Tasks handed over in one request.
pub const SUBMIT_MAX_TASKS: usize = 256;
/// Webhooks kept until they were heard or given up, and how many of those are remembered.
pub const WEBHOOKS_MAX: usize = 10_000;
/// A webhook's address.
pub const WEBHOOK_URL_MAX_BYTES: usize = 1_024;
/// What signs a webhook.
pub const WEBHOOK_SECRET_MAX_BYTES: usize = 256;
/// Events kept of a task, for those who watch it.
pub const EVENTS_KEPT: usize = 64;
/// What of a reason an event keeps.
pub const EVENT_NOTE_MAX_BYTES: usize = 512;
/// Events kept of all tasks together, and their bytes in memory.
pub const FEED_MAX_EVENTS: usize = 16_384;
pub const FEED_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Events in one answer.
pub const FEED_PAGE_MAX: usize = 1_000;
/// Runs of the same work whose results are compared, and rounds of them.
pub const REPLICAS_MAX: u8 = 16;
pub const AGREE_ROUNDS_MAX: u32 = 3;
/// Attempts kept with a task: room for all that its failures, losses, lapses and releases may come
/// to with the settings as they are by default.
pub const ATTEMPTS_MAX: usize = 96;
/// Tasks of one capability that a worker has accepted and not begun.
pub const SERVE_QUEUE_MAX: u32 = 256;
/// How often one task may be handed over before it has begun, and to how many others its worker
/// may point.
pub const HANDOVERS_MAX: u32 = 3;
pub const SUGGESTED_MAX: usize = 3;
/// Offers of one task that may go unanswered, and how often workers may give it back.
pub const LAPSES_MAX: u32 = 32;
pub const RELEASES_MAX: u32 = 32;
/// Workers told of that were looked at for an attempt, for how many of a task's newest attempts
/// that is kept, and of how many a waiting task tells.
pub const CONSIDERED_MAX: usize = 5;
pub const CONSIDERED_ATTEMPTS_MAX: usize = 4;
pub const CONSIDERED_WAITING_MAX: usize = 32;
/// Workers whose scores are kept.
pub const SCORED_MAX: usize = 8_192;
/// Labels of a node, of a task, or asked for by one.
pub const LABELS_MAX: usize = 16;
/// What a run says of how far it is, in words, and what it has written since the last time.
pub const PROGRESS_NOTE_MAX_BYTES: usize = 256;
pub const PROGRESS_DATA_MAX_BYTES: usize = 32 * 1024;
/// What of that a requester keeps for who watches: of a task, and of all.
pub const PROGRESS_TASK_MAX_BYTES: usize = 256 * 1024;
pub const PROGRESS_KEPT_MAX_BYTES: usize = 32 * 1024 * 1024;
/// How long a terminal task, unless set otherwise, and a worker's tombstone are kept: 8 days.
pub const TERMINAL_KEEP_MS: u64 = 8 * 24 * 3600 * 1000;

/// One signed registry entry.
pub const ENTRY_MAX_BYTES: usize = 8 * 1024;
/// Rotations of an entity's key, all of which its entry carries.
pub const ROTATIONS_MAX: usize = 16;
/// Entities that rotated and of whose newest key a node remembers, beyond their entry's life.
pub const HEADS_MAX: usize = 65_536;
/// The body of a handshake message, which has an entry in it.
pub const HANDSHAKE_MAX_BYTES: usize = 12 * 1024;
/// Entries a node stores.
pub const REGISTRY_MAX_ENTRIES: usize = 8_192;
/// A registry entry's life.
pub const ENTRY_MAX_LIFE_MS: u64 = 24 * 3600 * 1000;
/// Tasks of one capability that a node runs at once.
pub const SLOTS_MAX: u32 = 256;
/// Capabilities in one entry.
pub const CAPABILITIES_MAX: usize = 32;
/// Addresses in one entry.
pub const ADDRESSES_MAX: usize = 16;
/// Entries in one registry message, by their bytes together.
pub const SYNC_MAX_BYTES: usize = 512 * 1024;

/// Half-open handshakes, in all.
pub const HALF_OPEN_MAX: usize = 1_024;
/// Half-open handshakes of one peer.
pub const HALF_OPEN_PER_PEER_MAX: usize = 4;
/// Half-open handshakes, and checks of first messages under way, of one address prefix.
pub const HALF_OPEN_PER_PREFIX_MAX: usize = 64;
/// From so many half-open handshakes, or checks of first messages under way, on a first message
/// must carry a cookie.
pub const COOKIE_FROM_HALF_OPEN: usize = HALF_OPEN_MAX / 4 * 3;
pub const COOKIE_FROM_CHECKS: usize = 64;
/// Versions, and suites, that one handshake may offer.
pub const OFFERS_MAX: usize = 8;
/// A handshake that takes longer is dropped.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;
/// How far a handshake's timestamp may be from ours.
pub const CLOCK_SKEW_MAX_MS: u64 = 120_000;
/// How long a handshake's nonce is remembered.
pub const REPLAY_KEEP_MS: u64 = 300_000;
/// Nonces remembered, in all.
pub const REPLAY_MAX: usize = 65_536;
/// Nonces remembered of one entity.
pub const REPLAY_PER_ENTITY_MAX: usize = 64;
/// Live sessions.
pub const SESSIONS_MAX: usize = 2_048;
/// A session's life where nothing else is configured.
pub const SESSION_LIFE_MS: u64 = 30 * 60 * 1000;
/// How long an epoch that was left still opens what was under way.
pub const EPOCH_KEEP_MS: u64 = 30_000;
/// Sequence numbers behind the newest that are still accepted once.
pub const REPLAY_WINDOW: u64 = 1_024;

/// Messages that wait for a session with one peer.
pub const OUTBOX_PER_PEER_MAX: usize = 256;
/// Requests under way to one peer.
pub const OUTBOUND_PER_PEER_MAX: usize = 64;
/// Requests of one peer in a second, by class: handshakes,
pub const HANDSHAKES_PER_S: u32 = 5;
/// signs of life and status,
pub const PROBES_PER_S: u32 = 50;
/// the registry,
pub const REGISTRY_PER_S: u32 = 20;
/// wake-ups,
pub const WAKES_PER_S: u32 = 5;
/// tasks,
pub const TASKS_PER_S: u32 = 1_000;
/// and all others.
pub const OTHERS_PER_S: u32 = 100;
/// At once as many pass as in so many seconds.
pub const RATE_BURST_S: u32 = 10;
/// Failures in a row after which a peer is asked nothing for a while.
pub const BREAKER_FAILURES: u32 = 5;
/// For how long at first; it doubles up to the second number.
pub const BREAKER_OPEN_MS: u64 = 5_000;
pub const BREAKER_OPEN_MAX_MS: u64 = 60_000;
/// Peers whose rates and breakers are kept.
pub const GUARDED_MAX: usize = 4_096;
/// How often a peer is sent a heartbeat.
pub const HEARTBEAT_MS: u64 = 10_000;
/// Intervals without a sign of life until a peer is suspect, and until it is unreachable.
pub const SUSPECT_AFTER: u32 = 2;
pub const UNREACHABLE_AFTER: u32 = 5;
/// An exchange that takes longer has failed with an unknown outcome.
pub const EXCHANGE_TIMEOUT_MS: u64 = 10_000;

/// Peers the address book holds.
pub const PEERS_MAX: usize = 8_192;
/// Connections we open by ourselves beyond bootstrap and work in hand.
pub const TARGET_PEERS: usize = 16;
/// Connections above which idle ones are closed.
pub const CONNECTIONS_KEPT: usize = 256;
/// Commands from the API that wait for their reply.
pub const COMMANDS_MAX: usize = 4_096;
/// Wake-ups remembered, sent or received.
pub const WAKES_MAX: usize = 1_024;
/// The reason text of a wake-up.
pub const WAKE_REASON_MAX_BYTES: usize = 1_024;
/// Wake-ups one peer may send in a minute.
pub const WAKES_PER_PEER_PER_MINUTE: usize = 10;

/// One record on a stream, its header and tag included, without the length in front of it.
pub const RECORD_MAX_BYTES: usize = 320 * 1024;
/// Records, bytes and time under one epoch's key.
pub const EPOCH_MAX_RECORDS: u64 = 1 << 20;
/// See [`EPOCH_MAX_RECORDS`].
pub const EPOCH_MAX_BYTES: u64 = 64 << 30;
/// See [`EPOCH_MAX_RECORDS`].
pub const EPOCH_MAX_MS: u64 = 10 * 60 * 1000;
/// Messages the inbox holds.
pub const INBOX_MAX_MESSAGES: usize = 10_000;
/// Their bodies and proofs together, in memory.
pub const INBOX_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Messages of one sender in the inbox.
pub const INBOX_PER_SENDER_MAX_MESSAGES: usize = 2_500;
/// Their bodies and proofs together.
pub const INBOX_PER_SENDER_MAX_BYTES: usize = 64 * 1024 * 1024;
/// A message that nobody acknowledged is dropped after so long.
pub const INBOX_KEEP_MS: u64 = 7 * 24 * 3600 * 1000;
/// Ids of messages that were acknowledged or dropped: in all, and of one sender.
pub const INBOX_TOMBSTONES_MAX: usize = 20_000;
pub const INBOX_TOMBSTONES_PER_SENDER_MAX: usize = 5_000;
/// How long such an id is known, so that a resend is not taken for a new message.
pub const INBOX_TOMBSTONE_KEEP_MS: u64 = 8 * 24 * 3600 * 1000;
/// One message between agents on a channel; what is larger goes as a file.
pub const TALK_MAX_BYTES: usize = 256 * 1024;
/// Messages under one signature.
pub const BATCH_MAX_MESSAGES: usize = 64;
/// A batch is closed before its bodies pass this; one message alone always fits.
pub const BATCH_SOFT_MAX_BYTES: usize = 60 * 1024;
/// What shows one message to a third party.
pub const PROOF_MAX_BYTES: usize = TALK_MAX_BYTES + 4 * 1024;
/// What shows one outcome of a task to a third party.
pub const RESULT_PROOF_MAX_BYTES: usize = 700;
/// Messages of a channel that are sent and not acknowledged.
pub const UNACKED_MAX_MESSAGES: usize = 4_096;
/// Their bytes: what a message of high priority may have to wait behind.
pub const WINDOW_BYTES: usize = 512 * 1024;
/// The same with those of high and critical priority, which wait for no others.
pub const URGENT_WINDOW_BYTES: usize = 8 * WINDOW_BYTES;
/// Ids of received messages that are remembered: more than may be sent again.
pub const RECENT_MAX_MESSAGES: usize = 2 * UNACKED_MAX_MESSAGES;
/// Talks of one peer that an agent works on at once.
pub const TALKS_PER_PEER_MAX: usize = 256;
/// Answers to one peer that wait to be sent: as many talks and pings it may have under way.
pub const ANSWERS_PER_PEER_MAX: usize = 8_192;
/// Their bytes.
pub const ANSWERS_PER_PEER_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of one priority that wait to be sent to one peer.
pub const CHANNEL_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// A talk waits so long for its reply at most, and where nothing else is said.
pub const TALK_TIMEOUT_MS: u64 = 60_000;
/// Messages in the inbox's hands whose senders await a word.
pub const DELIVERIES_MAX: usize = 65_536;

/// Chunks one file is cut into; larger files have larger chunks.
pub const CHUNKS_MAX: usize = 16_384;
/// The smallest chunk of a file that has more than one.
pub const CHUNK_MIN_BYTES: u64 = 1024 * 1024;
/// The largest chunk: with [`CHUNKS_MAX`] of them a file has 1 TiB.
pub const CHUNK_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The largest file that can be sent at all.
pub const FILE_MAX_BYTES: u64 = CHUNK_MAX_BYTES * CHUNKS_MAX as u64;
/// The name of a file that is sent.
pub const FILE_NAME_MAX_BYTES: usize = 200;
/// Transfers under way, in each direction.
pub const TRANSFERS_MAX: usize = 64;
/// Transfers that are over, kept for look-up in each direction; the oldest goes first.
pub const TRANSFERS_KEPT: usize = 256;
/// Why a transfer failed, in words.
pub const TRANSFER_REASON_MAX_BYTES: usize = 512;
/// Chunks of one transfer that may fail their check before it is given up.
pub const CHUNK_ERRORS_MAX: u32 = 4;
/// A transfer that makes no progress for so long is given up: 7 days.
pub const TRANSFER_IDLE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Bulk streams under way: all, and with one peer, in each direction.
pub const BULK_STREAMS_MAX: usize = 16;
