//! What the routes answer when something is wrong, and how the client tells it.

use serde_json::json;

use super::super::client::ClientError;
use super::super::guard::BODY_MAX_BYTES;
use super::*;
use crate::proto::node::{CommandError, CommandErrorCode};

#[tokio::test]
async fn each_refusal_of_the_node_has_its_status() {
    use CommandErrorCode as Code;
    let table = [
        (Code::NotFound, 404),
        (Code::Ambiguous, 409),
        (Code::TooLarge, 413),
        (Code::Invalid, 400),
        (Code::Conflict, 409),
        (Code::QueueFull, 503),
        (Code::Busy, 503),
        (Code::Unreachable, 504),
        (Code::Storage, 507),
        (Code::Stopping, 503),
    ];
    for (code, status) in table {
        let served = Served::start(Handle::stub(move |_| {
            Err(CommandError::new(code, "not now"))
        }));
        let problem = problem(served.request(Method::GET, "/v1/status")).await;
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (status, code.as_str())
        );
        assert_eq!(problem.detail, "not now");
        let response = served
            .request(Method::GET, "/v1/tasks")
            .send()
            .await
            .unwrap();
        let retry = response
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap());
        let again = matches!(code, Code::QueueFull | Code::Busy);
        assert_eq!(retry, again.then_some("1"), "{code:?}");
        served.stop().await;
    }
}

#[tokio::test]
async fn a_result_before_its_time_is_a_conflict() {
    let refusal = || CommandError::new(CommandErrorCode::Conflict, "the task is still working");
    let served = Served::start(Handle::stub(move |_| Err(refusal())));
    let error = served.client().result(Uuid::nil()).await.unwrap_err();
    let ClientError::Problem { code, status, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((code.as_str(), *status), ("conflict", 409));
    assert_eq!(error.to_string(), "the task is still working");
    served.stop().await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let unknown = problem(served.request(Method::GET, "/v2/tasks")).await;
    assert_eq!(
        (unknown.status, unknown.code.as_str()),
        (404, "no_such_route")
    );
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/tasks", "GET"),
        (Method::POST, "/v1/status", "GET"),
        (Method::GET, "/v1/wake/resumed", "POST"),
    ] {
        let refused = problem(served.request(method.clone(), path)).await;
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (405, "method_not_allowed")
        );
        let response = served.request(method, path).send().await.unwrap();
        assert!(
            response.headers()["allow"]
                .to_str()
                .unwrap()
                .contains(allowed),
            "{path}"
        );
    }
    assert!(asked.all().is_empty());
    served.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_refused_with_what_and_where() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let table = [
        (
            &b"{"[..],
            "invalid_json",
            "send all of it (line 1, column 1)",
        ),
        (b"", "invalid_json", "send all of it"),
        (b"\xff\xfe\x00", "invalid_json", "line 1"),
        (b"[]", "invalid_json", "line 1"),
        (
            br#"{"capability": "wc", "prority": "high"}"#,
            "invalid_json",
            "there is no field `prority`: use `capability`",
        ),
        (
            br#"{"capability": "wc", "priority": "urgent"}"#,
            "invalid_json",
            "priority: `urgent` is not one of the values: use `low`",
        ),
        (
            br#"{"capability": 5}"#,
            "invalid_json",
            "capability: integer `5` does not fit here: send a text",
        ),
        (
            br#"{"capability": "wc"} {}"#,
            "invalid_json",
            "line 1, column 22",
        ),
        (
            br#"{"capability": "wc", "id": "5"}"#,
            "invalid_json",
            "id: it is not a UUID",
        ),
        (
            br#"{"capability": "wc", "deadline_ms": -1}"#,
            "invalid_json",
            "-1",
        ),
        (b"{\"capability\": \"\xff\"}", "invalid_json", "line 1"),
        (br#"{"capability": "a b"}"#, "invalid", "capability"),
        (
            br#"{"capability": "wc", "deadline_ms": 0}"#,
            "invalid",
            "deadline_ms",
        ),
        (
            br#"{"capability": "wc", "deadline_ms": 604800001}"#,
            "invalid",
            "deadline_ms",
        ),
        (
            br#"{"capability": "wc", "input": "QUJD?UJD"}"#,
            "invalid",
            "input: it is no base64 from character 4 on",
        ),
        (
            br#"{"capability": "wc", "input": "", "input_text": ""}"#,
            "invalid",
            "input_text",
        ),
        (br#"{"capability": "wc", "to": "a b"}"#, "invalid", "to:"),
    ];
    for (body, code, words) in table {
        let request = served.request(Method::POST, "/v1/tasks").body(body);
        let problem = problem(request).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, code),
            "{shown}"
        );
        assert!(
            problem.detail.contains(words),
            "{shown}: {}",
            problem.detail
        );
    }
    assert!(asked.all().is_empty());
    served.stop().await;
}

#[tokio::test]
async fn deeply_nested_json_is_refused() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let body = format!(r#"{{"capability": {}"#, "[".repeat(1_000_000));
    let problem = problem(served.request(Method::POST, "/v1/tasks").body(body)).await;
    assert_eq!(problem.code, "invalid_json");
    served.stop().await;
}

#[tokio::test]
async fn values_outside_the_body_are_checked_too() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let id = Uuid::nil();
    for path in [
        "/v1/tasks/5".to_owned(),
        "/v1/tasks/%ff".to_owned(),
        "/v1/tasks/5/result".to_owned(),
        "/v1/wake/5".to_owned(),
        format!("/v1/tasks/{id}?wait_ms=soon"),
        format!("/v1/tasks/{id}?wait_ms=-1"),
        format!("/v1/tasks/{id}?wait=5"),
        format!("/v1/wake/{id}?seen=done"),
        "/v1/registry?capability=a%20b".to_owned(),
        "/v1/registry?capability=%ff".to_owned(),
        "/v1/registry?name=bob".to_owned(),
    ] {
        let problem = problem(served.request(Method::GET, &path)).await;
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, "invalid"),
            "{path}"
        );
    }
    for (path, body) in [
        ("/v1/ping", json!({"peer": "bob", "count": 0})),
        ("/v1/ping", json!({"peer": "bob", "count": 11})),
        ("/v1/ping", json!({"peer": ""})),
        ("/v1/wake", json!({"peer": "a b"})),
    ] {
        let problem = problem(served.request(Method::POST, path).json(&body)).await;
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (400, "invalid"),
            "{path} {body}"
        );
    }
    for body in [
        json!({"capability": "wc", "key": "a b"}),
        json!({"capability": "wc", "key": "k".repeat(129)}),
        json!({"capability": "wc", "start_at": "tomorrow"}),
        json!({"capability": "wc", "start_at": "2030-01-31T12:00:00Z", "delay_ms": 1}),
        json!({"capability": "wc", "delay_ms": -1}),
    ] {
        let problem = problem(served.request(Method::POST, "/v1/tasks").json(&body)).await;
        assert_eq!(problem.status, 400, "{body}");
    }
    let keyed = |key: String, id| {
        let request = served
            .request(Method::POST, "/v1/tasks")
            .header("Idempotency-Key", key);
        request.json(&json!({"capability": "wc", "id": id}))
    };
    let refused = problem(keyed("a key".to_owned(), Uuid::nil())).await;
    assert_eq!(refused.code, "invalid");
    let refused = problem(keyed(Uuid::now_v7().to_string(), Uuid::now_v7())).await;
    assert_eq!(refused.code, "invalid");
    assert!(asked.all().is_empty());
    served.stop().await;
}

#[tokio::test]
async fn another_content_type_is_refused_and_none_is_json() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let post = || {
        served
            .request(Method::POST, "/v1/ping")
            .body(r#"{"peer": "bob"}"#)
    };
    for wrong in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "",
    ] {
        let problem = problem(post().header("content-type", wrong)).await;
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (415, "unsupported_media_type")
        );
    }
    for right in ["application/json", "Application/JSON; charset=utf-8"] {
        let response = post().header("content-type", right).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{right}");
    }
    assert_eq!(post().send().await.unwrap().status(), StatusCode::OK);
    served.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let post = |bytes: usize| {
        let text = format!(r#"{{"peer": "bob"}}{}"#, " ".repeat(bytes - 15));
        served.request(Method::POST, "/v1/ping").body(text)
    };
    assert_eq!(
        post(BODY_MAX_BYTES).send().await.unwrap().status(),
        StatusCode::OK
    );
    for bytes in [BODY_MAX_BYTES + 1, 8 * 1024 * 1024] {
        let problem = problem(post(bytes)).await;
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (413, "body_too_large")
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn a_reply_of_another_command_is_an_internal_error() {
    let served = Served::start(Handle::stub(|_| Ok(Reply::Done)));
    for path in [
        "/v1/status",
        "/v1/peers",
        "/v1/registry",
        "/v1/tasks",
        "/v1/wake",
    ] {
        let problem = problem(served.request(Method::GET, path)).await;
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (500, "internal"),
            "{path}"
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn the_client_tells_what_is_wrong_with_the_other_side() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let base = served.base.clone();
    let wrong = ApiClient::new(&base, "guess")
        .unwrap()
        .status()
        .await
        .unwrap_err();
    assert!(
        matches!(wrong, ClientError::Problem { status: 401, .. }),
        "{wrong}"
    );
    served.stop().await;
    let gone = ApiClient::new(&base, "guess")
        .unwrap()
        .status()
        .await
        .unwrap_err();
    assert_eq!(gone, ClientError::NotRunning);

    // Something answers there that is not a node.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = other.local_addr().unwrap();
    let teapot = axum::Router::new().fallback(|| async { (StatusCode::IM_A_TEAPOT, "short") });
    let task = tokio::spawn(axum::serve(other, teapot).into_future());
    let error = ApiClient::new(addr, "guess")
        .unwrap()
        .status()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not a Junto node"), "{error}");
    task.abort();

    assert!(ApiClient::new("https://127.0.0.1:1", "guess").is_err());
    assert!(ApiClient::new("not an address", "guess").is_err());
    let debug = format!("{:?}", ApiClient::new(addr, "a-secret").unwrap());
    assert!(!debug.contains("a-secret"), "{debug}");
}
