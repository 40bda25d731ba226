//! What shows messages and tasks to others: written to files, and checked with nothing but a file.

mod shares;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::shares::{Shares, shares};
use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::types::EntityId;
use crate::wire::{
    AgreePart, EVIDENCE_MAX_CHARS, EvidenceError, ProvenOutcome, Stated, TASK_EVIDENCE_MAX_CHARS,
    TaskEvidence,
};

/// Writes a proof to a file, which must not be there yet, or to stdout.
pub(super) fn save(text: &str, out: Option<&Path>) -> Outcome {
    let Some(path) = out else {
        output::bytes(text.as_bytes())?;
        return Ok(Exit::Done);
    };
    let failed = |error| Failure::failed(format!("{} cannot be written: {error}", path.display()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    eprintln!("Wrote the proof to {}.", path.display());
    Ok(Exit::Done)
}

/// Reads a proof of either kind from a file, or with `-` from stdin.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let unread = |error| Failure::failed(format!("{} does not read: {error}", file.display()));
    let max = EVIDENCE_MAX_CHARS.max(TASK_EVIDENCE_MAX_CHARS);
    let mut text = String::new();
    let from: Box<dyn Read> = match file == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(File::open(file).map_err(unread)?),
    };
    let mut from = from.take(max as u64 + 1);
    if from.read_to_string(&mut text).map_err(unread)? > max {
        return Err(unread(std::io::Error::other("it is too long for a proof")));
    }
    Ok(text)
}

/// What a proof must say beside that it holds.
pub(super) struct Expected<'a> {
    pub(super) from: Option<EntityId>,
    pub(super) to: Option<EntityId>,
    /// A result of a task, as a file.
    pub(super) result: Option<&'a Path>,
}

/// One outcome in the document of `inbox verify --json`.
#[derive(Serialize)]
struct OutcomeReport<'a> {
    from: String,
    name: &'a str,
    to: String,
    task: String,
    token: u64,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// SHA-256 of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// BLAKE3 of a result that is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commitment: Option<String>,
    /// The task that it was one of several runs of.
    #[serde(skip_serializing_if = "Option::is_none")]
    part_of: Option<String>,
    /// Whether the result is what its worker had committed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    fits: Option<bool>,
    /// Whether the result is the file that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_result: Option<bool>,
    key: String,
}

/// The document of `inbox verify --json` for a task.
#[derive(Serialize)]
struct TaskReport<'a> {
    outcomes: Vec<OutcomeReport<'a>>,
    #[serde(flatten)]
    shares: Option<&'a Shares>,
}

/// Checks what shows outcomes of a task, and tells them.
pub(super) fn verify_task(text: &str, expected: &Expected<'_>, json: bool) -> Outcome {
    let broken = |error: EvidenceError| Failure::failed(error.to_string());
    let evidence = TaskEvidence::from_text(text).map_err(broken)?;
    let outcomes = evidence.verify().map_err(broken)?;
    let signers = outcomes.iter().map(|of| of.proof.worker);
    if let Some(from) = expected.from
        && !signers.clone().any(|signer| signer == from)
    {
        let signers: Vec<String> = signers.map(|signer| signer.to_string()).collect();
        let text = format!(
            "the proof is genuine, but was signed by {}",
            signers.join(", ")
        );
        return Err(Failure::failed(text));
    }
    if let Some(to) = expected.to
        && let Some(other) = outcomes.iter().find(|of| of.proof.requester != to)
    {
        let other = other.proof.requester;
        let text = format!("the proof is genuine, but the task was one of {other}");
        return Err(Failure::failed(text));
    }
    let content = expected.result.map(content).transpose()?;
    let reports = outcomes.iter().map(|of| report(of, content.as_ref()));
    let reports: Vec<OutcomeReport<'_>> = reports.collect();
    let is_one = reports.iter().any(|of| of.is_result == Some(true));
    let shares = content.as_ref().and_then(|content| {
        shares(&outcomes, evidence.agree, |of| {
            report(of, Some(content)).is_result == Some(true)
        })
    });
    if json {
        output::json(&TaskReport {
            outcomes: reports,
            shares: shares.as_ref(),
        })?;
    } else {
        eprintln!("The proof holds.");
        reports.iter().for_each(show);
        if let Some(shares) = shares.as_ref().filter(|shares| shares.are_enough()) {
            println!("{shares}");
        }
    }
    if let Some(file) = expected.result.filter(|_| !is_one) {
        let text = format!(
            "the proof is genuine, but {} is another result",
            file.display()
        );
        return Err(Failure::failed(text));
    }
    match shares.filter(|shares| !shares.are_enough()) {
        Some(shares) => Err(few(&shares)),
        None => Ok(Exit::Done),
    }
}

fn few(shares: &Shares) -> Failure {
    let text = format!(
        "the proof is genuine, but only {shares}, and {} had to",
        shares.needed
    );
    Failure::failed(text).hint(
        "results are held against each other byte by byte here: of a task with --compare json \
         or text others may have told the same in other words",
    )
}

/// Both hashes of a file.
struct Content {
    size: u64,
    sha256: [u8; 32],
    blake3: [u8; 32],
}

fn content(file: &Path) -> Result<Content, Failure> {
    let unread = |error| Failure::failed(format!("{} does not read: {error}", file.display()));
    let mut from = File::open(file).map_err(unread)?;
    let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
    let (mut buffer, mut size) = (vec![0; 64 * 1024], 0);
    loop {
        let read = from.read(&mut buffer).map_err(unread)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        sha256.update(&buffer[..read]);
        blake3.update(&buffer[..read]);
    }
    Ok(Content {
        size,
        sha256: sha256.finalize().into(),
        blake3: blake3.finalize().into(),
    })
}

fn report<'a>(of: &'a ProvenOutcome, content: Option<&Content>) -> OutcomeReport<'a> {
    let proof = &of.proof;
    let hex = |hash: [u8; 32]| Some(HEXLOWER.encode(&hash));
    let part = |agree: AgreePart| Some(agree.parent.to_string());
    let mut report = OutcomeReport {
        from: proof.worker.to_string(),
        name: &of.name,
        to: proof.requester.to_string(),
        task: proof.task.to_string(),
        token: proof.token.0,
        outcome: proof.outcome.as_str(),
        size: None,
        sha256: None,
        blake3: None,
        commitment: None,
        part_of: None,
        fits: of.opens,
        is_result: None,
        key: HEXLOWER.encode(&proof.key.0),
    };
    match proof.outcome {
        Stated::Completed { size, hash } | Stated::Revealed { size, hash, .. } => {
            (report.size, report.sha256) = (Some(size), hex(hash));
            report.is_result = content.map(|of| (of.size, of.sha256) == (size, hash));
        }
        Stated::CompletedFile { file } => {
            (report.size, report.blake3) = (Some(file.size), hex(file.root));
            report.is_result = content.map(|of| (of.size, of.blake3) == (file.size, file.root));
        }
        Stated::Committed { commitment, agree } => {
            (report.commitment, report.part_of) = (hex(commitment), part(agree));
        }
        Stated::Failed { .. } | Stated::Released | Stated::HandedOver { .. } => {}
    }
    report
}

fn show(of: &OutcomeReport<'_>) {
    println!("{}", of.outcome);
    let line = |what: &str, text: &str| println!("  {what:<10}  {text}");
    line("from", &format!("{} ({})", of.from, output::clean(of.name)));
    line("to", &of.to);
    line("task", &of.task);
    if let Some(whole) = &of.part_of {
        line("part of", whole);
    }
    line("token", &of.token.to_string());
    if let Some(size) = of.size {
        line("size", &format!("{size} bytes"));
    }
    for (what, hash) in [
        ("sha256", &of.sha256),
        ("blake3", &of.blake3),
        ("commitment", &of.commitment),
    ] {
        if let Some(hash) = hash {
            line(what, hash);
        }
    }
    match of.fits {
        Some(true) => line("fits", "it is what its worker had committed to"),
        Some(false) => line("fits", "NO: its worker had committed to another result"),
        None => {}
    }
    match of.is_result {
        Some(true) => line("file", "it is this result"),
        Some(false) => line("file", "it is another result"),
        None => {}
    }
}
