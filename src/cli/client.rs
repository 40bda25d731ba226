//! From a home to the API of the node that runs there.

use std::future::Future;
use std::time::Duration;

use super::exit::{Exit, Failure, Outcome};
use crate::api::ApiToken;
use crate::api::client::{ApiClient, ClientError};
use crate::config::Home;

/// Before another attempt at a request: a node that just went away may be restarting.
pub(super) const REQUEST_PAUSES_MS: [u64; 5] = [100, 400, 1_500, 4_000, 8_000];
/// The same for somebody who waits anyway; a minute in all.
pub(super) const WAIT_PAUSES_MS: [u64; 10] = [
    100, 400, 1_500, 4_000, 8_000, 8_000, 8_000, 10_000, 10_000, 10_000,
];

/// Runs a client's command to its end, on this thread.
pub(super) fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("this process could not be set up: {error}")))?
        .block_on(command)
}

/// The API of the node that runs at `home`; within a run that may hand on parts of its task, that of
/// the node it runs on.
pub(super) fn connect(home: &Home) -> Result<ApiClient, Failure> {
    if let (Ok(api), Ok(pass)) = (std::env::var("JUNTO_API"), std::env::var("JUNTO_API_TOKEN")) {
        return Ok(ApiClient::new(api, &pass)?);
    }
    let node = home.running()?;
    let api = node
        .and_then(|node| node.api)
        .ok_or_else(|| Failure::not_running(Some(home.path())))?;
    let token = ApiToken::load(&home.token_file())?;
    Ok(ApiClient::new(api, token.reveal())?)
}

/// Asks until there is an answer. A node that is gone is looked for again after each pause, at
/// its new address if it has one. Only for requests that may be repeated.
///
/// # Errors
/// The last attempt's; a refusal's at once.
pub(super) async fn keep_asking<T, F>(
    home: &Home,
    pauses_ms: &[u64],
    ask: impl Fn(ApiClient) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut pauses_ms = pauses_ms.iter();
    loop {
        let failure = match connect(home) {
            Ok(client) => match ask(client).await {
                Ok(answer) => return Ok(answer),
                Err(error) if may_recover(&error) => error.into(),
                Err(error) => return Err(error.into()),
            },
            Err(failure) if failure.exit == Exit::NotRunning => failure,
            Err(failure) => return Err(failure),
        };
        let Some(pause_ms) = pauses_ms.next() else {
            return Err(failure);
        };
        tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
    }
}

/// Whether the same request may do better in a moment. `Other` is a connection that broke.
fn may_recover(error: &ClientError) -> bool {
    match error {
        ClientError::NotRunning | ClientError::Timeout | ClientError::Other(_) => true,
        ClientError::Problem { code, .. } => matches!(code.as_str(), "busy" | "stopping"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::config::NodeFile;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::locate(Some(dir.path())).expect("a path");
        (dir, home)
    }

    fn node() -> NodeFile {
        NodeFile {
            api: Some(String::from("127.0.0.1:9")),
            ..NodeFile::default()
        }
    }

    #[test]
    fn waiting_for_a_restart_takes_a_minute_at_most() {
        assert!(WAIT_PAUSES_MS.iter().sum::<u64>() <= 60_000);
        assert!(REQUEST_PAUSES_MS.iter().sum::<u64>() <= 15_000);
    }

    #[test]
    fn without_a_node_there_is_no_client() {
        let (_dir, home) = home();
        assert_eq!(connect(&home).expect_err("no node").exit, Exit::NotRunning);
    }

    #[tokio::test]
    async fn a_lost_node_is_asked_again_a_bounded_number_of_times() {
        let (_dir, home) = home();
        ApiToken::load_or_create(&home.token_file()).expect("a token");
        let lock = home.lock().expect("free");
        lock.publish(&node()).expect("written");
        let asked = AtomicUsize::new(0);
        let lost = |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(ClientError::NotRunning) }
        };
        let failure = keep_asking(&home, &[1; 6], lost).await.expect_err("lost");
        assert_eq!(failure.exit, Exit::NotRunning);
        assert_eq!(asked.load(Ordering::Relaxed), 7);
        let back = |_| {
            let times = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                if times < 9 {
                    Err(ClientError::Timeout)
                } else {
                    Ok(times)
                }
            }
        };
        assert_eq!(keep_asking(&home, &[1; 6], back).await, Ok(9));
    }

    #[tokio::test]
    async fn a_node_that_comes_back_is_found() {
        let (_dir, home) = home();
        ApiToken::load_or_create(&home.token_file()).expect("a token");
        let ask = |_| async { Ok(()) };
        let failure = keep_asking(&home, &[1], ask)
            .await
            .expect_err("nobody came");
        assert_eq!(failure.exit, Exit::NotRunning);
        let lock = home.lock().expect("free");
        lock.publish(&node()).expect("written");
        assert_eq!(keep_asking(&home, &[1], ask).await, Ok(()));
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let (_dir, home) = home();
        ApiToken::load_or_create(&home.token_file()).expect("a token");
        let lock = home.lock().expect("free");
        lock.publish(&node()).expect("written");
        let asked = AtomicUsize::new(0);
        let refuse = |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            let (code, detail) = (String::from("queue_full"), String::from("full"));
            async {
                Err::<(), _>(ClientError::Problem {
                    code,
                    detail,
                    status: 503,
                })
            }
        };
        let failure = keep_asking(&home, &[1; 6], refuse)
            .await
            .expect_err("refused");
        assert_eq!(failure.exit, Exit::Failed);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
