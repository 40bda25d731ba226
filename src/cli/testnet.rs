//! `testnet`: arguments of a network on this machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{ServeSpec, span_ms};
use super::client::block_on;
use super::exit::{Exit, Failure, Outcome};
use crate::testnet::{self, TestnetError, TestnetOptions};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  junto testnet --nodes 3 --serve wc='wc -w'\n  \
    junto testnet --nodes 5 --ephemeral --exec './check.sh'\n  junto testnet --demo"
)]
pub(super) struct TestnetArgs {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: usize,
    /// Where their homes and testnet.json go [default: ./junto-testnet].
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    dir: Option<PathBuf>,
    /// Live in a temporary folder that is removed at the end.
    #[arg(long)]
    ephemeral: bool,
    /// What every node does for others: COMMAND is run by /bin/sh; may be given several times.
    #[arg(long, value_name = "CAP=COMMAND")]
    serve: Vec<ServeSpec>,
    /// What runs when somebody wakes a node's agent.
    #[arg(long, value_name = "COMMAND")]
    on_wake: Option<String>,
    /// Run a command with JUNTO_TESTNET set to testnet.json, then stop with its status.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Start nodes again that die.
    #[arg(long)]
    restart: bool,
    /// How long it may take until every registry lists every node.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span_ms)]
    ready_timeout: u64,
    /// Let the nodes look for each other by mDNS, too.
    #[arg(long)]
    mdns: bool,
    /// Show what Junto does: work that survives a killed worker.
    #[arg(long, conflicts_with_all = ["dir", "serve", "on_wake", "exec", "restart"])]
    demo: bool,
}

pub(super) fn run(args: TestnetArgs, json: bool) -> Outcome {
    block_on(async {
        let ended = if args.demo {
            testnet::demo(json).await
        } else {
            testnet::run(args.options(json)).await
        };
        ended
            .map(|outcome| exit_of(outcome.status))
            .map_err(|error| failure_of(&error))
    })
}

impl TestnetArgs {
    fn options(self, json: bool) -> TestnetOptions {
        TestnetOptions {
            nodes: self.nodes,
            dir: self.dir,
            ephemeral: self.ephemeral,
            serve: self
                .serve
                .into_iter()
                .map(|spec| (spec.capability, spec.command))
                .collect(),
            on_wake: self.on_wake,
            exec: self.exec,
            restart: self.restart,
            ready_timeout: Duration::from_millis(self.ready_timeout),
            mdns: self.mdns,
            json,
        }
    }
}

fn exit_of(status: u8) -> Exit {
    match status {
        0 => Exit::Done,
        status => Exit::Command(status),
    }
}

fn failure_of(error: &TestnetError) -> Failure {
    Failure::new(exit_of(error.exit_status()), error.to_string())
}
