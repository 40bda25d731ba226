//! `status`, `peers`, `registry`: what the running node knows.

use clap::Subcommand;

use super::client::connect;
use super::exit::{Exit, Outcome};
use super::output::{self, Listing, short, show_uptime};
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
        ("serving", list_or_none(&status.capabilities)),
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
        ("for others", format!("{} tasks held", status.held)),
        ("storage", status.storage.clone()),
    ]);
    lines
}

/// The peers, without the node itself.
pub(super) async fn peers(home: &Home, json: bool) -> Outcome {
    let peers: Vec<PeerView> = connect(home)?.peers().await?;
    if json {
        output::json(&peers)?;
        return Ok(Exit::Done);
    }
    let mut listing = Listing::new(&["NAME", "STATE", "CAPABILITIES", "PEER ID", "ADDRESS"]);
    for peer in &peers {
        listing.row(&[
            peer.name.as_deref().unwrap_or("-"),
            &peer.state,
            &list_or_none(&peer.capabilities),
            &peer.peer_id,
            peer.addresses.first().map_or("-", String::as_str),
        ]);
    }
    listing.write("no peers are known yet")?;
    Ok(Exit::Done)
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
        "PEER ID",
        "ENTITY",
        "EXPIRES",
    ]);
    for entry in &entries {
        listing.row(&[
            &entry.name,
            &entry.state,
            &list_or_none(&entry.capabilities),
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

fn list_or_none(items: &[String]) -> String {
    if items.is_empty() {
        String::from("-")
    } else {
        items.join(", ")
    }
}
