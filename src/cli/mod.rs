//! L5: the command line. Each command is a client of a running node over its local API, except
//! `up` (which is the node), `init`, `id`, `doctor` and `testnet`.
//!
//! With `--json` exactly one document goes to stdout; logs and progress go to stderr, and so does an
//! error, as the last line and a document of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Home;
use crate::{runtime, telemetry};

mod args;
mod backup;
mod bench;
mod client;
mod doctor;
mod drain;
mod exit;
mod harden;
mod inbox;
mod init;
mod key;
mod names;
mod output;
mod proof;
mod reach;
mod send;
mod status;
mod talk;
mod task;
mod testnet;
mod up;
mod usage;

pub use args::ServeSpec;
pub use exit::Exit;
use exit::{Failure, Outcome};

/// A peer-to-peer node for AI agents: find each other, wake each other, hand over work.
#[derive(Debug, Parser)]
#[command(
    name = "junto",
    version,
    after_help = "Examples:\n  junto up --serve wc='wc -w'                run a node that counts words\n  \
                  junto task submit wc --text 'a b' --wait   let some node count\n  \
                  junto testnet --nodes 3                    try a network on this machine"
)]
struct Cli {
    /// The folder of the node.
    #[arg(long, global = true, env = "JUNTO_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Write one JSON document to stdout and nothing else; an error is one on stderr.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node in the foreground; the first run makes its identity and configuration.
    Up(up::UpArgs),
    /// Make a home with identity and configuration, without running a node.
    Init(init::InitArgs),
    /// Who am I: peer id, entity id, fingerprint. Needs no running node and no passphrase.
    #[command(after_help = "Example:\n  junto id --json | jq -r .peer_id")]
    Id,
    /// The health of the running node.
    #[command(after_help = "Example:\n  junto status")]
    Status,
    /// What is wrong, and what to do. Needs no running node.
    #[command(
        after_help = "Example:\n  junto doctor --json | jq '.checks[] | select(.level != \"ok\")'"
    )]
    Doctor,
    /// Take no more work and finish what runs, before the node is stopped.
    Drain(drain::DrainArgs),
    /// The peers this node knows.
    #[command(
        after_help = "Example:\n  junto peers --json | jq -r '.[] | select(.state == \"connected\").name'"
    )]
    Peers(status::PeersArgs),
    /// Measure the way to a peer and back.
    Ping(reach::PingArgs),
    /// Wake a peer's agent, and watch until it resumed.
    Wake(reach::WakeArgs),
    /// Say something to a peer's agent, and print its reply.
    Talk(talk::TalkArgs),
    /// Tell a peer's agent something; no reply is awaited.
    Report(talk::ReportArgs),
    /// Whether a peer is there: what is known of it, and a ping.
    Alive(reach::AliveArgs),
    /// Have a peer's node restart its agent.
    Restart(reach::RestartArgs),
    /// What came for the agent of this node.
    #[command(subcommand)]
    Inbox(inbox::InboxCommand),
    /// Who is known, and who offers what.
    #[command(subcommand)]
    Registry(status::RegistryCommand),
    /// Hand over work.
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Send a file to a peer; goes on after breaks and restarts.
    Send(send::SendArgs),
    /// Files sent and received.
    Transfers(send::TransfersArgs),
    /// The node's key: rotate it, back it up, compare it.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Run many nodes on this machine, in a network of their own.
    Testnet(testnet::TestnetArgs),
    /// Measure: two nodes on this machine, beside libp2p alone with the same work.
    Bench(bench::BenchArgs),
    /// A process of `bench`. Started by it.
    #[command(name = "__bench", hide = true, subcommand)]
    BenchSide(bench::SideArgs),
    /// Ends the commands of a node that died. Started by the node itself.
    #[command(name = "__guard", hide = true)]
    Guard {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        rest: Vec<std::ffi::OsString>,
    },
}

/// Runs the program: reads the arguments, does what they say, reports.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::refuse(&error, usage::wants_json(std::env::args_os())),
    };
    let json = cli.json;
    if let Command::Guard { .. } = cli.command {
        return runtime::executor::guard_main();
    }
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.tell(json);
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let home = Home::locate(cli.home.as_deref())?;
    let json = cli.json;
    // The node logs as its configuration says; everything else only when something is wrong.
    if !matches!(cli.command, Command::Up(_)) {
        start_log("warn", false)?;
    }
    match cli.command {
        Command::Up(args) => up::run(&home, args, json),
        Command::Init(args) => init::init(&home, args, json),
        Command::Id => init::id(&home, json),
        Command::Doctor => client::block_on(doctor::run(&home, json)),
        Command::Testnet(args) => testnet::run(args, json),
        Command::Status => client::block_on(status::status(&home, json)),
        Command::Drain(args) => client::block_on(drain::run(&home, args, json)),
        Command::Peers(args) => client::block_on(status::peers(&home, &args, json)),
        Command::Registry(command) => client::block_on(status::registry(&home, command, json)),
        Command::Ping(args) => client::block_on(reach::ping(&home, args, json)),
        Command::Wake(args) => client::block_on(reach::wake(&home, args, json)),
        Command::Talk(args) => client::block_on(talk::talk(&home, args, json)),
        Command::Report(args) => client::block_on(talk::report(&home, args, json)),
        Command::Alive(args) => client::block_on(reach::alive(&home, args, json)),
        Command::Restart(args) => client::block_on(reach::restart(&home, args, json)),
        Command::Inbox(command) => client::block_on(inbox::run(&home, command, json)),
        Command::Send(args) => client::block_on(send::send(&home, args, json)),
        Command::Transfers(args) => client::block_on(send::transfers(&home, args, json)),
        Command::Key(command) => key::run(&home, command, json),
        Command::Task(command) => client::block_on(task::run(&home, command, json)),
        Command::Bench(args) => bench::run(&home, args, json),
        Command::BenchSide(args) => bench::run_side(args),
        // Ended in `main`, before a home is looked for.
        Command::Guard { .. } => Ok(Exit::Done),
    }
}

fn start_log(level: &str, json: bool) -> Result<(), Failure> {
    telemetry::init(level, json).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    pub(super) fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("junto").chain(line.iter().copied()))
    }

    fn refused(line: &[&str]) -> String {
        let error = parse(line).expect_err("refused");
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                let path = format!("{path} {}", sub.get_name());
                let example = sub
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    sub.has_subcommands() || example.contains(path.trim()),
                    "{path}"
                );
                check(sub, &path);
            }
        }
        check(&Cli::command(), "junto");
    }

    #[test]
    fn up_takes_the_flags_of_the_interface() {
        let cli = parse(&[
            "--home",
            "/h",
            "up",
            "--network",
            "lab",
            "--listen",
            "/ip4/127.0.0.1/tcp/0",
            "--listen",
            "/ip4/127.0.0.1/udp/0/quic-v1",
            "--bootstrap",
            "/ip4/10.0.0.1/tcp/1",
            "--no-mdns",
            "--name",
            "a",
            "--api",
            "127.0.0.1:0",
            "--serve",
            "wc=wc -w",
            "--serve",
            "up=tr a-z A-Z",
            "--on-wake",
            "true",
            "--no-passphrase",
        ])
        .expect("valid");
        let Command::Up(args) = cli.command else {
            panic!("up")
        };
        assert_eq!(
            (args.listen.len(), args.bootstrap.len(), args.serve.len()),
            (2, 1, 2)
        );
        assert_eq!(cli.home, Some(PathBuf::from("/h")));
        // Global flags may stand behind the command, too.
        assert!(
            parse(&["peers", "--json", "--home", "/h"])
                .expect("valid")
                .json
        );
    }

    #[test]
    fn wrong_arguments_are_wrong_usage_and_say_what_is_allowed() {
        for (line, part) in [
            (&["up", "--serve", "wc"][..], "CAPABILITY=COMMAND"),
            (&["up", "--serve", "w c=x"], "a-z"),
            (&["up", "--listen", "here"], "/ip4/192.0.2.7/tcp/4001"),
            (&["up", "--network", "a b"], "a-z"),
            (
                &["up", "--no-passphrase", "--passphrase-file", "f"],
                "cannot be used with",
            ),
            (&["ping", "a b"], "printable"),
            (&["wake", "bob", "--timeout", "soon"], "500ms"),
            (
                &["task", "submit", "wc", "--priority", "urgent"],
                "critical",
            ),
            (
                &["task", "submit", "wc", "--text", "a", "--input", "f"],
                "cannot be used with",
            ),
            (&["task", "submit", "w c"], "a-z"),
            (&["task", "show", "7"], "UUID"),
            (&["frobnicate"], "unrecognized subcommand"),
        ] {
            let error = refused(line);
            assert!(error.contains(part), "{line:?}: {error}");
        }
    }
}
