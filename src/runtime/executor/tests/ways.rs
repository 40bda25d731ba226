//! Tasks that no command does: posted to a program, or done in this process.

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn listen() -> (TcpListener, ServeSpec) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serve = posted_to(&listener.local_addr().unwrap().to_string());
    (listener, serve)
}

fn posted_to(addr: &str) -> ServeSpec {
    let url = format!("http://{addr}/work");
    ServeSpec {
        output_max_bytes: 4_096,
        ..ServeSpec::new(ServeHow::Url(url), 60_000)
    }
}

/// Takes one request with a body that ends with `.`.
async fn request(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut said = Vec::new();
    let mut chunk = [0; 4_096];
    while !said.ends_with(b".") {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk[..read]);
    }
    (stream, String::from_utf8(said).unwrap())
}

fn respond(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Bench {
    fn begin(&self, serve: &ServeSpec) {
        self.executor
            .spawn_run(RunId(1), spec(b"the input."), serve, self.sender.clone());
    }

    async fn outcome(&mut self) -> RunOutcome {
        match self.next().await {
            ExecDone::Run { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_input_is_posted_and_the_body_is_the_result() {
    let mut bench = bench(None);
    let (listener, serve) = listen().await;
    bench.begin(&serve);
    let (mut stream, said) = request(&listener).await;
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "the input.");
    assert!(head.starts_with("POST /work HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    for header in [
        "x-junto-task-id: 00000000-0000-0000-0000-00000000abcd",
        "x-junto-capability: wc",
        "x-junto-token: 3",
        "x-junto-timeout-ms: 60000",
        "traceparent: 00-0000000000000000000000000000abcd-",
        &format!("x-junto-requester: {}", EntityId([7; 32])),
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    let answer = respond("200 OK", "the result\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    let result = b"the result\n".to_vec();
    assert_eq!(bench.outcome().await, RunOutcome::Completed { result });
    bench.executor.shutdown().await;
}

/// Says what it may show to the API.
struct Shows(mpsc::Sender<Option<RunAccess>>);

impl Work for Shows {
    fn run(&self, job: WorkJob) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let shown = format!("{job:?}");
            let token = job.api.as_ref().map(|access| access.token.clone());
            assert!(token.is_none_or(|token| !shown.contains(token.as_str())));
            self.0.send(job.api).await.unwrap();
            Ok(Vec::new())
        })
    }
}

#[tokio::test]
async fn a_program_and_a_piece_of_this_process_have_a_pass_until_their_run_has_ended() {
    let mut bench = bench(None);
    let api = "127.0.0.1:9".parse().unwrap();
    bench.executor = bench.executor.with_api(Some(api));
    let passes = bench.executor.passes();
    let key = HeldKey {
        requester: EntityId([7; 32]),
        task: TaskId(uuid::Uuid::from_u128(0xabcd)),
    };
    for delegate in [true, false] {
        let (listener, serve) = listen().await;
        let serve = ServeSpec { delegate, ..serve };
        bench.begin(&serve);
        let (mut stream, said) = request(&listener).await;
        let header = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        let token = header("x-junto-api-token:");
        assert_eq!(header("x-junto-api:").is_some(), delegate);
        let good = |token: &Option<String>| passes.bearer(token.as_ref()?.as_bytes());
        assert_eq!(good(&token), delegate.then_some(key));
        let answer = respond("200 OK", "");
        stream.write_all(answer.as_bytes()).await.unwrap();
        bench.outcome().await;
        assert_eq!(good(&token), None, "the run has ended");

        let (shows, mut shown) = mpsc::channel(1);
        let how = ServeHow::Work(Arc::new(Shows(shows)));
        let serve = ServeSpec {
            delegate,
            ..ServeSpec::new(how, 60_000)
        };
        bench.begin(&serve);
        bench.outcome().await;
        let access = shown.recv().await.unwrap();
        assert_eq!(access.is_some(), delegate);
        let token = access.map(|access| access.token.to_string());
        assert_eq!(good(&token), None);
    }
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_refusal_and_a_broken_answer_fail_the_run_and_are_not_repeated() {
    let mut bench = bench(None);
    for (answer, expected) in [
        (
            respond("422 Unprocessable Entity", "no such file"),
            "answered with 422 Unprocessable Entity: no such file",
        ),
        (
            respond("500 Oops", ""),
            "answered with 500 Internal Server Error",
        ),
        (
            respond("200 OK", &"x".repeat(5_000)),
            "the result is larger than 4 KiB",
        ),
    ] {
        let (listener, serve) = listen().await;
        bench.begin(&serve);
        let (mut stream, _) = request(&listener).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        drop(stream);
        let reason = expected.to_owned();
        assert_eq!(bench.outcome().await, RunOutcome::Failed { reason });
    }
    let (listener, serve) = listen().await;
    bench.begin(&serve);
    let (mut stream, _) = request(&listener).await;
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    stream.write_all(half.as_bytes()).await.unwrap();
    drop(stream);
    assert!(matches!(bench.outcome().await, RunOutcome::Failed { .. }));
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_program_that_is_just_starting_is_tried_again() {
    let mut bench = bench(None);
    let (listener, serve) = listen().await;
    bench.begin(&serve);
    let (mut stream, _) = request(&listener).await;
    let answer = respond("503 Service Unavailable", "");
    stream.write_all(answer.as_bytes()).await.unwrap();
    drop(stream);
    let (mut stream, said) = request(&listener).await;
    assert!(said.ends_with("the input."));
    stream
        .write_all(respond("200 OK", "ok").as_bytes())
        .await
        .unwrap();
    let result = b"ok".to_vec();
    assert_eq!(bench.outcome().await, RunOutcome::Completed { result });
    // Nobody ever listens there: the system gives port 1 to none of the tests beside this one.
    bench.begin(&posted_to("127.0.0.1:1"));
    let RunOutcome::Failed { reason } = bench.outcome().await else {
        panic!("nobody was there")
    };
    assert!(reason.contains("refused"), "{reason}");
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_killed_post_drops_the_connection_and_reports_nothing() {
    let mut bench = bench(None);
    let (listener, serve) = listen().await;
    bench.begin(&serve);
    let (mut stream, _) = request(&listener).await;
    bench.executor.kill(RunId(1));
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PROMPT, stream.read_to_end(&mut rest));
    // A reset says the same as an end.
    let _ = ended.await.expect("dropped long before it would end");
    assert!(bench.done.try_recv().is_err());
    // So does one that takes too long.
    let slow = ServeSpec {
        timeout_ms: 3_000,
        ..serve
    };
    bench.begin(&slow);
    let (mut stream, _) = request(&listener).await;
    let reason = String::from("took longer than 3 s, was dropped");
    assert_eq!(bench.outcome().await, RunOutcome::Failed { reason });
    let _ = stream.read_to_end(&mut rest).await;
    bench.executor.shutdown().await;
}

/// Does what the input says.
struct Told(mpsc::Sender<&'static str>);

/// Says when it is dropped.
struct OnDrop(mpsc::Sender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.try_send("dropped").unwrap();
    }
}

impl Work for Told {
    fn run(&self, job: WorkJob) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        assert_ne!(job.input, b"panic at once");
        let (trace, span) = job
            .traceparent
            .rsplit_once('-')
            .unwrap()
            .0
            .rsplit_once('-')
            .unwrap();
        assert_eq!(trace, "00-0000000000000000000000000000abcd");
        assert_eq!(span.len(), 16);
        Box::pin(async move {
            let _end = OnDrop(self.0.clone());
            match &job.input[..] {
                b"panic" => panic!("as told"),
                b"fail" => Err(String::from("as told")),
                b"wait" => std::future::pending().await,
                b"much" => Ok(vec![0; 101]),
                _ => Ok(format!("{} {} {}", job.capability, job.token.0, job.timeout_ms).into()),
            }
        })
    }
}

#[tokio::test]
async fn work_in_this_process_ends_as_a_command_does() {
    let mut bench = bench(None);
    let (ends, mut ended) = mpsc::channel(16);
    let serve = ServeSpec {
        output_max_bytes: 100,
        ..ServeSpec::new(ServeHow::Work(Arc::new(Told(ends))), 200)
    };
    assert_eq!(format!("{:?}", serve.how), "Work");
    for (input, expected) in [
        (&b"do"[..], Ok("wc 3 200")),
        (b"fail", Err("as told")),
        (b"panic", Err("the worker's code panicked")),
        (b"panic at once", Err("the worker's code panicked")),
        (b"much", Err("the result is larger than 100 bytes")),
        (b"wait", Err("ran longer than 200 ms, was dropped")),
    ] {
        bench
            .executor
            .spawn_run(RunId(1), spec(input), &serve, bench.sender.clone());
        let expected = match expected {
            Ok(result) => RunOutcome::Completed {
                result: result.into(),
            },
            Err(reason) => RunOutcome::Failed {
                reason: reason.into(),
            },
        };
        assert_eq!(bench.outcome().await, expected);
    }
    while ended.try_recv().is_ok() {}
    let serve = ServeSpec {
        timeout_ms: 60_000,
        ..serve
    };
    bench
        .executor
        .spawn_run(RunId(1), spec(b"wait"), &serve, bench.sender.clone());
    tokio::task::yield_now().await;
    bench.executor.kill(RunId(1));
    let dropped = tokio::time::timeout(PATIENCE, ended.recv()).await;
    // Killed before its first step it was never there.
    assert!(matches!(dropped, Ok(Some("dropped"))), "{dropped:?}");
    assert!(bench.done.try_recv().is_err());
    bench.executor.shutdown().await;
}

/// Says how far it is before it ends.
struct Says;

impl Work for Says {
    fn run(&self, job: WorkJob) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            job.say.progress(40, "rea\x1bding\n");
            job.say.output(b"half ");
            job.say.progress(200, "");
            Ok(b"half done".to_vec())
        })
    }
}

#[tokio::test]
async fn a_piece_of_this_process_is_heard_before_it_ends_by_who_asked_for_it() {
    let mut bench = bench(None);
    for (asked, streams) in [(true, true), (true, false), (false, true)] {
        let serve = ServeSpec {
            stream: streams,
            ..ServeSpec::new(ServeHow::Work(Arc::new(Says)), 60_000)
        };
        let spec = RunSpec {
            stream: asked,
            ..spec(b"")
        };
        bench
            .executor
            .spawn_run(RunId(1), spec, &serve, bench.sender.clone());
        let mut heard = Vec::new();
        let outcome = loop {
            let done = tokio::time::timeout(PATIENCE, bench.done.recv()).await;
            match done.expect("in time").expect("somebody tells") {
                ExecDone::Said { said, .. } => heard.push((
                    said.percent,
                    said.note,
                    said.output.map(|part| (part.offset, part.data)),
                )),
                ExecDone::Run { outcome, .. } => break outcome,
                other => panic!("{other:?}"),
            }
        };
        let result = b"half done".to_vec();
        assert_eq!(outcome, RunOutcome::Completed { result });
        let progress = [
            (Some(40), Some(String::from("reading")), None),
            (Some(100), None, None),
        ];
        let output = (None, None, Some((0, b"half ".to_vec())));
        let mut expected = progress.to_vec();
        if streams {
            expected.insert(1, output);
        }
        if !asked {
            expected.clear();
        }
        assert_eq!(heard, expected);
    }
    bench.executor.shutdown().await;
}
