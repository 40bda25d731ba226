//! Inputs and results that are too large for a message.

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use futures::future::BoxFuture;
use tokio::net::TcpListener;

use super::*;
use crate::runtime::FilesConfig;
use crate::types::{FileRef, PayloadFile};

const INPUT_BYTES: usize = 3 * RESULT_MAX_BYTES + 17;
const OUTPUT_MAX: usize = 8 * RESULT_MAX_BYTES;

/// A worker with a folder of payloads, in which the input lies.
struct Large {
    bench: Bench,
    dir: tempfile::TempDir,
    input: Vec<u8>,
    file: PayloadFile,
}

fn large() -> Large {
    let dir = tempfile::tempdir().unwrap();
    let payloads = dir.path().join("payloads");
    std::fs::create_dir(&payloads).unwrap();
    let input: Vec<u8> = (0..INPUT_BYTES).map(|n| (n * 7 % 251) as u8).collect();
    let file = uuid::Uuid::from_u128(1);
    std::fs::write(payloads.join(file.to_string()), &input).unwrap();
    let files = FilesConfig {
        incoming: dir.path().join("incoming"),
        payloads,
        keep_free_bytes: 0,
    };
    let mut bench = bench(None);
    let folder = PayloadFolder::new(&files, OUTPUT_MAX as u64);
    bench.executor = Executor::start(None, None).with_payloads(folder);
    let size = input.len() as u64;
    Large {
        bench,
        dir,
        input,
        file: PayloadFile { file, size },
    }
}

impl Large {
    async fn outcome(&mut self, how: ServeHow, output_max_bytes: usize) -> RunOutcome {
        let serve = ServeSpec {
            output_max_bytes,
            ..ServeSpec::new(how, 60_000)
        };
        let spec = RunSpec {
            input_file: Some(self.file),
            ..spec(b"")
        };
        let done = self.bench.sender.clone();
        self.bench.executor.spawn_run(RunId(1), spec, &serve, done);
        match self.bench.next().await {
            ExecDone::Run { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn read(&self, file: uuid::Uuid) -> Vec<u8> {
        let path = self.dir.path().join("payloads").join(file.to_string());
        std::fs::read(path).unwrap()
    }

    /// The input came back whole, as a file.
    fn assert_same(&self, outcome: RunOutcome) {
        let RunOutcome::CompletedFile { content, file } = outcome else {
            panic!("it is too large for a message: {outcome:?}");
        };
        let expected = FileRef {
            root: *blake3::hash(&self.input).as_bytes(),
            size: self.input.len() as u64,
        };
        assert_eq!(content, expected);
        assert!(self.read(file.unwrap()) == self.input);
    }
}

fn command(command: &str) -> ServeHow {
    ServeHow::Command(CommandSpec {
        command: command.to_owned(),
        ..CommandSpec::default()
    })
}

#[tokio::test]
async fn a_command_reads_a_file_and_writes_one() {
    let mut large = large();
    let outcome = large.outcome(command("cat"), OUTPUT_MAX).await;
    large.assert_same(outcome);
    let outcome = large.outcome(command("wc -c"), OUTPUT_MAX).await;
    let result = format!("{INPUT_BYTES}\n").into_bytes();
    assert_eq!(outcome, RunOutcome::Completed { result });
}

#[tokio::test]
async fn more_than_a_capability_may_give_leaves_no_file() {
    let mut large = large();
    let outcome = large.outcome(command("cat"), 2 * RESULT_MAX_BYTES).await;
    let RunOutcome::Failed { reason } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(reason, "the result is larger than 2 MiB");
    let failing = large.outcome(command("cat; exit 3"), OUTPUT_MAX).await;
    assert!(matches!(failing, RunOutcome::Failed { .. }));
    let files = large.dir.path().join("payloads");
    assert_eq!(std::fs::read_dir(files).unwrap().count(), 1, "the input");
}

#[tokio::test]
async fn a_program_that_is_posted_to_gets_a_file_and_gives_one() {
    let mut large = large();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let echo = Router::new().route("/", post(|body: Body| async move { body }));
    let serving = tokio::spawn(async move { axum::serve(listener, echo).await });
    let outcome = large.outcome(ServeHow::Url(url), OUTPUT_MAX).await;
    large.assert_same(outcome);
    serving.abort();
}

struct Echo;

impl Work for Echo {
    fn run(&self, job: WorkJob) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        let path = job.input_file.expect("it is large");
        Box::pin(async move { std::fs::read(path).map_err(|error| error.to_string()) })
    }
}

#[tokio::test]
async fn a_piece_of_this_process_gets_a_file_and_gives_one() {
    let mut large = large();
    let outcome = large
        .outcome(ServeHow::Work(Arc::new(Echo)), OUTPUT_MAX)
        .await;
    large.assert_same(outcome);
}
