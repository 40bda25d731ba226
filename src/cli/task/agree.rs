//! Work that several workers do: how it is asked for, and who came to what.

use clap::Args;

use super::super::names::Names;
use super::super::output::Listing;
use crate::api::body::AgreementBody;
use crate::proto::node::{AgreementView, TaskView};
use crate::types::Compare;

#[derive(Debug, Args)]
pub(super) struct AgreementArgs {
    /// Have so many workers do it, none of whom learns the others' results before its own is fixed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=16))]
    replicas: Option<u8>,
    /// How many of them must come to the same result [default: more than half].
    #[arg(long, value_name = "K", requires = "replicas",
        value_parser = clap::value_parser!(u8).range(2..=16))]
    agree: Option<u8>,
    /// What of a result counts: bytes, json or text.
    #[arg(long, value_name = "FORM", requires = "replicas", default_value_t = Compare::Bytes)]
    compare: Compare,
}

impl AgreementArgs {
    pub(super) fn body(&self) -> Option<AgreementBody> {
        let replicas = self.replicas?;
        Some(AgreementBody {
            replicas,
            agree: self.agree,
            compare: self.compare,
        })
    }
}

/// What `task show` says of an agreement beside its votes.
pub(super) fn describe(task: &TaskView, names: &Names) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    lines.extend(task.part_of.clone().map(|whole| ("part of", whole)));
    if let Some(of) = &task.agreement {
        let AgreementView {
            replicas,
            agree,
            compare,
            round,
            ..
        } = of;
        let said = format!("{agree} of {replicas} by {compare}, in round {round}");
        lines.push(("agreement", said));
    }
    let dissent = task.dissent.as_ref().filter(|who| !who.is_empty());
    lines.extend(dissent.map(|who| {
        let who: Vec<String> = who.iter().map(|who| names.show(who)).collect();
        ("dissent", who.join(", "))
    }));
    lines
}

/// What each part came to.
pub(super) fn listing(agreement: &AgreementView, names: &Names) -> Listing {
    let mut listing = Listing::new(&["WORKER", "ROUND", "VERDICT", "HASH", "PART"]);
    for vote in &agreement.votes {
        let hash = vote
            .hash
            .as_deref()
            .map_or("-", |hash| &hash[..hash.len().min(16)]);
        listing.row(&[
            &vote
                .worker
                .as_deref()
                .map_or_else(|| String::from("-"), |who| names.show(who)),
            &vote.round.to_string(),
            &vote.verdict,
            hash,
            &vote.part,
        ]);
    }
    listing
}
