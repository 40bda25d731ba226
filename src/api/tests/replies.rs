//! What the routes answer when all is well, mostly through the client.

use std::future::pending;
use std::time::Instant;

use serde_json::json;
use tokio::sync::Semaphore;

use super::super::body::{
    DEADLINE_DEFAULT_MS, ResubmitBody, SubmitBody, SubmitManyBody, TaskListParams, TransferBody,
    WakeBody,
};
use super::super::client::ClientError;
use super::*;
use crate::proto::node::{Changed, CommandError, CommandErrorCode, PeerRef, Start};
use crate::types::{TransferId, WakeId, Wall};
use crate::wire::WakeStatus;

#[tokio::test]
async fn the_node_and_those_it_knows_are_shown() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let client = served.client();
    assert_eq!(client.health().await.unwrap().status, "ok");
    assert_eq!(
        client.public_key().await.unwrap().entity_id,
        WORKER.to_string()
    );
    assert_eq!(client.status().await.unwrap(), status_view());
    let stats = client.stats().await.unwrap();
    assert_eq!(stats.tasks.completed, 9);
    assert_eq!(stats.traffic.messages["ping"].messages_sent, 5);
    let status = client.peer_status("bob").await.unwrap();
    assert_eq!((status.peer_id.as_str(), status.load.free), ("bob", 3));
    assert_eq!(client.peers().await.unwrap(), [peer_view()]);
    assert_eq!(served.get("/peers").await, served.get("/v1/peers").await);
    assert_eq!(client.registry(None).await.unwrap(), [entry_view()]);
    assert_eq!(asked.last(), Command::Registry { offering: None });
    client.registry(Some("wc")).await.unwrap();
    assert_eq!(
        asked.last(),
        Command::Registry {
            offering: Some("wc".parse().unwrap())
        }
    );
    served.stop().await;
}

#[tokio::test]
async fn the_metrics_are_openmetrics_text() {
    let (handle, _) = played();
    handle.metrics().store.batches.inc_by(3);
    let served = Served::start(handle);
    let request = served.request(Method::GET, "/metrics");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let form = response.headers()["content-type"].to_str().unwrap();
    assert!(form.starts_with("application/openmetrics-text"), "{form}");
    let text = response.text().await.unwrap();
    for line in [
        "junto_store_batches_total 3",
        "junto_messages_total{type=\"ping\",direction=\"sent\"} 5",
        "junto_message_bytes_total{type=\"ping\",direction=\"sent\"} 1500",
        "junto_breakers{state=\"open\"} 0",
        "junto_peers{health=\"healthy\"} 0",
        "junto_tasks{state=\"completed\"} 9",
        "# TYPE junto_store_flush_seconds histogram",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    served.stop().await;
}

#[tokio::test]
async fn an_amount_is_taken_as_a_string_or_an_integer() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let most = u64::MAX.to_string();
    for (reward, amount) in [
        (json!("5"), 5),
        (json!(5), 5),
        (json!(most), u64::MAX),
        (json!(u64::MAX), u64::MAX),
    ] {
        let body = json!({"capability": "wc", "reward": reward});
        let request = served.request(Method::POST, "/v1/tasks").json(&body);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
        let Command::Submit(submission) = asked.last() else {
            panic!("not a submission")
        };
        assert_eq!(submission.wish.reward, amount);
    }
    for reward in [
        json!("much"),
        json!("-1"),
        json!(0.5),
        json!("18446744073709551616"),
    ] {
        let body = json!({"capability": "wc", "reward": reward});
        let request = served.request(Method::POST, "/v1/tasks").json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{reward}");
        let problem: Value = response.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("an amount from 0 to"), "{detail}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_submission_has_defaults_a_location_and_the_callers_id() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let id = Uuid::now_v7();
    for key in [id.to_string(), format!("\"{id}\"")] {
        let request = served
            .request(Method::POST, "/v1/tasks")
            .header("Idempotency-Key", key);
        let body = json!({"capability": "wc", "input_text": "a b"});
        let response = request.json(&body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(
            response.headers()["location"],
            format!("/v1/tasks/{id}").as_str()
        );
        let view: TaskView = response.json().await.unwrap();
        assert_eq!(view, task_view(id, TaskState::Submitted));
    }
    let Command::Submit(submission) = asked.last() else {
        panic!("not a submission")
    };
    assert_eq!(submission.id, TaskId(id));
    assert_eq!(submission.input, b"a b");
    assert_eq!(submission.deadline_ms, DEADLINE_DEFAULT_MS);
    assert_eq!(
        (submission.to, submission.priority),
        (None, Priority::Normal)
    );

    let request = served
        .request(Method::POST, "/v1/tasks")
        .header("Idempotency-Key", "invoice-7");
    let start_at = "2030-01-31T13:00:00+01:00";
    let body = json!({"capability": "wc", "start_at": start_at});
    let response = request.json(&body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let Command::Submit(submission) = asked.last() else {
        panic!("not a submission")
    };
    assert_eq!(submission.key, Some("invoice-7".parse().unwrap()));
    let noon = Wall::from_rfc3339("2030-01-31T12:00:00Z").unwrap();
    assert_eq!(submission.start, Start::At(noon));
    assert_eq!(noon.to_rfc3339(), "2030-01-31T12:00:00Z");

    let body = json!({"capability": "wc", "delay_ms": 1500, "key": "k"});
    served.post("/v1/tasks", body).await;
    let Command::Submit(submission) = asked.last() else {
        panic!("not a submission")
    };
    assert_eq!(submission.start, Start::In(1500));
    assert_eq!(submission.key, Some("k".parse().unwrap()));

    let view = served
        .post("/v1/tasks", json!({"capability": "wc"}))
        .await
        .1;
    let id: Uuid = view["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(id.get_version_num(), 7);

    let mut body = SubmitBody::new("wc", &[0, 255]);
    (body.to, body.priority, body.deadline_ms) = (Some("bob".into()), Priority::High, 1);
    let view = served.client().submit(&body).await.unwrap();
    assert_eq!(view.id, body.id.unwrap().to_string());
    let Command::Submit(submission) = asked.last() else {
        panic!("not a submission")
    };
    assert_eq!(submission.input, [0, 255]);
    assert_eq!(submission.to, Some(PeerRef::Name("bob".parse().unwrap())));
    assert_eq!(
        (submission.priority, submission.deadline_ms),
        (Priority::High, 1)
    );
    served.stop().await;
}

#[tokio::test]
async fn a_list_of_tasks_is_handed_over_together() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let tasks = vec![SubmitBody::new("wc", b"a"), SubmitBody::new("wc", b"b")];
    let ids: Vec<String> = { tasks.iter() }
        .map(|task| task.id.unwrap().to_string())
        .collect();
    let views = { served.client() }
        .submit_many(&SubmitManyBody { tasks })
        .await;
    let views: Vec<String> = views.unwrap().into_iter().map(|view| view.id).collect();
    assert_eq!(views, ids);
    let Command::SubmitMany(all) = asked.last() else {
        panic!("not a list")
    };
    assert_eq!(
        (all[0].input.as_slice(), all[1].input.as_slice()),
        (&b"a"[..], &b"b"[..])
    );
    let body = json!({"tasks": [{"capability": "wc"}, {"capability": "a b"}]});
    let (status, problem) = served.post("/v1/tasks/batch", body).await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::BAD_REQUEST, &json!("invalid"))
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("tasks[1]: capability"), "{detail}");
    served.stop().await;
}

#[tokio::test]
async fn tasks_are_listed_shown_awaited_cancelled_and_their_result_is_raw() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let client = served.client();
    let id = Uuid::now_v7();
    let params = TaskListParams {
        state: Some(TaskState::Failed),
        dead: Some(true),
        limit: Some(7),
        ..TaskListParams::default()
    };
    let (page, next) = client.tasks(&params).await.unwrap();
    assert_eq!((page.len(), next), (1, Some(Uuid::max())));
    let Command::Tasks(filter) = asked.last() else {
        panic!("not a list")
    };
    assert_eq!((filter.state, filter.limit), (Some(TaskState::Failed), 7));
    assert!(filter.dead);
    let params = TaskListParams {
        after: next,
        ..params
    };
    assert_eq!(
        client.tasks(&params).await.unwrap().1,
        None,
        "the last page"
    );
    assert_eq!(
        client.task(id).await.unwrap(),
        task_view(id, TaskState::Working)
    );
    assert_eq!(asked.last(), Command::Task(TaskId(id)));
    assert_eq!(
        client.await_task(id, SOON).await.unwrap().state,
        TaskState::Completed
    );
    assert_eq!(asked.last(), Command::AwaitTask(TaskId(id)));
    assert_eq!(client.cancel(id).await.unwrap().state, TaskState::Canceled);
    let body = ResubmitBody {
        deadline_ms: Some(7_200_000),
        to: Some(String::from("alice")),
        priority: Some(Priority::High),
    };
    let again = client.resubmit(id, &body).await.unwrap();
    let Command::Resubmit {
        id: failed,
        as_id,
        changed,
    } = asked.last()
    else {
        panic!("not a resubmission")
    };
    assert_eq!((failed.0, as_id.to_string()), (id, again.id));
    let expected = Changed {
        deadline_ms: body.deadline_ms,
        to: Some("alice".parse().unwrap()),
        priority: body.priority,
    };
    assert_eq!(changed, expected);
    let bare = served.request(Method::POST, &format!("/v1/tasks/{id}/resubmit"));
    assert_eq!(bare.send().await.unwrap().status(), 201, "no body at all");
    assert!(
        matches!(asked.last(), Command::Resubmit { changed, .. } if changed == Changed::default())
    );
    for (wrong, status) in [
        (json!({"deadline_ms": 0}), 400),
        (json!({"deadlin_ms": 1}), 400),
    ] {
        let path = format!("/v1/tasks/{id}/resubmit");
        let asked = served.request(Method::POST, &path).json(&wrong);
        assert_eq!(asked.send().await.unwrap().status(), status, "{wrong}");
    }
    assert_eq!(client.drop_task(id).await.unwrap().state, TaskState::Failed);
    assert_eq!(asked.last(), Command::DropTask(TaskId(id)));
    let output = client.result(id).await.unwrap();
    assert_eq!(
        (output.worker, output.attempts),
        (Some(WORKER.to_string()), 2)
    );
    assert_eq!(output.result, [0, 255, 10]);
    let mut input = client.input_stream(id).await.unwrap();
    assert_eq!(input.next().await.unwrap(), Some(vec![0, 1, 2]));
    assert_eq!(asked.last(), Command::TaskInput(TaskId(id)));
    let raw = served.request(Method::GET, &format!("/v1/tasks/{id}/result"));
    let raw = raw.send().await.unwrap();
    assert_eq!(raw.headers()["content-type"], "application/octet-stream");
    assert_eq!(raw.headers()["x-junto-attempts"], "2");
    served.stop().await;
}

#[tokio::test]
async fn a_long_poll_that_sees_no_end_shows_the_task_as_it_is() {
    let handle = Handle::stub_async(|command| async {
        match command {
            Command::AwaitTask(_) => pending().await,
            other => answer(other),
        }
    });
    let served = Served::start(handle);
    let id = Uuid::now_v7();
    let started = Instant::now();
    let (status, view) = served.get(&format!("/v1/tasks/{id}?wait_ms=50")).await;
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(
        (status, view["state"].as_str()),
        (StatusCode::OK, Some("working"))
    );
    let task = served
        .client()
        .await_task(id, Duration::from_millis(50))
        .await
        .unwrap();
    assert_eq!(task.state, TaskState::Working);
    served.stop().await;
}

#[tokio::test]
async fn shutdown_answers_long_polls_at_once() {
    let (asked, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let signal = Arc::clone(&waiting);
    let handle = Handle::stub_async(move |command| {
        let (signal, asked) = (Arc::clone(&signal), Arc::clone(&asked));
        async move {
            if let Command::AwaitTask(_) = command {
                signal.add_permits(1);
                asked.acquire().await.unwrap().forget();
            }
            answer(command)
        }
    });
    let served = Served::start(handle);
    let request = served.request(
        Method::GET,
        &format!("/v1/tasks/{}?wait_ms=60000", Uuid::nil()),
    );
    let poll = tokio::spawn(async move { request.send().await.unwrap().status() });
    waiting.acquire().await.unwrap().forget();
    let started = Instant::now();
    served.stop().await;
    assert_eq!(poll.await.unwrap(), StatusCode::OK);
    assert!(started.elapsed() < super::super::SHUTDOWN_LIMIT);
}

#[tokio::test]
async fn pings_are_joined_and_a_lost_one_ends_them() {
    let mut answered = 0;
    let handle = Handle::stub(move |command| match command {
        Command::Ping(PeerRef::Name(_)) if answered == 5 => Err(CommandError::new(
            CommandErrorCode::Unreachable,
            "bob does not answer",
        )),
        other => {
            answered += 1;
            answer(other)
        }
    });
    let served = Served::start(handle);
    let (_, pong) = served.post("/v1/ping", json!({"peer": "bob"})).await;
    assert_eq!(
        pong,
        json!({"peer_id": "bob", "rtt_us": [250, 250, 250, 250]})
    );
    assert_eq!(served.client().ping("bob", 10).await.unwrap().rtt_us, [250]);
    let lost = served.client().ping("bob", 1).await.unwrap_err();
    assert_eq!(
        lost,
        ClientError::Problem {
            code: "unreachable".into(),
            detail: "bob does not answer".into(),
            status: 504,
        }
    );
    served.stop().await;
}

/// A node whose one wake-up is in the phase that the test sets; the core's rule, played.
fn waking(phase: tokio::sync::watch::Receiver<Option<WakeStatus>>) -> Handle {
    Handle::stub_async(move |command| {
        let mut phase = phase.clone();
        async move {
            let Command::AwaitWake { id, seen } = command else {
                return answer(command);
            };
            let now = *phase.wait_for(|now| *now != seen).await.unwrap();
            let name = match now {
                None => "sending",
                Some(WakeStatus::Delivered) => "delivered",
                Some(_) => "resumed",
            };
            Ok(Reply::Wake(wake_view(id.0, name)))
        }
    })
}

#[tokio::test]
async fn a_wake_ups_phases_are_seen_as_they_come() {
    let (set, phase) = tokio::sync::watch::channel(None);
    let served = Served::start(waking(phase));
    let client = served.client();
    let sent = client.wake(&WakeBody::new("bob", "work")).await.unwrap();
    assert_eq!(
        (sent.peer.as_str(), sent.phase.as_str()),
        ("bob", "sending")
    );

    let short = Duration::from_millis(50);
    let seen = |seen: &'static str, limit| client.wake_phase(&sent.id, seen, limit);
    assert_eq!(seen("sending", short).await.unwrap().phase, "sending");
    let (next, ()) = tokio::join!(seen("sending", SOON), async {
        set.send_replace(Some(WakeStatus::Delivered));
    });
    assert_eq!(next.unwrap().phase, "delivered");
    assert_eq!(seen("delivered", short).await.unwrap().phase, "delivered");
    set.send_replace(Some(WakeStatus::Resumed));
    assert_eq!(seen("delivered", SOON).await.unwrap().phase, "resumed");
    // Nothing follows the last phase: no waiting.
    assert_eq!(seen("resumed", SOON).await.unwrap().phase, "resumed");
    let (_, view) = served.get(&format!("/v1/wake/{}", sent.id)).await;
    assert_eq!(view["phase"], "resumed");
    served.stop().await;
}

#[tokio::test]
async fn wake_ups_received_are_listed_and_answered() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let client = served.client();
    let id = Uuid::now_v7();
    let response = served
        .request(Method::POST, "/v1/wake")
        .json(&json!({"peer": "bob"}));
    assert_eq!(
        response.send().await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(client.wakes_received().await.unwrap().len(), 1);
    client.resumed(None).await.unwrap();
    assert_eq!(asked.last(), Command::Resumed { id: None });
    client.resumed(Some(&id.to_string())).await.unwrap();
    assert_eq!(
        asked.last(),
        Command::Resumed {
            id: Some(WakeId(id))
        }
    );
    served.stop().await;
}

#[tokio::test]
async fn a_transfer_is_ordered_followed_and_given_up() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let client = served.client();
    let id = Uuid::now_v7();
    let body = TransferBody {
        peer: "bob".into(),
        path: "/home/alice/holiday.mp4".into(),
        name: None,
        id: Some(id),
    };
    let view = client.send_file(&body).await.unwrap();
    assert_eq!((view.id, view.state.as_str()), (id.to_string(), "hashing"));
    let Command::SendFile(new) = asked.last() else {
        panic!("a file was to be sent")
    };
    assert_eq!((new.id, new.path), (TransferId(id), body.path.clone()));
    assert_eq!(client.transfers().await.unwrap().len(), 1);
    assert_eq!(client.transfer(id).await.unwrap().state, "sending");
    let news = client.transfer_news(id, 41, SOON).await.unwrap();
    assert_eq!(news.state, "completed");
    let seen = Some(41);
    let id = TransferId(id);
    assert_eq!(asked.last(), Command::AwaitTransfer { id, seen });
    assert_eq!(client.cancel_transfer(id).await.unwrap().state, "canceled");
    assert_eq!(asked.last(), Command::CancelTransfer(id));
    served.stop().await;
}

#[tokio::test]
async fn a_peer_is_alive_when_it_answers_now() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let view = served.client().alive("bob").await.unwrap();
    assert!(view.alive && view.rtt_us == Some(250));
    assert_eq!(view.peer, peer_view());
    served.stop().await;
    let handle = Handle::stub(|command| match command {
        Command::Ping(_) => Err(CommandError::new(CommandErrorCode::Unreachable, "gone")),
        command => answer(command),
    });
    let served = Served::start(handle);
    let view = served.client().alive("bob").await.unwrap();
    assert!(!view.alive && view.rtt_us.is_none());
    served.stop().await;
}

#[tokio::test]
async fn every_route_of_a_task_takes_a_part_of_its_id() {
    let id = TaskId(Uuid::from_u128(0xc0de));
    let asked = Asked::default();
    let log = asked.clone();
    let served = Served::start(Handle::stub(move |command| {
        log.0.lock().unwrap().push(command.clone());
        match command {
            Command::FindTask(part) if part.is_of_task(id) => Ok(Reply::Found(id)),
            Command::FindTask(_) => {
                Err(CommandError::new(CommandErrorCode::Ambiguous, "one or two"))
            }
            command => answer(command),
        }
    }));
    let routes = [
        (Method::GET, "", Command::Task(id)),
        (Method::GET, "/result", Command::TaskResult(id)),
        (Method::GET, "/proof", Command::TaskProof(id)),
        (Method::POST, "/cancel", Command::CancelTask(id)),
        (Method::POST, "/drop", Command::DropTask(id)),
        (
            Method::GET,
            "/events",
            Command::TaskEvents { id, after: None },
        ),
    ];
    for (method, route, meant) in routes {
        for part in ["00000000-0000", "%E2%80%A6c0de", "0000...C0DE"] {
            let path = format!("/v1/tasks/{part}{route}");
            let response = served.request(method.clone(), &path).send().await.unwrap();
            assert!(response.status().is_success(), "{path}");
            assert!(asked.all().contains(&meant), "{path}");
            asked.0.lock().unwrap().clear();
        }
        let path = format!("/v1/tasks/0198{route}");
        let two = problem(served.request(method.clone(), &path)).await;
        assert_eq!(
            (two.status, two.code.as_str()),
            (409, "ambiguous"),
            "{path}"
        );
        let path = format!("/v1/tasks/7{route}");
        let wrong = problem(served.request(method, &path)).await;
        assert_eq!((wrong.status, wrong.code.as_str()), (400, "invalid"));
        assert!(wrong.detail.contains("UUID"), "{}", wrong.detail);
    }
    served.stop().await;
}
