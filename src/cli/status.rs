//! `status`, `peers`, `registry`: what the running node knows.

use clap::{Args, Subcommand};

use super::client::connect;
use super::exit::{Exit, Outcome};
use super::output::{self, Listing, short, show_bytes, show_uptime};
use super::reach::show_us;
use crate::config::Home;
use crate::proto::node::{EntryView, PeerView, StatusView};
use crate::types::Capability;

#[derive(Debug, Subcommand)]
pub(super) enum RegistryCommand {
    /// Everybody this node knows, itself included.
    #[command(after_help = "Example:\n  junto registry list")]
    List,
    /// Who offers a capability.
    #[command(after_help = "Example:\n  junto registry find wc --json | jq -r '.[].name'")]
    Find {
        /// The capability, such as wc.
        #[arg(value_name = "CAP")]
        capability: Capability,
    },
}

/// The node as a whole.
pub(super) async fn status(home: &Home, json: bool) -> Outcome {
    let status = connect(home)?.status().await?;
    if json {
        output::json(&status)?;
    } else {
        for (label, value) in describe(&status) {
            output::line(&format!("{label:<13}{value}"))?;
        }
    }
    Ok(Exit::Done)
}

fn describe(status: &StatusView) -> Vec<(&'static str, String)> {
    let tasks = &status.tasks;
    let mut lines = vec![
        ("name", status.name.clone()),
        ("network", status.network.clone()),
        ("version", status.version.clone()),
        ("up for", show_uptime(status.uptime_ms)),
        ("peer id", status.peer_id.clone()),
        ("entity id", status.entity_id.clone()),
        ("fingerprint", status.fingerprint.clone()),
    ];
    lines.extend(status.listen.iter().map(|addr| ("listening", addr.clone())));
    lines.extend([
        ("serving", offers(&status.capabilities, &status.unattended)),
        (
            "peers",
            format!(
                "{} connected, {} in session",
                status.connected, status.sessions
            ),
        ),
        ("registry", format!("{} known", status.registry)),
        (
            "tasks",
            format!(
                "{} submitted, {} working, {} completed, {} failed, {} canceled",
                tasks.submitted, tasks.working, tasks.completed, tasks.failed, tasks.canceled
            ),
        ),
        ("for others", for_others(status)),
        (
            "health",
            format!(
                "{} healthy, {} suspect, {} unreachable",
                status.health.healthy, status.health.suspect, status.health.unreachable
            ),
        ),
        (
            "guard",
            format!(
                "{} breakers open, {} half-open, {} held back, {} requests refused as too many",
                status.guard.breakers_open,
                status.guard.breakers_half_open,
                status.guard.held_back,
                status.guard.rate_limited
            ),
        ),
        (
            "connections",
            format!(
                "{} of {} ({} opened by others), {} requests under way",
                status.pool.connections,
                status.pool.connections_max,
                status.pool.incoming,
                status.pool.requests_sent
            ),
        ),
        ("storage", status.storage.clone()),
    ]);
    lines
}

fn for_others(status: &StatusView) -> String {
    let held = format!("{} tasks held", status.held);
    match status.draining {
        true => format!("{held}; draining: no more are taken until `junto drain --undo`"),
        false => held,
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  junto peers --verbose")]
pub(super) struct PeersArgs {
    /// Their traffic, errors and addresses, too.
    #[arg(long)]
    verbose: bool,
}

/// The peers, without the node itself.
pub(super) async fn peers(home: &Home, args: &PeersArgs, json: bool) -> Outcome {
    let peers: Vec<PeerView> = connect(home)?.peers().await?;
    if json {
        output::json(&peers)?;
        return Ok(Exit::Done);
    }
    let mut titles = vec![
        "NAME",
        "STATE",
        "HEALTH",
        "RTT",
        "SCORE",
        "LOSS",
        "SEEN",
        "VERSION",
        "CAPABILITIES",
        "PEER ID",
    ];
    if args.verbose {
        titles.extend([
            "BREAKER", "SESSIONS", "SENT", "RECEIVED", "ERRORS", "PENALTY", "AGENT", "ADDRESS",
        ]);
    }
    let mut listing = Listing::new(&titles);
    for peer in &peers {
        let mut row = short_row(peer);
        if args.verbose {
            row.extend(long_row(peer));
        }
        let row: Vec<&str> = row.iter().map(String::as_str).collect();
        listing.row(&row);
    }
    listing.write("no peers are known yet")?;
    Ok(Exit::Done)
}

fn short_row(peer: &PeerView) -> Vec<String> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| String::from("-"));
    let mut health = or_none(peer.health.clone());
    if peer.manual_check {
        health.push_str(", manual check needed");
    }
    vec![
        or_none(peer.name.clone()),
        peer.state.clone(),
        health,
        or_none(peer.rtt_us.map(show_us)),
        or_none(show_score(peer)),
        or_none(peer.loss_percent.map(|percent| format!("{percent} %"))),
        or_none(
            peer.last_seen_ms
                .map(|ms| format!("{} ago", show_uptime(ms))),
        ),
        or_none(peer.version.clone()),
        offers(&peer.capabilities, &peer.unattended),
        peer.peer_id.clone(),
    ]
}

/// The score and what it comes to.
fn show_score(peer: &PeerView) -> Option<String> {
    let (score, tier) = (peer.score?, peer.tier?);
    Some(format!("{score} {}", tier.as_str()))
}

fn long_row(peer: &PeerView) -> Vec<String> {
    let traffic = &peer.traffic;
    let both = |messages: u64, bytes: u64| format!("{messages} ({})", show_bytes(bytes));
    let text = |text: Option<&String>| text.map_or("-", String::as_str).to_owned();
    vec![
        peer.breaker.clone(),
        traffic.sessions.to_string(),
        both(traffic.messages_sent, traffic.bytes_sent),
        both(traffic.messages_received, traffic.bytes_received),
        (traffic.errors_sent + traffic.errors_received + traffic.unanswered).to_string(),
        traffic.penalty_points.to_string(),
        text(peer.agent.as_ref()),
        text(peer.addresses.first()),
    ]
}

/// The registry's entries.
pub(super) async fn registry(home: &Home, command: RegistryCommand, json: bool) -> Outcome {
    let capability = match &command {
        RegistryCommand::List => None,
        RegistryCommand::Find { capability } => Some(capability.as_str()),
    };
    let entries: Vec<EntryView> = connect(home)?.registry(capability).await?;
    if json {
        output::json(&entries)?;
        return Ok(Exit::Done);
    }
    let mut listing = Listing::new(&[
        "NAME",
        "STATE",
        "CAPABILITIES",
        "LABELS",
        "PEER ID",
        "ENTITY",
        "EXPIRES",
    ]);
    for entry in &entries {
        listing.row(&[
            &entry.name,
            &entry.state,
            &list_or_none(&entry.capabilities),
            &list_or_none(&entry.labels),
            &entry.peer_id,
            &short(&entry.entity_id),
            &entry.expires,
        ]);
    }
    let nobody = match capability {
        Some(capability) => format!("nobody offers {capability}"),
        None => String::from("the registry is empty"),
    };
    listing.write(&nobody)?;
    Ok(Exit::Done)
}

/// Capabilities, and which of them take no task because no agent fetches any.
fn offers(capabilities: &[String], unattended: &[String]) -> String {
    let offer = |name: &String| match unattended.contains(name) {
        true => format!("{name} (unattended)"),
        false => name.clone(),
    };
    list_or_none(&capabilities.iter().map(offer).collect::<Vec<_>>())
}

fn list_or_none(items: &[String]) -> String {
    if items.is_empty() {
        String::from("-")
    } else {
        items.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_fetches_is_told_beside_what_is_served() {
        let all = ["think", "wc"].map(String::from);
        assert_eq!(offers(&all, &all[..1]), "think (unattended), wc");
        assert_eq!(offers(&all, &[]), "think, wc");
        assert_eq!(offers(&[], &[]), "-");
    }
}
