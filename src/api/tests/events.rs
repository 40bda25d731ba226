//! A task's events as a document and as a stream.

use super::super::body::WebhookBody;
use super::*;
use crate::proto::node::{CommandError, CommandErrorCode, TaskEventView, TaskEventsView};

/// The events of a task after `after`, of three in all; a number above is not known.
pub(super) fn told(id: TaskId, after: Option<u64>, known: u64) -> CommandResult {
    const KINDS: [&str; 3] = ["submitted", "offered", "completed"];
    let reset = after.is_some_and(|number| number > known);
    let first = if reset { 1 } else { after.unwrap_or(0) + 1 };
    let event = |number: u64| TaskEventView {
        number,
        kind: KINDS[number as usize - 1].into(),
        at: "2030-01-01T00:00:00Z".into(),
        worker: None,
        token: None,
        note: None,
        times: None,
        percent: None,
        offset: None,
        data: None,
        text: None,
    };
    let over = known == 3;
    let state = if over {
        TaskState::Completed
    } else {
        TaskState::Working
    };
    Ok(Reply::TaskEvents(Box::new(TaskEventsView {
        task: task_view(id.0, state),
        reset,
        events: (first..=known).map(event).collect(),
        last: known,
        over,
    })))
}

/// A node whose task has had two events, and gets its last as soon as somebody waits.
fn two_then_one() -> Handle {
    Handle::stub(|command| match command {
        Command::TaskEvents { id, after } => told(id, after, 2),
        Command::AwaitTaskEvents { id, after } => told(id, after, 3),
        other => answer(other),
    })
}

async fn stream(served: &Served, last: Option<&str>) -> (StatusCode, String) {
    let path = format!("/v1/tasks/{}/events", Uuid::now_v7());
    let mut request = served
        .request(Method::GET, &path)
        .header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

/// The lines of a stream that begin with `field`, without it.
fn fields<'a>(text: &'a str, field: &str) -> Vec<&'a str> {
    let values = text.lines().filter_map(|line| line.strip_prefix(field));
    values.map(str::trim).collect()
}

#[tokio::test]
async fn a_stream_tells_every_event_and_ends_with_the_task() {
    let served = Served::start(two_then_one());
    let (status, text) = stream(&served, None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(fields(&text, "id:"), ["1", "2", "3"]);
    let kinds = ["submitted", "offered", "completed"];
    assert_eq!(fields(&text, "event:"), kinds);
    let last: TaskEventView = serde_json::from_str(fields(&text, "data:")[2]).unwrap();
    assert_eq!((last.number, last.kind.as_str()), (3, "completed"));
    served.stop().await;
}

#[tokio::test]
async fn a_reader_goes_on_behind_what_it_saw() {
    let served = Served::start(two_then_one());
    let (_, text) = stream(&served, Some("1")).await;
    assert_eq!(fields(&text, "id:"), ["2", "3"]);
    let (_, text) = stream(&served, Some("2")).await;
    assert_eq!(fields(&text, "id:"), ["3"]);
    served.stop().await;
}

#[tokio::test]
async fn a_number_that_is_not_known_gives_the_task_anew() {
    let served = Served::start(two_then_one());
    let (_, text) = stream(&served, Some("99")).await;
    assert_eq!(fields(&text, "event:")[0], "reset");
    assert_eq!(fields(&text, "id:"), ["0", "1", "2", "3"]);
    let task: TaskView = serde_json::from_str(fields(&text, "data:")[0]).unwrap();
    assert_eq!(task.state, TaskState::Working);
    served.stop().await;
}

#[tokio::test]
async fn a_stream_taken_up_after_the_end_is_empty() {
    let over = Handle::stub(|command| match command {
        Command::TaskEvents { id, after } => told(id, after, 3),
        other => answer(other),
    });
    let served = Served::start(over);
    let (status, text) = stream(&served, Some("3")).await;
    assert_eq!((status, text.as_str()), (StatusCode::NO_CONTENT, ""));
    served.stop().await;
}

#[tokio::test]
async fn events_are_a_document_for_who_does_not_stream() {
    let served = Served::start(two_then_one());
    let id = Uuid::now_v7();
    let (status, now) = served.get(&format!("/v1/tasks/{id}/events?after=1")).await;
    assert_eq!((status, &now["last"]), (StatusCode::OK, &2.into()));
    assert_eq!(now["events"].as_array().unwrap().len(), 1);
    let news = served
        .client()
        .task_events(id, Some(2), SOON)
        .await
        .unwrap();
    assert_eq!((news.events.len(), news.over), (1, true));
    served.stop().await;
}

#[tokio::test]
async fn an_unknown_task_and_a_number_that_is_none_are_refused() {
    let nothing = Handle::stub(|_| Err(CommandError::new(CommandErrorCode::NotFound, "no task")));
    let served = Served::start(nothing);
    let path = format!("/v1/tasks/{}/events", Uuid::now_v7());
    let ask = || {
        let request = served.request(Method::GET, &path);
        request.header("accept", "text/event-stream")
    };
    assert_eq!(problem(ask()).await.code, "not_found");
    let odd = ask().header("last-event-id", "first");
    assert_eq!(problem(odd).await.code, "invalid");
    served.stop().await;
}

#[tokio::test]
async fn an_open_stream_does_not_hold_up_the_end_of_the_node() {
    let quiet = Handle::stub_async(|command| async {
        match command {
            Command::TaskEvents { id, after } => told(id, after, 2),
            Command::AwaitTaskEvents { .. } => std::future::pending().await,
            other => answer(other),
        }
    });
    let served = Served::start(quiet);
    let path = format!("/v1/tasks/{}/events", Uuid::now_v7());
    let open = served
        .request(Method::GET, &path)
        .header("accept", "text/event-stream");
    let mut open = open.send().await.unwrap();
    assert!(open.chunk().await.unwrap().is_some());
    served.stop().await;
}

#[tokio::test]
async fn a_webhook_is_handed_on_and_what_is_no_address_is_refused() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let id = Uuid::now_v7();
    let webhook = WebhookBody {
        url: "http://127.0.0.1:9/done".into(),
        secret: Some("hidden".into()),
    };
    served.client().webhook(id, &webhook).await.unwrap();
    let Command::Notify { id: task, target } = asked.last() else {
        panic!("not a webhook")
    };
    assert_eq!((task.0, target.url()), (id, "http://127.0.0.1:9/done"));
    assert!(!format!("{webhook:?}{target:?}").contains("hidden"));
    for url in ["https://127.0.0.1/", "http://me@127.0.0.1/", "done"] {
        let body = serde_json::json!({ "url": url });
        let path = format!("/v1/tasks/{id}/webhook");
        assert_eq!(served.post(&path, body).await.1["code"], "invalid", "{url}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_webhook_is_taken_with_the_task() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let with = |url: &str| {
        let webhook = serde_json::json!({"url": url, "secret": "hidden"});
        serde_json::json!({"capability": "wc", "webhook": webhook})
    };
    served
        .post("/v1/tasks", with("http://127.0.0.1:9/done"))
        .await;
    let Command::Submit(submission) = asked.last() else {
        panic!("not a submission")
    };
    assert!(!format!("{submission:?}").contains("hidden"));
    let target = submission.webhook.expect("it was named");
    let given = (target.url(), target.secret());
    assert_eq!(given, ("http://127.0.0.1:9/done", Some("hidden")));
    let (_, refused) = served.post("/v1/tasks", with("done")).await;
    assert_eq!(refused["code"], "invalid");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("webhook.url: "), "{detail}");
    served.stop().await;
}

#[tokio::test]
async fn a_page_of_no_tasks_or_too_many_is_refused() {
    let (handle, _) = played();
    let served = Served::start(handle);
    for limit in ["0", "1001", "many"] {
        let (_, refused) = served.get(&format!("/v1/tasks?limit={limit}")).await;
        assert_eq!(refused["code"], "invalid", "{limit}");
    }
    served.stop().await;
}
