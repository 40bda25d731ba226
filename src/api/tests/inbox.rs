//! The routes of the inbox.

use serde_json::json;

use super::super::body::{InboxParams, InboxState, ReplyBody};
use super::*;
use crate::proto::node::{InboxFilter, MessageState, PeerRef};
use crate::types::MessageId;

#[tokio::test]
async fn messages_are_listed_shown_answered_and_acknowledged() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let client = served.client();
    let params = InboxParams {
        state: Some(InboxState::New),
        kind: Some(MessageKind::Talk),
        from: Some("bob".into()),
        after: Some(3),
        limit: Some(2),
        wait_ms: Some(1),
    };
    assert_eq!(
        client.inbox(&params).await.unwrap(),
        [message_view(Uuid::nil())]
    );
    let filter = InboxFilter {
        state: Some(MessageState::New),
        kind: Some(MessageKind::Talk),
        from: Some(PeerRef::Name("bob".parse().unwrap())),
        after: 3,
        limit: 2,
    };
    assert_eq!(asked.last(), Command::Inbox(filter));
    let id = Uuid::now_v7();
    let shown = client.message(id).await.unwrap();
    assert_eq!(
        (shown.text.as_deref(), shown.message.bytes),
        (Some("hello"), 5)
    );
    for (reply, body) in [
        (json!({"text": "yes"}), b"yes".to_vec()),
        (json!({"data": "AP8="}), vec![0, 255]),
        (json!({}), Vec::new()),
    ] {
        let reply: ReplyBody = serde_json::from_value(reply).unwrap();
        client.reply(id, &reply).await.unwrap();
        assert_eq!(
            asked.last(),
            Command::ReplyTo {
                id: MessageId(id),
                body
            }
        );
    }
    client.acknowledge(id).await.unwrap();
    assert_eq!(asked.last(), Command::Acknowledge(MessageId(id)));
    for (path, part) in [
        ("/v1/inbox?limit=0", "limit"),
        ("/v1/inbox?state=gone", "state"),
        ("/v1/inbox?from=a%20b", "from"),
        ("/v1/inbox/7", "UUID"),
    ] {
        let problem = problem(served.request(Method::GET, path)).await;
        assert_eq!(problem.code, "invalid", "{path}");
        assert!(problem.detail.contains(part), "{path}: {}", problem.detail);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_poll_of_an_empty_inbox_is_answered_when_a_message_arrives() {
    let (set, arrived) = tokio::sync::watch::channel(false);
    let handle = Handle::stub_async(move |command| {
        let mut arrived = arrived.clone();
        async move {
            match command {
                Command::Inbox(_) => {
                    let there = *arrived.borrow();
                    let messages = there.then(|| message_view(Uuid::nil()));
                    Ok(Reply::Inbox {
                        messages: messages.into_iter().collect(),
                        last: u64::from(there),
                    })
                }
                Command::AwaitInbox { seen: 0 } => {
                    arrived.wait_for(|there| *there).await.unwrap();
                    Ok(Reply::Done)
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let served = Served::start(handle);
    let client = served.client();
    let params = |wait_ms| InboxParams {
        wait_ms: Some(wait_ms),
        ..InboxParams::default()
    };
    assert_eq!(client.inbox(&params(20)).await.unwrap(), []);
    let long = params(20_000);
    let (polled, ()) = tokio::join!(client.inbox(&long), async {
        set.send_replace(true);
    });
    assert_eq!(polled.unwrap().len(), 1);
    served.stop().await;
}
