//! Who comes in and who does not.

use axum::Router;
use axum::middleware;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::super::guard::{Guard, limit_time};
use super::*;

const PROTECTED: [(Method, &str); 9] = [
    (Method::GET, "/peers"),
    (Method::GET, "/stats"),
    (Method::GET, "/metrics"),
    (Method::GET, "/openapi.json"),
    (Method::GET, "/v1/status"),
    (Method::POST, "/v1/tasks"),
    (Method::POST, "/v1/wake/resumed"),
    (Method::GET, "/unknown"),
    (Method::GET, "//health"),
];

#[tokio::test]
async fn without_the_token_only_the_open_paths_answer() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    for path in ["/health", "/public-key"] {
        let response = served.bare(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(asked.all().len(), 1);
    let right = served.token.reveal();
    let wrong = ApiToken::generate().unwrap();
    for (method, path) in PROTECTED {
        let offers = [
            None,
            Some(format!("Bearer {}", wrong.reveal())),
            Some(format!("Bearer {}", &right[1..])),
            Some(format!("Basic {right}")),
            Some(right.to_owned()),
            Some("Bearer ".to_owned()),
        ];
        for offer in offers {
            let mut request = served.bare(method.clone(), path);
            if let Some(offer) = offer {
                request = request.header("authorization", offer);
            }
            let problem = problem(request).await;
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (401, "unauthorized"),
                "{path}"
            );
            assert!(!problem.detail.contains(right));
        }
    }
    assert_eq!(asked.all().len(), 1, "the node heard nothing of it");
    let lower = served.bare(Method::GET, "/peers");
    let lower = lower
        .header("authorization", format!("bearer {right}"))
        .send()
        .await
        .unwrap();
    assert_eq!(lower.status(), StatusCode::OK);
    served.stop().await;
}

#[tokio::test]
async fn a_rebound_name_is_refused_even_with_the_token() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let port = served.base.rsplit_once(':').unwrap().1.to_owned();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "10.0.0.1".to_owned(),
    ] {
        for path in ["/v1/status", "/health", "/unknown"] {
            let problem = problem(served.request(Method::GET, path).header("host", &host)).await;
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (421, "host_not_allowed")
            );
        }
    }
    assert!(asked.all().is_empty());
    for host in [
        "localhost".to_owned(),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
    ] {
        let response = served
            .request(Method::GET, "/v1/status")
            .header("host", &host);
        assert_eq!(
            response.send().await.unwrap().status(),
            StatusCode::OK,
            "{host}"
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn a_foreign_origin_is_refused_and_no_cors_header_is_sent() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    for origin in [
        "http://evil.example",
        "null",
        "https://127.0.0.1",
        "http://127.0.0.1:1",
    ] {
        for (method, path) in [(Method::GET, "/health"), (Method::POST, "/v1/tasks")] {
            let request = served.request(method, path).header("origin", origin);
            let problem = problem(request).await;
            assert_eq!(
                (problem.status, problem.code.as_str()),
                (403, "origin_not_allowed")
            );
        }
    }
    let preflight = served.bare(Method::OPTIONS, "/v1/tasks");
    let preflight = preflight
        .header("origin", "http://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), StatusCode::FORBIDDEN);
    assert!(asked.all().is_empty());

    let same = served
        .request(Method::GET, "/v1/status")
        .header("origin", &served.base);
    let same = same.send().await.unwrap();
    assert_eq!(same.status(), StatusCode::OK);
    let cors = |name: &axum::http::HeaderName| name.as_str().starts_with("access-control");
    assert!(!same.headers().keys().any(cors) && !preflight.headers().keys().any(cors));
    served.stop().await;
}

/// Sends bytes as they are and returns the status line of the answer.
async fn raw(served: &Served, request: &str) -> String {
    let addr = served.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn odd_requests_are_refused_not_guessed() {
    let (handle, asked) = played();
    let served = Served::start(handle);
    let close = "Connection: close\r\n\r\n";
    for (head, status) in [
        ("GET /health HTTP/1.1\r\n".to_owned(), " 421 "),
        (
            "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n".to_owned(),
            " 421 ",
        ),
        (
            "GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
            " 421 ",
        ),
        (
            "GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
            " 200 ",
        ),
        (
            "GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: \u{e9}\r\n".to_owned(),
            " 403 ",
        ),
        (
            format!(
                "GET /peers HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {0}\r\n\
                 Authorization: Bearer {0}\r\n",
                served.token.reveal()
            ),
            " 401 ",
        ),
    ] {
        let line = raw(&served, &format!("{head}{close}")).await;
        assert!(line.contains(status), "{head:?}: {line}");
    }
    assert!(asked.all().is_empty());
    served.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_or_hangs_costs_one_request() {
    async fn broken() -> &'static str {
        panic!("a test's own panic")
    }
    let limit = middleware::from_fn_with_state(Duration::from_millis(50), limit_time);
    let routes = Router::new()
        .route("/health", get(broken))
        .route("/public-key", get(std::future::pending::<()>).layer(limit));
    let server = ApiServer::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let addr = server.local_addr();
    let guarded = Guard::new(ApiToken::generate().unwrap(), addr).around(routes);
    let stop = CancellationToken::new();
    let shutdown = stop.clone().cancelled_owned();
    let ended =
        tokio::spawn(server.serve_routes(guarded, CancellationToken::new(), shutdown, SOON));
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(SOON)
        .build()
        .unwrap();
    let panicked = problem(http.get(format!("http://{addr}/health"))).await;
    assert_eq!((panicked.status, panicked.code.as_str()), (500, "internal"));
    let hung = problem(http.get(format!("http://{addr}/public-key"))).await;
    assert_eq!((hung.status, hung.code.as_str()), (504, "timeout"));
    stop.cancel();
    tokio::time::timeout(SOON, ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_word() {
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = ApiServer::bind(open.parse().unwrap(), false).unwrap_err();
        assert!(matches!(error, ApiError::NotLoopback(_)), "{error}");
    }
    let taken = ApiServer::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let error = ApiServer::bind(taken.local_addr(), false).unwrap_err();
    assert!(matches!(error, ApiError::InUse(_)), "{error}");
    assert!(error.to_string().contains("in use by another program"));
    assert!(ApiServer::bind("127.0.0.1:0".parse().unwrap(), true).is_ok());
}

#[tokio::test]
async fn a_request_that_hangs_does_not_hold_up_shutdown() {
    let reached = Arc::new(tokio::sync::Notify::new());
    let signal = Arc::clone(&reached);
    let hang = move || {
        signal.notify_one();
        std::future::pending::<()>()
    };
    let server = ApiServer::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let addr = server.local_addr();
    let (stop, limit) = (CancellationToken::new(), Duration::from_millis(50));
    let routes = Router::new().route("/", get(hang));
    let shutdown = stop.clone().cancelled_owned();
    let ended =
        tokio::spawn(server.serve_routes(routes, CancellationToken::new(), shutdown, limit));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    tokio::time::timeout(SOON, reached.notified())
        .await
        .unwrap();
    stop.cancel();
    tokio::time::timeout(SOON, ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
