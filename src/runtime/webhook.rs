//! Posting that a task has ended to an address that asked for it.

use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::sync::mpsc;

use super::executor::ExecDone;
use super::http::HttpCaller;
use crate::crypto::hmac_text;
use crate::proto::node::WebhookCall;

/// How long the address may take to answer.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// `sha256=` and HMAC-SHA256 under the webhook's secret over the body, in hexadecimal.
const SIGNATURE_HEADER: &str = "x-junto-signature";

/// Makes the call beside the driver; how it ended goes to `done`. The core bounds how many run.
pub(super) fn spawn(call: WebhookCall, done: mpsc::Sender<ExecDone>) {
    tokio::spawn(async move {
        let answer = post(&call).await;
        if let Err(why) = &answer {
            tracing::info!(task = call.task.id, why, "a webhook was not heard");
        }
        let number = call.number;
        // A driver that is gone loads the webhook from the disk when it is back.
        let _ = done.send(ExecDone::Webhook { number, answer }).await;
    });
}

async fn post(call: &WebhookCall) -> Result<(), String> {
    let body = serde_json::to_string(&call.task).map_err(|error| error.to_string())?;
    let signature = call.target.secret().map(|secret| {
        let tag = hmac_text(secret, body.as_bytes());
        (
            SIGNATURE_HEADER,
            format!("sha256={}", HEXLOWER.encode(&tag)),
        )
    });
    let headers: Vec<_> = signature.into_iter().collect();
    HttpCaller::new()?
        .tell(call.target.url(), body, &headers, CALL_LIMIT)
        .await
}
