//! `ping`, `alive`, `wake` and `restart`: one peer, and whether it answers.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::args::{priority, span_ms, wake_reason};
use super::client::connect;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::api::body::{WakeBody, WakeRequestBody};
use crate::api::client::{ApiClient, ClientError};
use crate::config::Home;
use crate::proto::node::{PeerRef, Priority, WakeView};
use crate::runtime::RESTART_ATTEMPTS_MAX;

/// One question for the next phase; the rest of the time is asked for again.
const PHASE_WAIT_MAX: Duration = Duration::from_secs(20);
/// Between two questions that got the same answer.
const PHASE_PAUSE_MIN: Duration = Duration::from_millis(200);
/// Between two attempts to restart an agent; doubles.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto ping alice --count 10")]
pub(super) struct PingArgs {
    /// A unique name, a peer id or an entity id, or a part of either.
    peer: PeerRef,
    /// How often.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=10))]
    count: u8,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto wake alice --reason 'the build is ready'")]
pub(super) struct WakeArgs {
    /// A unique name, a peer id or an entity id, or a part of either.
    peer: PeerRef,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto restart alice --reason 'it hangs since noon'")]
pub(super) struct RestartArgs {
    /// A unique name, a peer id or an entity id, or a part of either.
    peer: PeerRef,
    /// How often to try until the agent is back.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(RESTART_ATTEMPTS_MAX)))]
    attempts: u32,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, Args)]
struct CallArgs {
    /// What the agent gets to read.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = wake_reason)]
    reason: String,
    /// How urgent it is: low, normal, high or critical.
    #[arg(long, default_value = "high", hide_possible_values = true, value_parser = priority())]
    priority: Priority,
    /// How long to watch until the agent resumed.
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = span_ms)]
    timeout: u64,
}

impl CallArgs {
    fn body(&self, peer: &PeerRef, request: WakeRequestBody) -> WakeBody {
        WakeBody {
            peer: peer.to_string(),
            reason: self.reason.clone(),
            priority: self.priority,
            request,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto alive alice && echo 'alice is there'")]
pub(super) struct AliveArgs {
    /// A unique name, a peer id or an entity id, or a part of either.
    peer: PeerRef,
}

/// Measures round trips.
pub(super) async fn ping(home: &Home, args: PingArgs, json: bool) -> Outcome {
    let pong = connect(home)?
        .ping(&args.peer.to_string(), args.count)
        .await?;
    if json {
        output::json(&pong)?;
    } else {
        for rtt_us in &pong.rtt_us {
            output::line(&format!("{}: {}", pong.peer_id, show_us(*rtt_us)))?;
        }
        if let (Some(min), Some(max)) = (pong.rtt_us.iter().min(), pong.rtt_us.iter().max()) {
            output::line(&format!(
                "fastest {}, slowest {}",
                show_us(*min),
                show_us(*max)
            ))?;
        }
    }
    Ok(Exit::Done)
}

pub(super) fn show_us(us: u64) -> String {
    format!("{}.{:03} ms", us / 1_000, us % 1_000)
}

/// The document of `wake --json`.
#[derive(Serialize)]
struct WakeReport<'a> {
    id: &'a str,
    phase: &'a str,
    elapsed_ms: u64,
}

/// Looks whether a peer is there.
pub(super) async fn alive(home: &Home, args: AliveArgs, json: bool) -> Outcome {
    let view = connect(home)?.alive(&args.peer.to_string()).await?;
    if json {
        output::json(&view)?;
    } else {
        let answer = match view.rtt_us {
            Some(rtt_us) => format!("answered in {}", show_us(rtt_us)),
            None => String::from("no answer"),
        };
        output::line(&format!("{}: {}, {answer}", args.peer, view.peer.state))?;
    }
    if view.alive {
        return Ok(Exit::Done);
    }
    let why = format!("{} could not be reached, or did not answer", args.peer);
    Err(Failure::new(Exit::Unreachable, why))
}

/// Wakes, and follows the phases to the last one.
pub(super) async fn wake(home: &Home, args: WakeArgs, json: bool) -> Outcome {
    let client = connect(home)?;
    let body = args.call.body(&args.peer, WakeRequestBody::Resume);
    let view = follow(&client, &body, args.call.timeout, json).await?;
    report(&view, &args.peer, json)
}

/// Asks for a restart until it has come about or was refused.
pub(super) async fn restart(home: &Home, args: RestartArgs, json: bool) -> Outcome {
    let client = connect(home)?;
    let body = args.call.body(&args.peer, WakeRequestBody::Restart);
    let mut pause = RESTART_PAUSE;
    for attempt in 1..args.attempts {
        let view = follow(&client, &body, args.call.timeout, json).await?;
        let passes =
            !is_last(&view.phase) || matches!(view.phase.as_str(), "failed" | "undelivered");
        if !passes {
            return report(&view, &args.peer, json);
        }
        let (left, phase) = (args.attempts - attempt, view.phase.replace('_', " "));
        eprintln!(
            "{phase}: trying again in {} s, {left} more",
            pause.as_secs()
        );
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    let view = follow(&client, &body, args.call.timeout, json).await?;
    report(&view, &args.peer, json)
}

fn report(view: &WakeView, peer: &PeerRef, json: bool) -> Outcome {
    if json {
        let WakeView {
            id,
            phase,
            elapsed_ms,
            ..
        } = view;
        output::json(&WakeReport {
            id,
            phase,
            elapsed_ms: *elapsed_ms,
        })?;
    }
    conclude(view, peer)
}

/// Sends one wake-up and tells its phases until the last, or until `timeout_ms` is over.
async fn follow(
    client: &ApiClient,
    body: &WakeBody,
    timeout_ms: u64,
    json: bool,
) -> Result<WakeView, Failure> {
    let end = Instant::now() + Duration::from_millis(timeout_ms);
    let mut view = client.wake(body).await?;
    let mut told = 0;
    loop {
        // Phases may follow one another faster than we ask: all of them are told.
        for passed in view.phases.iter().skip(told) {
            tell(&passed.phase, passed.elapsed_ms, json)?;
        }
        told = view.phases.len();
        let left = end.saturating_duration_since(Instant::now());
        if is_last(&view.phase) || left.is_zero() {
            return Ok(view);
        }
        view = next_phase(client, view, left.min(PHASE_WAIT_MAX)).await?;
    }
}

/// The wake-up's next phase, or what is known when none came within `wait`.
async fn next_phase(
    client: &ApiClient,
    view: WakeView,
    wait: Duration,
) -> Result<WakeView, Failure> {
    let asked = Instant::now();
    let next = match client.wake_phase(&view.id, &view.phase, wait).await {
        Ok(next) => next,
        Err(ClientError::Timeout) => view.clone(),
        Err(error) => return Err(error.into()),
    };
    if next.phase == view.phase {
        // A node that answers early must not be asked in a tight loop.
        tokio::time::sleep_until(asked + PHASE_PAUSE_MIN.min(wait)).await;
    }
    Ok(next)
}

fn tell(phase: &str, elapsed_ms: u64, json: bool) -> std::io::Result<()> {
    let text = format!("{elapsed_ms:>7} ms  {}", phase.replace('_', " "));
    if json {
        eprintln!("{}", output::clean(&text));
        return Ok(());
    }
    output::line(&text)
}

fn is_last(phase: &str) -> bool {
    !matches!(phase, "sending" | "delivered" | "hook_started")
}

/// What a phase nothing followed means to the caller.
fn conclude(view: &WakeView, peer: &PeerRef) -> Outcome {
    let restarts = view.request == "restart";
    let said = view.peer_code.as_deref();
    let (exit, why) = match view.phase.as_str() {
        "resumed" | "already_awake" => return Ok(Exit::Done),
        "sending" | "undelivered" if said.is_some() => (
            Exit::Unreachable,
            format!(
                "{peer} refused the wake-up with {}",
                said.unwrap_or_default()
            ),
        ),
        "sending" | "undelivered" => (
            Exit::Unreachable,
            format!("{peer} could not be reached: nothing was delivered"),
        ),
        "delivered" => (
            Exit::Unreachable,
            format!("{peer} has the wake-up, but its agent did not resume in time"),
        ),
        "hook_started" => (
            Exit::Unreachable,
            format!("{peer} started its hook, but its agent did not resume in time"),
        ),
        "failed" => (Exit::Failed, format!("the hook of {peer} failed")),
        "rate_limited" => (
            Exit::Failed,
            format!("{peer} was woken too often lately: try again later"),
        ),
        "not_allowed" if restarts => (
            Exit::Failed,
            format!("{peer} does not let this node restart its agent, or has no hook for it"),
        ),
        "not_allowed" => (
            Exit::Failed,
            format!("{peer} does not let this node wake it"),
        ),
        other => (
            Exit::Failed,
            format!("the wake-up of {peer} ended as {other}"),
        ),
    };
    let failure = Failure::new(exit, why);
    if view.manual_check_needed {
        return Err(failure.hint(format!("manual check needed: look at {peer} itself")));
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_gives_the_status_of_the_interface() {
        let peer: PeerRef = "bob".parse().expect("a name");
        let status = |phase: &str| {
            conclude(&view(phase), &peer)
                .unwrap_or_else(|failure| failure.exit)
                .status()
        };
        for (phase, expected) in [
            ("resumed", 0),
            ("already_awake", 0),
            ("failed", 1),
            ("rate_limited", 1),
            ("not_allowed", 1),
            ("undelivered", 4),
            ("sending", 4),
            ("delivered", 4),
            ("hook_started", 4),
        ] {
            assert_eq!(status(phase), expected, "{phase}");
        }
    }

    fn view(phase: &str) -> WakeView {
        WakeView {
            id: String::from("1"),
            peer: String::from("bob"),
            reason: String::new(),
            priority: Priority::High,
            request: String::from("restart"),
            phase: phase.to_owned(),
            elapsed_ms: 1,
            phases: Vec::new(),
            manual_check_needed: true,
            peer_code: None,
        }
    }

    #[test]
    fn what_the_peer_said_when_it_refused_is_told() {
        let peer: PeerRef = "bob".parse().expect("a name");
        let refused = WakeView {
            peer_code: Some(String::from("ENCRYPTION_REQUIRED")),
            ..view("undelivered")
        };
        let failure = conclude(&refused, &peer).expect_err("it was not delivered");
        assert_eq!(failure.exit.status(), 4);
        assert!(failure.message().contains("ENCRYPTION_REQUIRED"));
    }

    #[test]
    fn only_three_phases_are_followed_by_others() {
        for phase in ["sending", "delivered", "hook_started"] {
            assert!(!is_last(phase));
        }
        for phase in [
            "resumed",
            "already_awake",
            "rate_limited",
            "failed",
            "undelivered",
        ] {
            assert!(is_last(phase));
        }
    }

    #[test]
    fn round_trips_are_shown_in_milliseconds() {
        assert_eq!(show_us(1_234), "1.234 ms");
        assert_eq!(show_us(7), "0.007 ms");
    }
}
