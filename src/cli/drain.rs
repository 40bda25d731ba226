//! `drain`: empties a node before it is stopped.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::args::span_ms;
use super::client::connect;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::config::Home;
use crate::proto::node::DrainView;

const PAUSE: Duration = Duration::from_millis(250);
/// How long past its time a run may take to be given back.
const GRACE: Duration = Duration::from_secs(30);
/// How long results are waited for that nobody takes: they are on the disk.
const HANDOVER: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto drain && systemctl --user restart junto\n  junto drain --timeout 30s\n  junto drain --undo"
)]
pub(super) struct DrainArgs {
    /// After so long what still runs is ended and given back.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span_ms)]
    timeout: u64,
    /// Take work again.
    #[arg(long, conflicts_with = "timeout")]
    undo: bool,
}

/// Waits until nothing runs, then says that the node may be stopped.
pub(super) async fn run(home: &Home, args: DrainArgs, json: bool) -> Outcome {
    let client = connect(home)?;
    if args.undo {
        let view = client.drain(false, None).await?;
        return told(&view, "This node takes work again.", json);
    }
    let mut view = client.drain(true, Some(args.timeout)).await?;
    let begin = Instant::now();
    let limit = Duration::from_millis(args.timeout) + GRACE;
    let mut empty_since = None;
    loop {
        if view.running == 0 {
            let since = *empty_since.get_or_insert_with(Instant::now);
            if view.undelivered == 0 || since.elapsed() > HANDOVER {
                break;
            }
        } else if begin.elapsed() > limit {
            let left = view.running;
            let why = format!("{left} tasks still run: see `junto doctor`");
            return Err(Failure::failed(why));
        }
        sleep(PAUSE).await;
        view = client.drained().await?;
    }
    let text = match view.undelivered {
        0 => String::from("Nothing runs here: this node may be stopped."),
        left => format!(
            "Nothing runs here: this node may be stopped. {left} results wait on its disk until \
             their requesters are back."
        ),
    };
    told(&view, &text, json)
}

fn told(view: &DrainView, text: &str, json: bool) -> Outcome {
    if json {
        output::json(view)?;
    } else {
        output::line(text)?;
    }
    Ok(Exit::Done)
}
