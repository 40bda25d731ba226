//! `task notify`: have an address told that a task has ended.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::client::connect;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::names::TaskRef;
use super::super::output;
use crate::api::body::WebhookBody;
use crate::config::Home;
use crate::types::limits::WEBHOOK_SECRET_MAX_BYTES;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  junto task notify 01980000-0000-7000-8000-000000000000 \
    http://127.0.0.1:9000/done --secret-file secret"
)]
pub(in crate::cli) struct NotifyArgs {
    /// The task's id, or a part of it.
    id: TaskRef,
    /// Where the task is posted as JSON once it has ended: http, on this machine unless the
    /// settings allow others.
    url: String,
    /// Sign what is posted with this file's first line.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

pub(super) async fn run(home: &Home, args: NotifyArgs, json: bool) -> Outcome {
    let webhook = webhook(args.url, args.secret_file.as_deref())?;
    let id = args.id.id(home).await?;
    connect(home)?.webhook(id, &webhook).await?;
    if json {
        output::json(&serde_json::json!({ "id": id.to_string(), "url": webhook.url }))?;
    } else {
        eprintln!("It is told when the task has ended.");
    }
    Ok(Exit::Done)
}

/// Whom to tell, with the secret from its file: arguments are seen by everybody on the machine.
pub(super) fn webhook(url: String, secret_file: Option<&Path>) -> Result<WebhookBody, Failure> {
    let secret = secret_file.map(|path| {
        let unread = |error| Failure::failed(format!("{} cannot be read: {error}", path.display()));
        let text = std::fs::read_to_string(path).map_err(unread)?;
        let line = text.lines().next().unwrap_or_default().trim().to_owned();
        if (1..=WEBHOOK_SECRET_MAX_BYTES).contains(&line.len()) {
            return Ok(line);
        }
        let text = format!("a secret has 1 to {WEBHOOK_SECRET_MAX_BYTES} bytes");
        Err(Failure::failed(text))
    });
    Ok(WebhookBody {
        url,
        secret: secret.transpose()?,
    })
}
