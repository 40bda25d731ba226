//! What of a map is too large for a task's document: inputs go to the node first, and results come
//! to their files as a stream.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER;

use super::Map;
use crate::api::client::{ApiClient, ClientError, ResultStream};
use crate::cli::client::{REQUEST_PAUSES_MS, keep_asking};
use crate::cli::exit::Failure;
use crate::cli::task::payload::{Input, Source};
use crate::crypto::ContentHasher;

/// Inputs on their way to the node at once.
pub(super) const UPLOADS_MAX: usize = 2;
const PIECE_BYTES: usize = 256 * 1024;

/// One of a map's inputs.
pub(super) enum Given {
    Small(Vec<u8>),
    Large { source: Source, hash: String },
}

impl Given {
    /// A file's content. What a large one is called by is known before it is handed over: so a map
    /// that goes on finds its tasks without that.
    pub(super) async fn of_file(path: &Path) -> Result<Given, Failure> {
        match Input::of_file(path)? {
            Input::Small(bytes) => Ok(Given::Small(bytes)),
            Input::Large(source) => {
                let name = path.display().to_string();
                let hashed = tokio::task::spawn_blocking(move || {
                    let hash = hash_of(source.path())?;
                    Ok::<_, io::Error>(Given::Large { source, hash })
                });
                let hashed = hashed.await.unwrap_or_else(|error| Err(error.into()));
                hashed.map_err(|error| Failure::failed(format!("{name} cannot be read: {error}")))
            }
        }
    }
}

fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let (mut hasher, mut piece) = (ContentHasher::default(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(HEXLOWER.encode(&hasher.finish())),
            read => hasher.update(&piece[..read]),
        }
    }
}

impl Map<'_> {
    /// Hands a large input over; false while the node has no room for it.
    pub(super) async fn bring(&self, source: &Source, hash: &str) -> Result<bool, Failure> {
        let path = source.path();
        let ask = |client: ApiClient| async move {
            match client.upload(path, |_| {}).await {
                Err(ClientError::Problem { code, .. }) if code == "queue_full" => Ok(None),
                answer => answer.map(Some),
            }
        };
        let Ok(_turn) = self.uploads.acquire().await else {
            unreachable!("nobody closes it");
        };
        let kept = keep_asking(self.home, &REQUEST_PAUSES_MS, ask).await?;
        match kept {
            None => Ok(false),
            Some(view) if view.hash == hash => Ok(true),
            Some(_) => {
                let text = format!("{} changed while it was read", path.display());
                Err(Failure::failed(text))
            }
        }
    }

    /// Writes a result to its file as it comes.
    pub(super) async fn result_into(&self, id: &str, path: &Path) -> Result<(), Failure> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        let partial = Path::new(&partial);
        let ask = |client: ApiClient| async move {
            let stream = client.result_stream(id).await?;
            write(stream, partial).await
        };
        keep_asking(self.home, &REQUEST_PAUSES_MS, ask).await?;
        // Under its name only once it is whole.
        fs::rename(partial, path).map_err(|error| {
            Failure::failed(format!("{} cannot be written: {error}", path.display()))
        })
    }
}

async fn write(mut stream: ResultStream, path: &Path) -> Result<(), ClientError> {
    let unwritable =
        |error| ClientError::Other(format!("{} cannot be written: {error}", path.display()));
    let mut file = fs::File::create(path).map_err(unwritable)?;
    let mut written = 0;
    while let Some(piece) = stream.next().await? {
        file.write_all(&piece).map_err(unwritable)?;
        written += piece.len() as u64;
    }
    match stream.bytes.is_some_and(|bytes| bytes != written) {
        true => Err(ClientError::Other(
            "the result ended before it was whole".into(),
        )),
        false => Ok(()),
    }
}
