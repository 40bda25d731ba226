//! `talk` and `report`: what the agent of this node says to others.

use std::io::Read;

use clap::Args;
use data_encoding::BASE64;

use super::args::{priority, talk_ms};
use super::client::connect;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::api::body::{ReportBody, TalkBody};
use crate::config::Home;
use crate::proto::node::{PeerRef, Priority};
use crate::types::limits::TALK_MAX_BYTES;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto talk alice 'is the build ready?' --timeout 30s")]
pub(super) struct TalkArgs {
    #[command(flatten)]
    said: SaidArgs,
    /// How long to wait for the reply, at most 60s; what may take longer is a task.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = talk_ms)]
    timeout: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto report alice 'half of it is done' --durable")]
pub(super) struct ReportArgs {
    #[command(flatten)]
    said: SaidArgs,
    /// It counts as received only once it is on the peer's disk.
    #[arg(long, conflicts_with = "no_confirm")]
    durable: bool,
    /// Do not wait until it was received: the node here sends it when it can.
    #[arg(long)]
    no_confirm: bool,
    /// How long to try, at most 60s.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = talk_ms)]
    timeout: u64,
}

#[derive(Debug, Args)]
struct SaidArgs {
    /// A unique name, a peer id or an entity id, or a part of either.
    peer: PeerRef,
    /// What to say; `-` reads it from stdin. At most 256 KiB.
    text: String,
    /// What leaves first when much waits: low, normal, high or critical.
    #[arg(long, default_value = "normal", hide_possible_values = true, value_parser = priority())]
    priority: Priority,
}

impl SaidArgs {
    fn data(&self) -> Result<Option<String>, Failure> {
        let body = match self.text.as_str() {
            "-" => {
                let mut body = Vec::new();
                std::io::stdin()
                    .take(TALK_MAX_BYTES as u64 + 1)
                    .read_to_end(&mut body)
                    .map_err(|error| Failure::failed(format!("stdin does not read: {error}")))?;
                body
            }
            text => text.as_bytes().to_vec(),
        };
        if body.len() > TALK_MAX_BYTES {
            let text = format!("a message has at most {TALK_MAX_BYTES} bytes");
            return Err(Failure::usage(text));
        }
        Ok(Some(BASE64.encode(&body)))
    }
}

/// Says something and writes the reply to stdout.
pub(super) async fn talk(home: &Home, args: TalkArgs, json: bool) -> Outcome {
    let body = TalkBody {
        peer: args.said.peer.to_string(),
        text: None,
        data: args.said.data()?,
        timeout_ms: args.timeout,
        priority: args.said.priority,
    };
    let reply = connect(home)?.talk(&body).await?;
    if json {
        output::json(&reply)?;
        return Ok(Exit::Done);
    }
    let reply = BASE64
        .decode(reply.data.as_bytes())
        .map_err(|_| Failure::failed("the node gave a reply that is not base64"))?;
    output::payload(&reply)?;
    Ok(Exit::Done)
}

/// Tells something.
pub(super) async fn report(home: &Home, args: ReportArgs, json: bool) -> Outcome {
    let body = ReportBody {
        peer: args.said.peer.to_string(),
        text: None,
        data: args.said.data()?,
        timeout_ms: args.timeout,
        priority: args.said.priority,
        durable: args.durable,
        confirm: !args.no_confirm,
    };
    connect(home)?.report(&body).await?;
    if json {
        output::json(&serde_json::json!({ "peer": body.peer, "received": body.confirm }))?;
    }
    Ok(Exit::Done)
}
