//! Tasks for a program that speaks HTTP: the input is posted to it, the body of its answer is the
//! result. A run that is to end drops the connection, which is how the program hears of it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Body, Response, StatusCode};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::command::{Ended, text_of};
use super::output::Output;
use crate::runtime::http::{Answer, HttpCaller, root_cause};
use crate::runtime::payloads::{PayloadBody, PayloadFolder};
use crate::types::limits::{REASON_MAX_BYTES, STDERR_TAIL_BYTES};

/// A program that is just starting, or behind a proxy that lost it, is tried again: so often, after
/// pauses that double.
const TRIES_MAX: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// One task for the program at `url`.
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) input: Vec<u8>,
    /// The input, where it is a file; then `input` is empty.
    pub(super) input_file: Option<PathBuf>,
    pub(super) output_max_bytes: usize,
    /// Where a result goes that is too large for a message.
    pub(super) payloads: PayloadFolder,
    pub(super) timeout: Duration,
}

impl Post {
    /// Posts until there is an answer that counts, the time is up, or `stop`.
    pub(super) async fn run(
        self,
        caller: Result<HttpCaller, String>,
        stop: &CancellationToken,
    ) -> Ended {
        let caller = match caller {
            Ok(caller) => caller,
            Err(why) => return Ended::Failed(why),
        };
        let limit = self.timeout;
        tokio::select! {
            biased;
            () = stop.cancelled() => Ended::Killed,
            ended = timeout(limit, self.patiently(&caller)) => ended.unwrap_or_else(|_| {
                Ended::Failed(format!("took longer than {}, was dropped", text_of(limit)))
            }),
        }
    }

    async fn patiently(self, caller: &HttpCaller) -> Ended {
        let input = Bytes::from(self.input);
        let max_bytes = self.output_max_bytes;
        let mut pause = FIRST_PAUSE;
        for tried in 1.. {
            let body = match &self.input_file {
                None => Body::from(input.clone()),
                Some(path) => match PayloadBody::open(path).await {
                    Ok(body) => Body::wrap(body),
                    Err(error) => {
                        tracing::warn!(%error, "an input cannot be read");
                        return Ended::Failed("the worker cannot read the input".into());
                    }
                },
            };
            let answer = caller.post_input(&self.url, &self.headers, body).await;
            let (passing, why) = match answer {
                Answer::Result(response) => {
                    let output = Output::new(max_bytes, Some(self.payloads));
                    return take_in(response, output, max_bytes).await;
                }
                // It may have begun: whether to do it once more is the requester's decision.
                Answer::Broken(why) => (false, why),
                Answer::NotReached(why) => (
                    true,
                    format!("the program that does it cannot be reached: {why}"),
                ),
                Answer::Refused { status, tail } => {
                    // Of other answers nobody knows whether it has begun.
                    let passing = status == StatusCode::SERVICE_UNAVAILABLE;
                    let tail = tail_text(&tail);
                    let colon = if tail.is_empty() { "" } else { ": " };
                    (passing, format!("answered with {status}{colon}{tail}"))
                }
            };
            if !passing || tried == TRIES_MAX {
                return Ended::Failed(cut(why));
            }
            sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the last try returns")
    }
}

/// The body of an answer is the result.
async fn take_in(mut response: Response, mut output: Output, max_bytes: usize) -> Ended {
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                if let Err(cut) = output.write(&piece).await {
                    return cut.into_ended(max_bytes);
                }
            }
            Ok(None) => return output.finish().await,
            Err(error) => return Ended::Failed(cut(root_cause(&error))),
        }
    }
}

/// The end of what it said, as `stderr`'s end is for a command.
fn tail_text(body: &[u8]) -> String {
    let from = body.len().saturating_sub(STDERR_TAIL_BYTES);
    let text = String::from_utf8_lossy(&body[from..]);
    text.trim().replace('\0', "")
}

fn cut(mut why: String) -> String {
    why.truncate(why.floor_char_boundary(REASON_MAX_BYTES));
    why
}
