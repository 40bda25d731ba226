//! Whatever comes in whatever order, over restarts: each message is delivered once, and what was
//! promised is there.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Receive(u8, u64),
    Read(u64),
    Reply(u64),
    Acknowledge(u64),
    Restart,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    // Ids of three senders: 0..12, 12..24, 24..36.
    let id = 0..36_u64;
    prop_oneof![
        6 => id.clone().prop_map(|n| Act::Receive(u8::try_from(n / 12).unwrap_or(0), n)),
        1 => id.clone().prop_map(Act::Read),
        2 => id.clone().prop_map(Act::Reply),
        2 => id.prop_map(Act::Acknowledge),
        1 => Just(Act::Restart),
        1 => (0..3 * DAY_MS).prop_map(Act::Wait),
    ]
}

/// What a message should be: when it came, whether it is gone.
type Model = BTreeMap<u64, (u64, bool)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_message_is_delivered_once_and_kept_until_it_is_taken(
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let mut host = host();
        let mut model = Model::new();
        let mut answered: BTreeSet<u64> = BTreeSet::new();
        for act in acts {
            match act {
                Act::Receive(from, n) => {
                    let fresh = !model.contains_key(&n);
                    let before = host.batch;
                    let receipt = host.receive(from, message(n, 20));
                    prop_assert_eq!(receipt.outcome, Settled::Kept);
                    if fresh {
                        let durable = n.is_multiple_of(3);
                        let expected = if durable { BatchId(before) } else { BatchId::NONE };
                        prop_assert_eq!(receipt.after, expected);
                        model.insert(n, (host.now_ms, false));
                    }
                    prop_assert_eq!(receipt.answer.is_some(), answered.contains(&n));
                }
                Act::Read(n) => {
                    let live = model.get(&n).is_some_and(|(_, gone)| !gone);
                    let shown = host.step(|inbox, step| inbox.read(id(n), step).is_some());
                    prop_assert_eq!(shown, live);
                }
                Act::Reply(n) => {
                    let live = model.get(&n).is_some_and(|(_, gone)| !gone);
                    let reply = host.step(|inbox, step| inbox.reply(id(n), b"re", step));
                    match reply {
                        Ok(_) => {
                            prop_assert!(live && n % 2 == 0);
                            model.insert(n, (host.now_ms, true));
                            answered.insert(n);
                        }
                        Err(ReplyError::Unknown) => prop_assert!(!live),
                        Err(ReplyError::NoTalk) => prop_assert!(live && n % 2 == 1),
                        Err(ReplyError::Late) => prop_assert!(live && n % 2 == 0),
                    }
                }
                Act::Acknowledge(n) => {
                    prop_assert_eq!(host.acknowledge(n), model.contains_key(&n));
                    if let Some(entry) = model.get_mut(&n)
                        && !entry.1
                    {
                        *entry = (host.now_ms, true);
                    }
                }
                Act::Restart => {
                    host.restart();
                    // Answers are remembered for a lost connection, not for a lost node.
                    answered.clear();
                }
                Act::Wait(ms) => {
                    host.now_ms += ms;
                    host.tick();
                    let now_ms = host.now_ms;
                    for (since, gone) in model.values_mut() {
                        if !*gone && *since + INBOX_KEEP_MS <= now_ms {
                            (*since, *gone) = (now_ms, true);
                        }
                    }
                    model.retain(|_, (since, gone)| {
                        !*gone || *since + INBOX_TOMBSTONE_KEEP_MS > now_ms
                    });
                    answered.retain(|n| model.contains_key(n));
                }
            }
            let mut live: Vec<MessageId> = model
                .iter()
                .filter(|(_, (_, gone))| !gone)
                .map(|(n, _)| id(*n))
                .collect();
            let mut ids = host.ids();
            live.sort();
            ids.sort();
            prop_assert_eq!(ids, live);
        }
    }
}
