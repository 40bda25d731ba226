//! `task show`: one task, its attempts, and who was considered.

use super::super::client::connect;
use super::super::exit::{Exit, Outcome};
use super::super::names::{Names, TaskRef};
use super::super::output::{self, Listing, show_bytes};
use super::{agree, priority_name};
use crate::config::Home;
use crate::proto::node::{ConsideredView, TaskView, WebhookView};
use crate::types::Amount;

pub(super) async fn run(home: &Home, id: &TaskRef, json: bool) -> Outcome {
    let client = connect(home)?;
    let task = client.task(id).await?;
    if json {
        output::json(&task)?;
        return Ok(Exit::Done);
    }
    show(&task, &Names::ask(&client).await)
}

fn show(task: &TaskView, names: &Names) -> Outcome {
    for line in described(task, names) {
        output::line(&line)?;
    }
    if let Some(agreement) = &task.agreement {
        output::line("")?;
        agree::listing(agreement, names).write("")?;
    }
    if !task.attempts.is_empty() {
        output::line("")?;
        attempts(task, names)?;
    }
    let (considered, others) = newest(task);
    if !considered.is_empty() {
        output::line("")?;
        list(considered, others, names)?;
    }
    Ok(Exit::Done)
}

/// Who keeps a waiting task waiting, or was looked at for the newest attempt.
fn newest(task: &TaskView) -> (&[ConsideredView], u32) {
    let waiting = (&task.considered[..], task.others);
    let attempt = task.attempts.last();
    let attempt = attempt.map(|attempt| (&attempt.considered[..], attempt.others));
    match waiting.0.is_empty() {
        true => attempt.unwrap_or(waiting),
        false => waiting,
    }
}

fn attempts(task: &TaskView, names: &Names) -> std::io::Result<()> {
    let mut listing = Listing::new(&["WORKER", "TOKEN", "STARTED", "ENDED", "OUTCOME"]);
    for attempt in &task.attempts {
        listing.row(&[
            &names.show(&attempt.worker),
            &attempt.token.to_string(),
            &attempt.started,
            attempt.ended.as_deref().unwrap_or("-"),
            &attempt.outcome,
        ]);
    }
    listing.write("")?;
    if task.attempts_cut > 0 {
        output::line(&format!("and {} more before", task.attempts_cut))?;
    }
    Ok(())
}

fn list(considered: &[ConsideredView], others: u32, names: &Names) -> std::io::Result<()> {
    let mut listing = Listing::new(&[
        "CONSIDERED",
        "WHY",
        "FREE",
        "RTT",
        "SCORE",
        "PRICE",
        "WEIGHT",
    ]);
    for one in considered {
        listing.row(&row(one, names).each_ref().map(String::as_str));
    }
    listing.write("")?;
    if others > 0 {
        output::line(&format!("and {others} more"))?;
    }
    Ok(())
}

fn row(one: &ConsideredView, names: &Names) -> [String; 7] {
    let rtt = one.rtt_us.map_or_else(
        || String::from("-"),
        |us| format!("{:.1} ms", f64::from(us) / 1_000.0),
    );
    [
        names.show(&one.worker),
        one.why.clone(),
        one.room.to_string(),
        rtt,
        one.score
            .map_or_else(|| String::from("-"), |score| score.to_string()),
        one.price.to_string(),
        one.weight.to_string(),
    ]
}

/// How far telling of the end is.
fn webhook(of: &WebhookView) -> String {
    let tries = match of.tries {
        1 => String::from("1 try"),
        tries => format!("{tries} tries"),
    };
    let at = of.at.as_deref().unwrap_or("-");
    let answer = of.answer.as_deref().map(output::clean);
    let answer = answer.unwrap_or_else(|| String::from("nobody answered"));
    match of.state.as_str() {
        "waiting" => String::from("is called when the task has ended"),
        "calling" if of.tries == 0 => String::from("is called now"),
        "calling" if of.answer.is_none() => format!("is called now, {tries}"),
        "calling" => format!("not heard yet, {tries}: {answer}"),
        "heard" => format!("heard at {at}, {tries}"),
        "given_up" => format!("given up at {at}, {tries}: {answer}"),
        other => other.to_owned(),
    }
}

/// One line for each thing that is to be said, one below the other.
fn described(task: &TaskView, names: &Names) -> Vec<String> {
    let lines = describe(task, names);
    let widest = lines.iter().map(|(label, _)| label.len()).max();
    let width = widest.unwrap_or_default().max(10) + 2;
    let line = |(label, value): (&str, String)| format!("{label:<width$}{value}");
    lines.into_iter().map(line).collect()
}

fn describe(task: &TaskView, names: &Names) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("id", task.id.clone()),
        ("capability", task.capability.clone()),
        ("state", task.state.as_str().to_owned()),
        ("priority", priority_name(task.priority).to_owned()),
        ("submitted", task.submitted.clone()),
    ];
    lines.extend(task.to.as_ref().map(|to| ("only at", names.show(to))));
    lines.extend(task.start_at.clone().map(|at| ("start", at)));
    lines.push(("deadline", task.deadline.clone()));
    lines.extend(task.key.clone().map(|key| ("key", key)));
    lines.extend(agree::describe(task, names));
    let marks = [("labels", &task.labels), ("needs", &task.needs)];
    for (label, texts) in marks.into_iter().filter(|(_, texts)| !texts.is_empty()) {
        lines.push((label, texts.join(", ")));
    }
    lines.extend(
        task.min_tier
            .map(|tier| ("min tier", tier.as_str().to_owned())),
    );
    lines.push(("input", show_bytes(task.input_bytes as u64)));
    lines.extend(
        task.result_bytes
            .map(|bytes| ("result", show_bytes(bytes as u64))),
    );
    lines.extend(task.progress.as_ref().map(|said| {
        let percent = said.percent.map(|percent| format!("{percent} %"));
        let said = percent.into_iter().chain(said.note.clone());
        ("progress", said.collect::<Vec<_>>().join(" "))
    }));
    let named = [("repeats", &task.prior), ("repeated by", &task.again)];
    for (label, id) in named {
        lines.extend(id.clone().map(|id| (label, id)));
    }
    if let Some(budget) = &task.budget {
        let spent = match budget.spent {
            Amount(0) => String::new(),
            spent => format!(", {spent} of it with its parts"),
        };
        let text = format!("depth {}, reward {}{spent}", budget.depth, budget.reward);
        lines.push(("budget", text));
    }
    if let Some(parent) = &task.parent {
        lines.push((
            "part of",
            format!("{} of {}", parent.task, parent.requester),
        ));
    }
    if task.stops {
        lines.push(("without lease", String::from("its run stops")));
    }
    if task.stream {
        lines.push(("stream", String::from("what its runs say is told")));
    }
    lines.extend(task.webhook.as_ref().map(|of| ("webhook", webhook(of))));
    if task.dead {
        let text = String::from("its input is kept: `junto task resubmit` tries once more");
        lines.push(("dead letter", text));
    }
    lines.extend(
        task.reason
            .as_ref()
            .map(|reason| ("reason", reason.trim().to_owned())),
    );
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_asked_for_is_told_each_below_the_other() {
        let task = json!({
            "id": "i", "capability": "wc", "state": "submitted", "priority": "normal",
            "to": "ent1bob", "submitted": "s", "deadline": "d", "stops": true, "stream": true,
            "budget": {"depth": 1, "reward": "18446744073709551614", "spent": "4"},
            "webhook": {"state": "given_up", "tries": 12, "at": "t", "answer": "the answer was 500"},
            "input_bytes": 3, "no_worker": false, "attempts": [],
        });
        let task: TaskView = serde_json::from_value(task).expect("a task");
        let lines = described(&task, &Names::default());
        for line in [
            "only at        ent1bob",
            "stream         what its runs say is told",
            "without lease  its run stops",
            "webhook        given up at t, 12 tries: the answer was 500",
            "budget         depth 1, reward 18446744073709551614, 4 of it with its parts",
        ] {
            assert!(lines.iter().any(|told| told == line), "{line}: {lines:?}");
        }
    }
}
