//! What of a map is too large for a task's document: inputs go to the node first, and results come
//! to their files as a stream.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use tempfile::NamedTempFile;

use super::Map;
use crate::api::client::{ApiClient, ClientError, ResultStream};
use crate::cli::client::{REQUEST_PAUSES_MS, keep_asking};
use crate::cli::exit::Failure;
use crate::cli::output::show_bytes;
use crate::cli::task::payload::{Input, Source};
use crate::crypto::ContentHasher;
use crate::types::limits::PAYLOAD_MAX_BYTES;

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

    /// The results of these tasks, one behind the other, in a file of their own.
    pub(super) async fn joined(
        &self,
        ids: impl Iterator<Item = &str>,
    ) -> Result<NamedTempFile, Failure> {
        let file = NamedTempFile::new().map_err(|error| {
            Failure::failed(format!(
                "there is no room to put the results together: {error}"
            ))
        })?;
        let (path, mut bytes) = (file.path(), 0);
        for id in ids {
            let ask = |client: ApiClient| async move {
                let stream = client.result_stream(id).await?;
                // Asked again, it begins again where the one before ended.
                write(stream, path, bytes).await
            };
            bytes += keep_asking(self.home, &REQUEST_PAUSES_MS, ask).await?;
            if bytes > PAYLOAD_MAX_BYTES {
                let limit = show_bytes(PAYLOAD_MAX_BYTES);
                let text = format!("the results are more than the {limit} that a task takes");
                let hint = "write them with --into and reduce them here";
                return Err(Failure::failed(text).hint(hint));
            }
        }
        Ok(file)
    }

    /// Writes a result to its file as it comes.
    pub(super) async fn result_into(&self, id: &str, path: &Path) -> Result<(), Failure> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".part");
        let partial = Path::new(&partial);
        let ask = |client: ApiClient| async move {
            let stream = client.result_stream(id).await?;
            write(stream, partial, 0).await
        };
        keep_asking(self.home, &REQUEST_PAUSES_MS, ask).await?;
        // Under its name only once it is whole.
        fs::rename(partial, path).map_err(|error| {
            Failure::failed(format!("{} cannot be written: {error}", path.display()))
        })
    }
}

/// Writes it to the file, in place of what is there behind `from`. Returns how much it is.
async fn write(mut stream: ResultStream, path: &Path, from: u64) -> Result<u64, ClientError> {
    let unwritable =
        |error| ClientError::Other(format!("{} cannot be written: {error}", path.display()));
    let mut open = fs::OpenOptions::new();
    let mut file = { open.write(true).create(true).truncate(from == 0) }
        .open(path)
        .map_err(unwritable)?;
    file.set_len(from).map_err(unwritable)?;
    file.seek(SeekFrom::Start(from)).map_err(unwritable)?;
    let mut written = 0;
    while let Some(piece) = stream.next().await? {
        file.write_all(&piece).map_err(unwritable)?;
        written += piece.len() as u64;
    }
    match stream.bytes.is_some_and(|bytes| bytes != written) {
        true => Err(ClientError::Other(
            "the result ended before it was whole".into(),
        )),
        false => Ok(written),
    }
}
