//! `send` and `transfers`: files to and from other nodes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::args::span_ms;
use super::client::{REQUEST_PAUSES_MS, WAIT_PAUSES_MS, connect, keep_asking};
use super::exit::{Exit, Failure, Outcome};
use super::names::Names;
use super::output::{self, Listing, show_bytes};
use crate::api::body::TransferBody;
use crate::config::Home;
use crate::proto::node::{Direction, PeerRef, TransferView};

/// One question for news; the rest of the time is asked for again.
const NEWS_WAIT: Duration = Duration::from_secs(20);
/// Between two questions: progress comes faster than anybody reads.
const NEWS_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto send bob holiday.mp4\n  junto send bob dump.sql --name backup.sql --json\n\n\
    The same command again goes on where an unfinished transfer stopped."
)]
pub(super) struct SendArgs {
    /// A unique name, a peer id or an entity id, or a part of either.
    peer: PeerRef,
    /// The file.
    file: PathBuf,
    /// What it is called at the receiver [default: the file's own name].
    #[arg(long)]
    name: Option<String>,
    /// How long to watch; the transfer itself goes on [default: until its end].
    #[arg(long, value_name = "TIME", value_parser = span_ms)]
    timeout: Option<u64>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto transfers\n  junto transfers cancel 01890a5d-ac96-774b-bcce-b302099a8057"
)]
pub(super) struct TransfersArgs {
    #[command(subcommand)]
    command: Option<TransfersCommand>,
}

#[derive(Debug, Subcommand)]
enum TransfersCommand {
    /// Files sent and received, finished or not.
    #[command(
        after_help = "Example:\n  junto transfers list --json | jq '.[] | select(.state == \"failed\")'"
    )]
    List,
    /// One transfer.
    #[command(after_help = "Example:\n  junto transfers show 01890a5d-ac96-774b-bcce-b302099a8057")]
    Show {
        /// As `junto transfers` shows it.
        id: Uuid,
    },
    /// Give a transfer up, in either direction; what has arrived of it is deleted.
    #[command(
        after_help = "Example:\n  junto transfers cancel 01890a5d-ac96-774b-bcce-b302099a8057"
    )]
    Cancel {
        /// As `junto transfers` shows it.
        id: Uuid,
    },
}

/// Sends a file, and stays until the receiver has stored it.
pub(super) async fn send(home: &Home, args: SendArgs, json: bool) -> Outcome {
    let path = absolute(&args.file)?;
    let body = TransferBody {
        peer: args.peer.to_string(),
        path,
        name: args.name.clone(),
        id: Some(Uuid::now_v7()),
    };
    let body = &body;
    let view = keep_asking(home, &REQUEST_PAUSES_MS, |client| async move {
        client.send_file(body).await
    })
    .await?;
    let end = args
        .timeout
        .map(|ms| Instant::now() + Duration::from_millis(ms));
    let view = follow(home, view, end).await?;
    if json {
        output::json(&view)?;
    }
    conclude(&view, &args.peer, json)
}

/// Where the node finds the file: the node has its own working directory.
fn absolute(file: &Path) -> Result<String, Failure> {
    let refused = |error| Failure::failed(format!("{} cannot be read: {error}", file.display()));
    let path = std::fs::canonicalize(file).map_err(refused)?;
    let text = path.into_os_string().into_string();
    text.map_err(|_| Failure::usage("the file's path must be UTF-8"))
}

/// Watches until the end, or until `end`.
async fn follow(
    home: &Home,
    mut view: TransferView,
    end: Option<Instant>,
) -> Result<TransferView, Failure> {
    let bar = Bar::new();
    loop {
        bar.show(&view);
        let left = end.map_or(NEWS_WAIT, |end| {
            end.saturating_duration_since(Instant::now())
        });
        if view.is_over() || left.is_zero() {
            return Ok(view);
        }
        let (id, seen, wait) = (view.id.clone(), view.revision, left.min(NEWS_WAIT));
        let id = &id;
        let asked = keep_asking(home, &WAIT_PAUSES_MS, |client| async move {
            client.transfer_news(id, seen, wait).await
        });
        view = asked.await.map_err(|failure| {
            failure.hint(
                "the transfer goes on when the node is started again; the same command follows it",
            )
        })?;
        tokio::time::sleep(NEWS_PAUSE.min(left)).await;
    }
}

/// How far it is, for a person.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Bar {
        let style = ProgressStyle::with_template(
            "{msg:9} [{wide_bar}] {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta}",
        );
        let bar = if output::watched() {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Bar(bar)
    }

    fn show(&self, view: &TransferView) {
        self.0.set_length(view.size);
        self.0.set_message(view.state.clone());
        if self.0.position() == 0 && view.done_bytes > 0 {
            // What was there before counts for nothing in the rate.
            self.0.set_position(view.done_bytes);
            self.0.reset_eta();
        }
        self.0.set_position(view.done_bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn conclude(view: &TransferView, peer: &PeerRef, json: bool) -> Outcome {
    let reason = view.reason.as_deref().unwrap_or("no reason is known");
    match view.state.as_str() {
        "completed" => {
            if !json {
                let text = format!(
                    "{peer} has {} ({}, blake3 {})",
                    view.name,
                    show_bytes(view.size),
                    view.hash.as_deref().unwrap_or("-")
                );
                output::line(&text)?;
            }
            Ok(Exit::Done)
        }
        "failed" => Err(Failure::failed(format!(
            "{} was not sent: {reason}",
            view.name
        ))),
        "canceled" => {
            let why = view.reason.as_deref().unwrap_or("canceled here");
            Err(Failure::failed(format!(
                "{} was not sent: {why}",
                view.name
            )))
        }
        state => Err(Failure::new(
            Exit::Unreachable,
            format!(
                "{peer} does not have all of {} yet: it is {state}",
                view.name
            ),
        )
        .hint(format!(
            "the node goes on trying: junto transfers show {}",
            view.id
        ))),
    }
}

/// Lists, shows, cancels.
pub(super) async fn transfers(home: &Home, args: TransfersArgs, json: bool) -> Outcome {
    let client = connect(home)?;
    match args.command.unwrap_or(TransfersCommand::List) {
        TransfersCommand::List => {
            let all = client.transfers().await?;
            if json {
                output::json(&all)?;
            } else {
                list(&all, &Names::ask(&client).await)?;
            }
        }
        TransfersCommand::Show { id } => show(&client.transfer(id).await?, json)?,
        TransfersCommand::Cancel { id } => show(&client.cancel_transfer(id).await?, json)?,
    }
    Ok(Exit::Done)
}

fn list(all: &[TransferView], names: &Names) -> std::io::Result<()> {
    let mut listing = Listing::new(&["ID", "WAY", "PEER", "NAME", "STATE", "DONE", "SIZE"]);
    for view in all {
        listing.row(&[
            &view.id,
            way(view),
            &names.show(&view.peer),
            &view.name,
            &view.state,
            &show_bytes(view.done_bytes),
            &show_bytes(view.size),
        ]);
    }
    listing.write("No files were sent or received.")
}

fn way(view: &TransferView) -> &'static str {
    match view.direction {
        Direction::Out => "out",
        Direction::In => "in",
    }
}

fn show(view: &TransferView, json: bool) -> std::io::Result<()> {
    if json {
        return output::json(view);
    }
    let rows = [
        ("id", view.id.clone()),
        ("way", way(view).to_owned()),
        ("peer", view.peer.clone()),
        ("name", view.name.clone()),
        ("path", view.path.clone().unwrap_or_default()),
        ("state", view.state.clone()),
        (
            "done",
            format!(
                "{} of {}",
                show_bytes(view.done_bytes),
                show_bytes(view.size)
            ),
        ),
        ("blake3", view.hash.clone().unwrap_or_default()),
        ("started", view.started.clone()),
        ("reason", view.reason.clone().unwrap_or_default()),
    ];
    for (what, text) in rows.iter().filter(|(_, text)| !text.is_empty()) {
        output::line(&format!("{what:8} {text}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str) -> TransferView {
        TransferView {
            id: String::from("i"),
            direction: Direction::Out,
            peer: String::from("p"),
            name: String::from("f"),
            path: None,
            state: state.to_owned(),
            size: 1,
            done_bytes: 0,
            moved_bytes: 0,
            hash: None,
            started: String::new(),
            changed: String::new(),
            reason: Some(String::from("why")),
            revision: 0,
        }
    }

    #[test]
    fn only_a_stored_file_is_success() {
        let peer: PeerRef = "bob".parse().expect("a name");
        let status = |state| {
            conclude(&view(state), &peer, true)
                .unwrap_or_else(|failure| failure.exit)
                .status()
        };
        assert_eq!(status("completed"), 0);
        assert_eq!((status("failed"), status("canceled")), (1, 1));
        for state in ["hashing", "waiting", "sending"] {
            assert_eq!(status(state), 4, "{state}");
        }
        let failure = conclude(&view("failed"), &peer, false).unwrap_err();
        assert!(failure.message().contains("why"));
    }

    #[test]
    fn a_path_is_made_absolute_before_the_node_hears_of_it() {
        assert!(absolute(Path::new("Cargo.toml")).is_ok_and(|path| path.starts_with('/')));
        assert!(absolute(Path::new("no such file")).is_err());
    }
}
