//! The job of the demo: every page is counted by a worker, and one worker is killed at it.
//!
//! Nothing is staged: who is killed is known only when ada's own records say that it works on a
//! page at that moment, and the outcome is read from the same records.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::time::sleep;

use super::super::TestnetError;
use super::super::fleet::Fleet;
use super::super::screen::duration;
use super::cast::{CAPABILITY, NAMES, name_of, player};
use super::failed;
use super::pages::{PAGES, Page};
use super::tale::Tale;
use crate::api::body::SubmitBody;
use crate::api::client::ApiClient;
use crate::proto::node::{AttemptView, TaskState, TaskView};

const JOB_TIMEOUT: Duration = Duration::from_secs(180);
const DEATH_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(60);

/// One page and the task that counts it.
struct Piece {
    page: &'static Page,
    view: TaskView,
    /// Whether a worker had it at the last look.
    was_working: bool,
}

impl Piece {
    /// The attempt that a worker is busy with, as the requester's records have it.
    fn working(&self) -> Option<&AttemptView> {
        let last = self
            .view
            .attempts
            .last()
            .filter(|attempt| attempt.outcome == "working");
        last.filter(|_| self.view.state == TaskState::Working)
    }
}

/// The worker that was killed, and what became of its page.
pub(super) struct Victim {
    pub name: String,
    pub page: &'static str,
    pub task: String,
    token: u64,
    killed_at: Instant,
    /// From the kill until the lease was over.
    pub lease_lost: Option<Duration>,
    /// Who counted the page in the end.
    pub heir: Option<String>,
}

/// One line of the table at the end.
#[derive(Debug, Serialize)]
pub(super) struct Count {
    pub page: &'static str,
    pub words: usize,
    pub worker: String,
    pub attempts: usize,
}

/// What the job came to.
pub(super) struct Job {
    pub counts: Vec<Count>,
    pub victim: Victim,
    pub took: Duration,
}

/// Shares the pages out, kills a worker in the middle, and checks every result.
pub(super) async fn share_out(fleet: &mut Fleet, tale: &Tale) -> Result<Job, TestnetError> {
    let begun = Instant::now();
    let ada = player(fleet, NAMES[0])?.0.clone();
    let mut pieces = submit(&ada).await?;
    tale.open_bar(pieces.len());
    let mut victim: Option<Victim> = None;
    loop {
        look(&ada, &mut pieces).await?;
        match &mut victim {
            None => victim = strike(fleet, &ada, &mut pieces, tale).await?,
            Some(victim) => follow(victim, fleet, &pieces, tale),
        }
        let done = pieces
            .iter()
            .filter(|piece| piece.view.state.is_terminal())
            .count();
        let busy = pieces
            .iter()
            .filter(|piece| piece.working().is_some())
            .count();
        tale.step(done, format!("{busy} in work"));
        if done == pieces.len() {
            break;
        }
        if begun.elapsed() >= JOB_TIMEOUT {
            let left = pieces.len() - done;
            return Err(failed(format!(
                "{left} pages were not counted in {}",
                duration(JOB_TIMEOUT)
            )));
        }
        sleep(LOOK_EVERY).await;
    }
    tale.close_bar();
    let victim =
        victim.ok_or_else(|| failed("no worker was caught at work, so none was killed"))?;
    let counts = collect(fleet, &ada, &pieces).await?;
    check_handed_over(&victim, &pieces)?;
    Ok(Job {
        counts,
        victim,
        took: begun.elapsed(),
    })
}

async fn submit(ada: &ApiClient) -> Result<Vec<Piece>, TestnetError> {
    let mut pieces = Vec::new();
    for page in PAGES {
        let task = SubmitBody::new(CAPABILITY, page.text.as_bytes());
        let view = ada.submit(&task).await.map_err(failed)?;
        pieces.push(Piece {
            page,
            view,
            was_working: false,
        });
    }
    Ok(pieces)
}

/// Reads ada's records of all pages that are not done.
async fn look(ada: &ApiClient, pieces: &mut [Piece]) -> Result<(), TestnetError> {
    for piece in pieces
        .iter_mut()
        .filter(|piece| !piece.view.state.is_terminal())
    {
        piece.was_working = piece.working().is_some();
        piece.view = ada.task(&piece.view.id).await.map_err(failed)?;
    }
    Ok(())
}

/// Kills a worker that has just begun a page, once at least two are at work. Just begun, because
/// it must still be at it when the blow falls.
async fn strike(
    fleet: &mut Fleet,
    ada: &ApiClient,
    pieces: &mut [Piece],
    tale: &Tale,
) -> Result<Option<Victim>, TestnetError> {
    if pieces
        .iter()
        .filter(|piece| piece.working().is_some())
        .count()
        < 2
    {
        return Ok(None);
    }
    let fresh = |piece: &&mut Piece| piece.working().is_some() && !piece.was_working;
    let Some(piece) = pieces.iter_mut().rfind(fresh) else {
        return Ok(None);
    };
    piece.view = ada.task(&piece.view.id).await.map_err(failed)?;
    let Some(attempt) = piece.working().cloned() else {
        return Ok(None);
    };
    let name = name_of(fleet, &attempt.worker)
        .ok_or_else(|| failed("a page is with a worker that nobody knows"))?;
    kill(fleet, &name).await?;
    let victim = Victim {
        name,
        page: piece.page.name,
        task: piece.view.id.clone(),
        token: attempt.token,
        killed_at: Instant::now(),
        lease_lost: None,
        heir: None,
    };
    // It counts only if the page was not handed in with the last breath.
    piece.view = ada.task(&piece.view.id).await.map_err(failed)?;
    let had_it = piece
        .view
        .attempts
        .iter()
        .any(|attempt| attempt.token == victim.token && attempt.outcome != "completed");
    if !had_it {
        return Err(failed(format!(
            "{} was done before it could be killed",
            victim.name
        )));
    }
    tale.bad(&format!(
        "kill -9 {}, in the middle of {}.",
        victim.name, victim.page
    ));
    tale.line(&format!(
        "Nobody tells ada. {} holds a lease on the page and can renew it no more.",
        victim.name
    ));
    Ok(Some(victim))
}

/// `kill -9`, and the proof that the process is gone.
async fn kill(fleet: &mut Fleet, name: &str) -> Result<(), TestnetError> {
    let node = fleet
        .nodes_mut()
        .iter_mut()
        .find(|node| node.name() == name);
    let node = node.ok_or_else(|| failed(format!("{name} is not there")))?;
    node.signal(Signal::SIGKILL);
    let deadline = Instant::now() + DEATH_TIMEOUT;
    while node.bury().is_none() {
        if Instant::now() >= deadline {
            return Err(failed(format!("{name} survived a kill -9")));
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Tells when the lease has run out and when the page is in other hands.
fn follow(victim: &mut Victim, fleet: &Fleet, pieces: &[Piece], tale: &Tale) {
    let Some(piece) = pieces.iter().find(|piece| piece.view.id == victim.task) else {
        return;
    };
    let attempts = &piece.view.attempts;
    let ended = |attempt: &AttemptView| attempt.token == victim.token && attempt.ended.is_some();
    if victim.lease_lost.is_none() && attempts.iter().any(ended) {
        let after = victim.killed_at.elapsed();
        victim.lease_lost = Some(after);
        tale.line(&format!(
            "{} later the lease has run out: the page is free again.",
            duration(after)
        ));
    }
    let taken = |attempt: &&AttemptView| {
        attempt.token > victim.token && matches!(attempt.outcome.as_str(), "working" | "completed")
    };
    if victim.heir.is_none()
        && let Some(heir) = attempts.iter().find(taken)
        && let Some(name) = name_of(fleet, &heir.worker)
    {
        tale.good(&format!("{name} takes it over."));
        victim.heir = Some(name);
    }
}

/// Fetches every result and compares it with a count of our own.
async fn collect(
    fleet: &Fleet,
    ada: &ApiClient,
    pieces: &[Piece],
) -> Result<Vec<Count>, TestnetError> {
    let mut counts = Vec::new();
    for Piece { page, view, .. } in pieces {
        if view.state != TaskState::Completed {
            let why = view.reason.as_deref().unwrap_or("no reason given");
            return Err(failed(format!("{} was not counted: {why}", page.name)));
        }
        let output = ada.result(&view.id).await.map_err(failed)?;
        let said = String::from_utf8_lossy(&output.result).trim().to_owned();
        if said != page.words().to_string() {
            let words = page.words();
            return Err(failed(format!(
                "{} has {words} words, the answer was {said:?}",
                page.name
            )));
        }
        let completed = view
            .attempts
            .iter()
            .find(|attempt| attempt.outcome == "completed");
        let worker = completed.and_then(|attempt| name_of(fleet, &attempt.worker));
        counts.push(Count {
            page: page.name,
            words: page.words(),
            worker: worker.ok_or_else(|| failed(format!("nobody counted {}", page.name)))?,
            attempts: view.attempts.len(),
        });
    }
    Ok(counts)
}

/// The page of the killed worker must have been lost with it and completed by another.
fn check_handed_over(victim: &Victim, pieces: &[Piece]) -> Result<(), TestnetError> {
    let piece = pieces.iter().find(|piece| piece.view.id == victim.task);
    let attempts = piece.map_or(&[][..], |piece| &piece.view.attempts);
    let lost = attempts
        .iter()
        .find(|attempt| attempt.token == victim.token);
    let Some(lost) = lost.filter(|attempt| attempt.outcome.starts_with("lost")) else {
        return Err(failed(format!(
            "the records do not say that {} was lost",
            victim.name
        )));
    };
    let saved = attempts
        .iter()
        .any(|attempt| attempt.outcome == "completed" && attempt.worker != lost.worker);
    if saved && victim.lease_lost.is_some() && victim.heir.is_some() {
        Ok(())
    } else {
        Err(failed(format!(
            "the page of {} did not go to another worker",
            victim.name
        )))
    }
}
