//! Tasks that agents fetch: what a claim is good for, and for how long.

use uuid::Uuid;

use super::*;

/// What stands for an outcome.
const SAID: [u8; 32] = [7; 32];

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

fn ask(max: usize, lease: Duration) -> Ask {
    Ask {
        capabilities: None,
        max,
        lease,
    }
}

fn pulled(timeout_ms: u64) -> ServeSpec {
    ServeSpec {
        output_max_bytes: 100,
        ..ServeSpec::new(ServeHow::Pull, timeout_ms)
    }
}

impl Bench {
    fn wait_for_agents(&self, run: u64, timeout_ms: u64) {
        let spec = RunSpec {
            task_id: TaskId(Uuid::from_u128(u128::from(run))),
            ..spec(format!("input {run}").as_bytes())
        };
        let (serve, done) = (pulled(timeout_ms), self.sender.clone());
        self.executor.spawn_run(RunId(run), spec, &serve, done);
    }

    async fn claimed(&self, lease: Duration) -> Claimed {
        let (desk, ask) = (self.executor.desk(), ask(1, lease));
        let claimed = tokio::time::timeout(PATIENCE, desk.claim(&ask)).await;
        let [one] = &claimed.unwrap().unwrap()[..] else {
            panic!("one was asked for")
        };
        one.clone()
    }

    async fn reason(&mut self) -> String {
        match self.next().await {
            ExecDone::Run {
                outcome: RunOutcome::Failed { reason },
                ..
            } => reason,
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until no run is under way.
async fn over(bench: &Bench) {
    let until = Instant::now() + PATIENCE;
    while !bench.executor.tasks.is_empty() {
        assert!(Instant::now() < until, "a run goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_oldest_go_first_and_each_to_one_agent() {
    let bench = bench(None);
    for run in 1..=5 {
        bench.wait_for_agents(run, 60_000);
    }
    let desk = bench.executor.desk();
    let first = bench.claimed(LONG).await;
    assert_eq!(first.task_id, TaskId(Uuid::from_u128(1)));
    assert_eq!(first.input, b"input 1");
    // All have begun once the last is seen.
    let mut seen = vec![];
    while seen.len() < 4 {
        let more = desk.claim(&ask(3, LONG)).await.unwrap();
        assert!(more.len() <= 3);
        seen.extend(more.into_iter().map(|claimed| claimed.task_id.0.as_u128()));
    }
    assert_eq!(seen, [2, 3, 4, 5]);
    assert!(desk.claim_now(&ask(16, LONG)).is_empty());
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn only_what_nobody_claimed_is_given_back() {
    let mut bench = bench(None);
    bench.wait_for_agents(1, 60_000);
    let taken = bench.claimed(LONG).await;
    bench.wait_for_agents(2, 60_000);
    // Both are asked back, again and again: the second may not have come to the desk yet.
    let returned = loop {
        bench.executor.recall(RunId(1));
        bench.executor.recall(RunId(2));
        if let Ok(ended) = tokio::time::timeout(SHORT, bench.next()).await {
            break ended;
        }
    };
    let ExecDone::Run { run, outcome } = returned else {
        panic!("{returned:?}")
    };
    assert_eq!((run, outcome), (RunId(2), RunOutcome::Returned));
    let desk = bench.executor.desk();
    assert!(desk.claim_now(&ask(16, LONG)).is_empty());
    desk.extend(taken.task_id, taken.claim, LONG).unwrap();
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn only_what_is_asked_for_is_given() {
    let bench = bench(None);
    bench.wait_for_agents(1, 60_000);
    let other = Ask {
        capabilities: Some(["other".parse().unwrap()].into()),
        ..ask(1, LONG)
    };
    let desk = bench.executor.desk();
    let waits = tokio::time::timeout(SHORT, desk.claim(&other)).await;
    assert!(waits.is_err(), "nobody has that");
    let this = Ask {
        capabilities: Some(["wc".parse().unwrap(), "other".parse().unwrap()].into()),
        ..ask(1, LONG)
    };
    assert_eq!(desk.claim(&this).await.unwrap().len(), 1);
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_run_that_three_agents_left_has_failed() {
    let mut bench = bench(None);
    bench.wait_for_agents(1, 60_000);
    let mut claims = vec![];
    for _ in 0..3 {
        claims.push(bench.claimed(SHORT).await.claim);
    }
    let reason = bench.reason().await;
    assert!(reason.starts_with("3 agents claimed it"), "{reason}");
    let (desk, task) = (bench.executor.desk(), TaskId(Uuid::from_u128(1)));
    for claim in claims {
        assert_eq!(desk.extend(task, claim, LONG), Err(ClaimError::Lapsed));
        let ended = desk.begin_end(task, claim, 0, SAID);
        assert_eq!(ended, Err(ClaimError::Lapsed));
    }
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_pass_is_good_as_long_as_its_claim() {
    let mut bench = bench(None);
    let api = "127.0.0.1:9".parse().unwrap();
    bench.executor = bench.executor.with_api(Some(api));
    let passes = bench.executor.passes();
    let serve = ServeSpec {
        delegate: true,
        ..pulled(60_000)
    };
    let sender = bench.sender.clone();
    { &bench.executor }.spawn_run(RunId(1), spec(b"x"), &serve, sender);
    let good = |claimed: &Claimed| {
        let access = claimed.api.as_ref().unwrap();
        assert!(!format!("{claimed:?}").contains(access.token.as_str()));
        passes.bearer(access.token.as_bytes()).is_some()
    };
    let first = bench.claimed(Duration::from_secs(2)).await;
    assert!(good(&first));
    let second = bench.claimed(LONG).await;
    assert!(!good(&first), "it lapsed");
    assert!(good(&second));
    let desk = bench.executor.desk();
    desk.begin_end(second.task_id, second.claim, 0, SAID)
        .unwrap();
    assert!(good(&second), "it is not kept yet");
    desk.settle(RunId(1), Settled::Kept);
    assert!(!good(&second));
    bench.wait_for_agents(2, 60_000);
    assert_eq!(bench.claimed(LONG).await.api, None, "it may not");
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn an_extended_claim_holds_and_the_task_s_own_time_is_the_end() {
    let mut bench = bench(None);
    const LEASE: Duration = Duration::from_secs(2);
    bench.wait_for_agents(1, 6_000);
    let claimed = bench.claimed(LEASE).await;
    assert!(claimed.timeout_ms <= 6_000);
    let desk = bench.executor.desk();
    for _ in 0..4 {
        tokio::time::sleep(LEASE / 3).await;
        let extended = desk.extend(claimed.task_id, claimed.claim, LEASE);
        assert_eq!(extended, Ok(RunId(1)));
    }
    assert!(desk.claim_now(&ask(1, LONG)).is_empty(), "it never lapsed");
    assert!(desk.extend(claimed.task_id, claimed.claim, LONG).is_ok());
    assert_eq!(bench.reason().await, "it was not done within 6 s");
    let late = desk.extend(claimed.task_id, claimed.claim, LONG);
    assert_eq!(late, Err(ClaimError::Gone));
    bench.wait_for_agents(2, 50);
    assert_eq!(
        bench.reason().await,
        "it was claimed by no agent within 50 ms"
    );
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn an_outcome_stays_the_agent_s_until_the_core_has_it() {
    let mut bench = bench(None);
    bench.wait_for_agents(1, 60_000);
    let Claimed { claim, task_id, .. } = bench.claimed(LONG).await;
    let desk = bench.executor.desk();
    let other = TaskId(Uuid::from_u128(9));
    assert_eq!(
        desk.begin_end(other, claim, 0, SAID),
        Err(ClaimError::Lapsed)
    );
    let large = desk.begin_end(task_id, claim, 101, SAID);
    assert_eq!(large, Err(ClaimError::TooLarge(100)));
    assert_eq!(desk.begin_end(task_id, claim, 100, SAID), Ok(RunId(1)));
    // Not twice at once.
    let again = desk.begin_end(task_id, claim, 100, SAID);
    assert_eq!(again, Err(ClaimError::Ending), "the first is being kept");
    // The disk refused: it may be said again.
    desk.settle(RunId(1), Settled::Again);
    assert_eq!(desk.begin_end(task_id, claim, 100, SAID), Ok(RunId(1)));
    desk.settle(RunId(1), Settled::Kept);
    assert_eq!(
        desk.begin_end(task_id, claim, 100, SAID),
        Err(ClaimError::Kept)
    );
    let other = desk.begin_end(task_id, claim, 100, [8; 32]);
    assert_eq!(other, Err(ClaimError::Otherwise));
    assert!(desk.claim_now(&ask(1, LONG)).is_empty());
    over(&bench).await;
    assert!(bench.done.try_recv().is_err(), "the core has its outcome");
    bench.executor.shutdown().await;
}

#[tokio::test]
async fn a_killed_run_is_gone_for_its_agent_and_for_the_next() {
    let bench = bench(None);
    bench.wait_for_agents(1, 60_000);
    bench.wait_for_agents(2, 60_000);
    let claimed = bench.claimed(LONG).await;
    bench.executor.kill(RunId(1));
    bench.executor.kill(RunId(2));
    over(&bench).await;
    let desk = bench.executor.desk();
    let said = desk.extend(claimed.task_id, claimed.claim, LONG);
    assert_eq!(said, Err(ClaimError::Gone));
    assert!(desk.claim_now(&ask(2, LONG)).is_empty());
    bench.executor.shutdown().await;
}
