//! What a run gives: held in memory while it fits a message, and a file from then on.

use super::command::{Ended, too_large};
use crate::runtime::payloads::{NewPayload, PayloadError, PayloadFolder};
use crate::types::FileRef;
use crate::types::limits::RESULT_MAX_BYTES;

/// A result that is a file.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) content: FileRef,
    pub(super) new: NewPayload,
}

impl PartialEq for Large {
    fn eq(&self, other: &Large) -> bool {
        self.content == other.content
    }
}

impl Eq for Large {}

/// Why a result is none.
#[derive(Debug)]
pub(super) enum Cut {
    TooLarge,
    Disk(String),
}

/// Takes in a result piece by piece.
pub(super) struct Output {
    max_bytes: usize,
    /// Where it goes when it is too large for a message. None: then it is too large.
    folder: Option<PayloadFolder>,
    small: Vec<u8>,
    large: Option<NewPayload>,
    bytes: usize,
}

impl Output {
    pub(super) fn new(max_bytes: usize, folder: Option<PayloadFolder>) -> Output {
        Output {
            max_bytes,
            folder,
            small: Vec::new(),
            large: None,
            bytes: 0,
        }
    }

    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Cut> {
        self.bytes += piece.len();
        if self.bytes > self.max_bytes {
            return Err(Cut::TooLarge);
        }
        if self.large.is_none() && self.bytes <= RESULT_MAX_BYTES {
            self.small.extend_from_slice(piece);
            return Ok(());
        }
        let large = match &mut self.large {
            Some(large) => large,
            None => {
                let folder = self.folder.as_ref().ok_or(Cut::TooLarge)?;
                let mut new = folder.create(None).await.map_err(cut)?;
                new.write(&std::mem::take(&mut self.small))
                    .await
                    .map_err(cut)?;
                self.large.insert(new)
            }
        };
        large.write(piece).await.map_err(cut)
    }

    pub(super) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// What it came to.
    pub(super) async fn finish(self) -> Ended {
        let max_bytes = self.max_bytes;
        let Some(mut new) = self.large else {
            return Ended::Completed(self.small);
        };
        match new.finish().await.map_err(cut) {
            Ok(content) => Ended::CompletedFile(Large { content, new }),
            Err(why) => why.into_ended(max_bytes),
        }
    }
}

impl Cut {
    pub(super) fn into_ended(self, max_bytes: usize) -> Ended {
        match self {
            Cut::TooLarge => Ended::Failed(too_large(max_bytes)),
            Cut::Disk(why) => Ended::Failed(why),
        }
    }
}

fn cut(error: PayloadError) -> Cut {
    match error {
        PayloadError::TooLarge(_) => Cut::TooLarge,
        error => {
            // What exactly is for the log: the requester gets to see the reason.
            tracing::warn!(%error, "a result cannot be kept");
            Cut::Disk("the worker's disk does not take the result".into())
        }
    }
}
