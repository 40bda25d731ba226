//! `task watch` without ids: what happens to all tasks, a line each, until Ctrl-C.

use std::io;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::super::client::{WAIT_PAUSES_MS, connect, keep_asking};
use super::super::exit::{Exit, Outcome};
use super::super::names::Names;
use super::super::output;
use super::watch::{NEWS_WAIT, sentence};
use crate::api::body::FeedParams;
use crate::api::client::ApiClient;
use crate::config::Home;
use crate::proto::node::{EventKind, EventView, EventsView, TaskEventView};
use crate::types::{Capability, Label};

/// Which of all tasks, and what of them.
#[derive(Debug, Args)]
pub(super) struct AllArgs {
    /// Without ids: only tasks with this label.
    #[arg(long, value_name = "LABEL", conflicts_with = "ids")]
    label: Option<Label>,
    /// Without ids: only tasks that want this capability.
    #[arg(long, value_name = "CAP", conflicts_with = "ids")]
    capability: Option<Capability>,
    /// Without ids: only events of these kinds.
    #[arg(long, value_name = "KIND", conflicts_with = "ids", value_delimiter = ',',
        hide_possible_values = true, value_parser = kind())]
    kind: Vec<EventKind>,
}

fn kind() -> impl TypedValueParser<Value = EventKind> {
    PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str))
        .map(|name| EventKind::named(&name).expect("only the names of kinds pass"))
}

impl AllArgs {
    fn params(&self, after: Option<u64>) -> FeedParams {
        let kinds: Vec<&str> = self.kind.iter().map(|kind| kind.as_str()).collect();
        FeedParams {
            after,
            kind: Some(kinds.join(",")).filter(|kinds| !kinds.is_empty()),
            capability: self.capability.as_ref().map(ToString::to_string),
            label: self.label.as_ref().map(ToString::to_string),
            wait_ms: Some(NEWS_WAIT.as_millis() as u64),
            ..FeedParams::default()
        }
    }
}

/// Shows events until somebody has had enough.
pub(super) async fn run(home: &Home, args: &AllArgs, from: Option<u64>, json: bool) -> Outcome {
    // Without a node now, there is none to be waited for.
    let names = Names::ask(&connect(home)?).await;
    let mut after = from;
    let enough = tokio::signal::ctrl_c();
    tokio::pin!(enough);
    let goes_on = |after: Option<u64>| {
        after.map(|number| format!("`junto task watch --from {number}` goes on"))
    };
    loop {
        let params = &args.params(after);
        let ask = |client: ApiClient| async move { client.events(params).await };
        let told = tokio::select! {
            told = keep_asking(home, &WAIT_PAUSES_MS, ask) => told,
            _ = &mut enough => {
                if let Some(hint) = goes_on(after) {
                    eprintln!("{hint}");
                }
                return Ok(Exit::Done);
            }
        };
        let told = told.map_err(|failure| match goes_on(after) {
            Some(hint) => failure.hint(hint),
            None => failure,
        })?;
        if !show(&told, &names, json)? {
            return Ok(Exit::Done);
        }
        after = Some(told.next);
    }
}

/// Returns whether somebody still reads.
fn show(told: &EventsView, names: &Names, json: bool) -> io::Result<bool> {
    let reset = told.reset.then(|| reset(told, json));
    let events = told.events.iter().map(|event| match json {
        true => Ok(serde_json::to_string(event)?),
        false => Ok(line(event, names)),
    });
    for line in reset.into_iter().map(Ok::<_, io::Error>).chain(events) {
        if !output::is_read(&line?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn reset(told: &EventsView, json: bool) -> String {
    match json {
        true => {
            serde_json::json!({"kind": "reset", "first": told.first, "last": told.last}).to_string()
        }
        false => String::from(
            "- reset: not all that happened is known any more; what is kept follows, and \
             `junto task list` shows what became of the rest",
        ),
    }
}

fn line(event: &EventView, names: &Names) -> String {
    let EventView {
        at, id, capability, ..
    } = event;
    let mut text = sentence(&of_task(event), names);
    if let (Some(offset), Some(length)) = (event.offset, event.length) {
        let end = offset.saturating_add(length as u64);
        text.push_str(&format!(": up to byte {end}"));
    }
    output::clean(&format!("{at} {id} {capability} {text}")).replace(['\n', '\t'], " ")
}

/// The event as its task tells it.
fn of_task(event: &EventView) -> TaskEventView {
    let event = event.clone();
    TaskEventView {
        number: event.task_number,
        kind: event.kind,
        at: event.at,
        worker: event.worker,
        token: event.token,
        note: event.note,
        times: event.times,
        percent: event.percent,
        offset: event.offset,
        data: None,
        text: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str) -> EventView {
        EventView {
            number: 7,
            topic: String::from("task"),
            id: String::from("01980000"),
            capability: String::from("wc"),
            part_of: None,
            task_number: 2,
            kind: kind.to_owned(),
            at: String::from("2026-01-01T00:00:00Z"),
            worker: Some(String::from("alice")),
            token: Some(1),
            note: None,
            times: None,
            percent: None,
            offset: None,
            length: None,
        }
    }

    #[test]
    fn each_event_of_all_tasks_is_one_line() {
        let names = Names::default();
        let failed = EventView {
            note: Some(String::from("status 1\nand \u{1b}[2J more")),
            ..event("attempt_failed")
        };
        assert_eq!(
            line(&failed, &names),
            "2026-01-01T00:00:00Z 01980000 wc attempt failed at alice: status 1 and \u{fffd}[2J more"
        );
        let wrote = EventView {
            offset: Some(10),
            length: Some(32),
            ..event("output")
        };
        let text = line(&wrote, &names);
        assert!(
            text.ends_with("wc output at alice: up to byte 42"),
            "{text}"
        );
    }

    #[test]
    fn a_reset_says_where_to_look() {
        let told = EventsView {
            reset: true,
            first: 5,
            events: Vec::new(),
            next: 8,
            last: 8,
        };
        assert!(reset(&told, false).contains("junto task list"));
        let value: serde_json::Value = serde_json::from_str(&reset(&told, true)).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"kind": "reset", "first": 5, "last": 8})
        );
    }
}
