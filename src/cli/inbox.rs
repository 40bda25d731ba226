//! `inbox`: what came for the agent of this node.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use data_encoding::{BASE64, HEXLOWER};
use serde::Serialize;

use super::client::connect;
use super::exit::{Exit, Failure, Outcome};
use super::proof::Expected;
use super::{output, proof};
use crate::api::body::{InboxParams, InboxState, ReplyBody};
use crate::config::Home;
use crate::proto::node::{MessageKind, PeerRef};
use crate::types::{EntityId, MessageId};
use crate::wire::{Evidence, Proven, TaskEvidence};

#[derive(Debug, Subcommand)]
pub(super) enum InboxCommand {
    /// The messages, in the order of arrival.
    List(ListArgs),
    /// Write a message's body to stdout; from then on it is read.
    #[command(after_help = "Example:\n  junto inbox show 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10")]
    Show {
        /// The message's id.
        id: MessageId,
    },
    /// Answer a talk whose sender still waits; the message is done with then.
    #[command(
        after_help = "Example:\n  junto inbox reply 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10 'it is done'"
    )]
    Reply {
        /// The message's id.
        id: MessageId,
        /// What to say.
        text: String,
    },
    /// Write what shows a message to somebody else: who signed it, to whom, with what identity.
    #[command(
        after_help = "Example:\n  junto inbox proof 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10 --out order.proof"
    )]
    Proof {
        /// The message's id.
        id: MessageId,
        /// A file in place of stdout; one that is there is not replaced.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Check a proof of a message or a task, with nothing but the file. Needs no running node.
    #[command(
        after_help = "Examples:\n  junto inbox verify order.proof --from ent1...\n  \
        junto inbox verify task.proof --result result.txt"
    )]
    Verify {
        /// The file, or `-` for stdin.
        file: PathBuf,
        /// It must have been sent, or signed as a worker, by this entity.
        #[arg(long, value_name = "ENTITY")]
        from: Option<EntityId>,
        /// It must have been sent to this entity, or be of a task of this entity's.
        #[arg(long, value_name = "ENTITY")]
        to: Option<EntityId>,
        /// This file must be the result that a task's proof is of.
        #[arg(long, value_name = "FILE")]
        result: Option<PathBuf>,
    },
    /// Be done with messages: they are removed.
    #[command(after_help = "Example:\n  junto inbox ack 0199f3c2-8a51-7e33-b2b5-5d2f2a1f8f10")]
    Ack {
        /// The messages' ids.
        #[arg(required = true)]
        id: Vec<MessageId>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto inbox list --state new --wait 60s --json")]
pub(super) struct ListArgs {
    /// Only messages that nobody has looked at, or only those that somebody has.
    #[arg(long)]
    state: Option<StateArg>,
    /// Only one kind of message.
    #[arg(long)]
    kind: Option<KindArg>,
    /// Only what this peer sent: a unique name, an id or a part of one.
    #[arg(long, value_name = "PEER")]
    from: Option<PeerRef>,
    /// If there is none, wait so long for one; up to a minute.
    #[arg(long, value_name = "TIME", value_parser = super::args::span_ms)]
    wait: Option<u64>,
    /// Show at most so many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateArg {
    New,
    Read,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    Talk,
    Report,
    /// Files that arrived.
    File,
}

pub(super) async fn run(home: &Home, command: InboxCommand, json: bool) -> Outcome {
    match command {
        InboxCommand::List(args) => list(home, args, json).await,
        InboxCommand::Show { id } => show(home, id, json).await,
        InboxCommand::Reply { id, text } => {
            let reply = ReplyBody {
                text: Some(text),
                data: None,
            };
            connect(home)?.reply(id, &reply).await?;
            if json {
                output::json(&serde_json::json!({ "id": id.to_string() }))?;
            }
            Ok(Exit::Done)
        }
        InboxCommand::Proof { id, out } => show_message(home, id, out.as_deref()).await,
        InboxCommand::Verify {
            file,
            from,
            to,
            result,
        } => {
            let result = result.as_deref();
            verify(&file, &Expected { from, to, result }, json)
        }
        InboxCommand::Ack { id } => {
            let client = connect(home)?;
            for id in &id {
                client.acknowledge(*id).await?;
            }
            if json {
                let ids: Vec<String> = id.iter().map(ToString::to_string).collect();
                output::json(&serde_json::json!({ "acknowledged": ids }))?;
            }
            Ok(Exit::Done)
        }
    }
}

async fn list(home: &Home, args: ListArgs, json: bool) -> Outcome {
    let params = InboxParams {
        state: args.state.map(|state| match state {
            StateArg::New => InboxState::New,
            StateArg::Read => InboxState::Read,
        }),
        kind: args.kind.map(|kind| match kind {
            KindArg::Talk => MessageKind::Talk,
            KindArg::Report => MessageKind::Report,
            KindArg::File => MessageKind::File,
        }),
        from: args.from.map(|peer| peer.to_string()),
        after: None,
        limit: Some(usize::from(args.limit)),
        wait_ms: args.wait,
    };
    let messages = connect(home)?.inbox(&params).await?;
    if json {
        output::json(&messages)?;
        return Ok(Exit::Done);
    }
    let mut listing = output::Listing::new(&["ID", "FROM", "KIND", "STATE", "RECEIVED", "SIZE"]);
    for message in &messages {
        let from = message.name.clone();
        let state = match message.awaits_reply {
            true => format!("{}, awaits reply", message.state),
            false => message.state.clone(),
        };
        listing.row(&[
            &message.id,
            &from.unwrap_or_else(|| output::short(&message.from)),
            message.kind.as_str(),
            &state,
            &message.received,
            &output::show_bytes(message.bytes as u64),
        ]);
    }
    listing.write("the inbox is empty")?;
    Ok(Exit::Done)
}

async fn show(home: &Home, id: MessageId, json: bool) -> Outcome {
    let message = connect(home)?.message(id).await?;
    if json {
        output::json(&message)?;
        return Ok(Exit::Done);
    }
    let body = BASE64
        .decode(message.data.as_bytes())
        .map_err(|_| Failure::failed("the node gave a message that is not base64"))?;
    let from = &message.message;
    eprintln!(
        "{} from {} ({}), received {}",
        from.kind.as_str(),
        output::clean(from.name.as_deref().unwrap_or("somebody unknown")),
        from.from,
        from.received
    );
    output::payload(&body)?;
    Ok(Exit::Done)
}

async fn show_message(home: &Home, id: MessageId, out: Option<&Path>) -> Outcome {
    let text = connect(home)?.proof(id).await?;
    proof::save(&text, out)
}

/// The document of `inbox verify --json`.
#[derive(Serialize)]
struct ProvenReport<'a> {
    from: String,
    name: &'a str,
    to: String,
    id: String,
    kind: &'a str,
    sent: String,
    key: String,
    data: String,
    text: Option<&'a str>,
}

fn verify(file: &Path, expected: &Expected<'_>, json: bool) -> Outcome {
    let text = proof::read(file)?;
    if TaskEvidence::is_in(&text) {
        return proof::verify_task(&text, expected, json);
    }
    let proven = Evidence::from_text(&text)
        .and_then(|evidence| evidence.verify())
        .map_err(|error| Failure::failed(error.to_string()))?;
    if expected.result.is_some() {
        return Err(Failure::failed(
            "the proof is of a message: it has no --result",
        ));
    }
    let (from, to) = (expected.from, expected.to);
    for (whose, expected, found) in [("from", from, proven.from), ("to", to, proven.to)] {
        if expected.is_some_and(|expected| expected != found) {
            let text = format!("the message is genuine, but it went {whose} {found}");
            return Err(Failure::failed(text));
        }
    }
    show_proven(&proven, json)?;
    Ok(Exit::Done)
}

fn show_proven(proven: &Proven, json: bool) -> std::io::Result<()> {
    if json {
        return output::json(&ProvenReport {
            from: proven.from.to_string(),
            name: &proven.name,
            to: proven.to.to_string(),
            id: proven.id.to_string(),
            kind: proven.kind.as_str(),
            sent: proven.sent.to_rfc3339(),
            key: HEXLOWER.encode(&proven.key.0),
            data: BASE64.encode(&proven.body),
            text: std::str::from_utf8(&proven.body).ok(),
        });
    }
    eprintln!("The proof holds.");
    eprintln!("  from  {} ({})", proven.from, output::clean(&proven.name));
    eprintln!("  to    {}", proven.to);
    eprintln!(
        "  sent  {} (by the sender's clock)",
        proven.sent.to_rfc3339()
    );
    eprintln!("  id    {} ({})", proven.id, proven.kind.as_str());
    output::payload(&proven.body)
}
