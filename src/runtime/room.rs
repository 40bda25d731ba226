//! What is free on the disk of the store, looked at again and again beside the driver.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::RuntimeConfig;
use super::claims::Claims;
use crate::proto::node::DiskRoom;
use crate::store;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The newest look at the disk. Ends with its receiver.
pub(super) async fn watch(config: &RuntimeConfig, claims: Claims) -> watch::Receiver<DiskRoom> {
    let (tell, told) = watch::channel(DiskRoom {
        free_bytes: u64::MAX,
        keep_bytes: 0,
    });
    let keep_bytes = config.files.keep_free_bytes;
    // Who keeps nothing free goes on until the disk refuses.
    let store = config.store.clone().filter(|_| keep_bytes > 0);
    let Some(store) = store else {
        return told;
    };
    look(&tell, &store, keep_bytes, &claims).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tell.closed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    look(&tell, &store, keep_bytes, &claims).await;
                }
            }
        }
    });
    told
}

async fn look(tell: &watch::Sender<DiskRoom>, store: &Path, keep_bytes: u64, claims: &Claims) {
    let (dir, claims) = (store.to_owned(), claims.clone());
    let seen = tokio::task::spawn_blocking(move || see(&dir, keep_bytes, &claims)).await;
    match seen {
        Ok(Ok(seen)) => {
            tell.send_replace(seen);
        }
        Ok(Err(error)) => tracing::debug!(%error, "the disk of the store was not looked at"),
        // The node is stopping.
        Err(_) => {}
    }
}

/// A start copies the log before it opens it: without room for that nothing would come back.
fn see(dir: &Path, keep_bytes: u64, claims: &Claims) -> io::Result<DiskRoom> {
    let (copied, _) = store::room(dir)?;
    Ok(DiskRoom {
        free_bytes: claims.free(dir)?,
        keep_bytes: keep_bytes.max(copied),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_start_copies_is_to_stay_free_if_that_is_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = vec![0; 3000];
        std::fs::write(dir.path().join("db"), &log).expect("written");
        let seen = |keep| see(dir.path(), keep, &Claims::default()).expect("it can be looked at");
        assert_eq!(seen(10).keep_bytes, 3000);
        assert_eq!(seen(10_000).keep_bytes, 10_000);
        assert!(seen(10).free_bytes > 0);
    }
}
