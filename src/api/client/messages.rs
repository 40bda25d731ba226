//! What agents say to each other: messages out, the inbox.

use std::fmt::Display;
use std::time::Duration;

use super::http::{ANSWER_TIMEOUT, WAIT_SLACK, json};
use super::{ApiClient, ClientError};
use crate::api::body::{
    InboxParams, MessageBody, ReplyBody, ReportBody, SpokenBody, TalkBody, WAIT_MAX_MS,
};
use crate::proto::node::MessageView;

impl ApiClient {
    /// Says something to a peer's agent and awaits its reply.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn talk(&self, talk: &TalkBody) -> Result<SpokenBody, ClientError> {
        let limit = Duration::from_millis(talk.timeout_ms) + WAIT_SLACK;
        self.post(&["v1", "talk"], Some(talk), limit).await
    }

    /// Tells a peer's agent something.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn report(&self, report: &ReportBody) -> Result<(), ClientError> {
        let limit = Duration::from_millis(report.timeout_ms) + WAIT_SLACK;
        self.tell(&["v1", "report"], Some(report), limit).await
    }

    /// The messages for our agent that `params` asks for.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn inbox(&self, params: &InboxParams) -> Result<Vec<MessageView>, ClientError> {
        let wait = Duration::from_millis(params.wait_ms.unwrap_or(0).min(WAIT_MAX_MS));
        let mut url = self.url(&["v1", "inbox"], &[]);
        url.query_pairs_mut().extend_pairs(params.pairs());
        json(self.got(url, wait + ANSWER_TIMEOUT).await?).await
    }

    /// One message with its body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn message(&self, id: impl Display) -> Result<MessageBody, ClientError> {
        self.fetch(&["v1", "inbox", &id.to_string()], &[]).await
    }

    /// Answers a talk.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reply(&self, id: impl Display, reply: &ReplyBody) -> Result<(), ClientError> {
        let path = ["v1", "inbox", &id.to_string(), "reply"];
        self.tell(&path, Some(reply), ANSWER_TIMEOUT).await
    }

    /// Acknowledges a message.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn acknowledge(&self, id: impl Display) -> Result<(), ClientError> {
        let path = ["v1", "inbox", &id.to_string(), "ack"];
        self.tell(&path, None::<&()>, ANSWER_TIMEOUT).await
    }

    /// What shows a message to a third party.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn proof(&self, id: impl Display) -> Result<String, ClientError> {
        self.text(&["v1", "inbox", &id.to_string(), "proof"]).await
    }
}
