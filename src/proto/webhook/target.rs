//! Where a webhook goes.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::crypto::{Digest, hash};
use crate::types::limits::{WEBHOOK_SECRET_MAX_BYTES, WEBHOOK_URL_MAX_BYTES};

/// An address and what signs what is posted there. Shows neither path, query nor secret: each may
/// hold what only the address should know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Why an address or a secret is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("it is not an address such as http://127.0.0.1:9000/done, without a user's name")]
    Url,
    #[error("it is longer than {WEBHOOK_URL_MAX_BYTES} bytes")]
    TooLong,
    #[error("a secret has 1 to {WEBHOOK_SECRET_MAX_BYTES} bytes")]
    Secret,
}

impl Target {
    /// Checks both.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn new(url: String, secret: Option<String>) -> Result<Target, TargetError> {
        if url.len() > WEBHOOK_URL_MAX_BYTES {
            return Err(TargetError::TooLong);
        }
        let fits = |secret: &String| (1..=WEBHOOK_SECRET_MAX_BYTES).contains(&secret.len());
        if !secret.as_ref().is_none_or(fits) {
            return Err(TargetError::Secret);
        }
        let target = Target { url, secret };
        // What readers of addresses disagree about is refused, not guessed.
        let plain = |c: u8| c.is_ascii_graphic() && !matches!(c, b'@' | b'\\' | b'#');
        if target.url.bytes().all(plain) && target.host().is_some() {
            Ok(target)
        } else {
            Err(TargetError::Url)
        }
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What signs.
    pub fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// What tells it from another one; of the secret nobody learns anything from it.
    pub fn digest(&self) -> Digest {
        let secret = self.secret.as_deref().unwrap_or_default();
        hash("webhook", &[self.url.as_bytes(), secret.as_bytes()])
    }

    /// Whether it is on this machine. What is not certainly here is elsewhere.
    pub fn is_here(&self) -> bool {
        self.host().is_some_and(|host| {
            let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
            host == "localhost" || ip.is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
        })
    }

    /// The host as written, an IPv6 address in its brackets.
    fn host(&self) -> Option<&str> {
        let rest = self.url.strip_prefix("http://")?;
        let authority = rest.split(['/', '?']).next()?;
        let (host, port) = match authority.rfind(']') {
            Some(end) => authority.split_at(end + 1),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port_fits = match port.strip_prefix(':') {
            Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
            None => port.is_empty(),
        };
        (!host.is_empty() && port_fits).then_some(host)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host().unwrap_or_default();
        f.debug_struct("Target")
            .field("host", &host)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, TargetError> {
        Target::new(url.to_owned(), None)
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        let here = [
            "http://127.0.0.1:9000/done",
            "http://localhost/",
            "http://[::1]:80?a=b",
            "http://127.8.9.1",
        ];
        for url in here {
            assert!(target(url).expect("an address").is_here(), "{url}");
        }
        let elsewhere = [
            "http://10.0.0.1/",
            "http://localhost.example/",
            "http://example.com:8080/127.0.0.1",
            "http://2130706433/",
            "http://127.1/",
            "http://localhost%2eexample/",
            "http://[2001:db8::1]/",
        ];
        for url in elsewhere {
            assert!(!target(url).expect("an address").is_here(), "{url}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let odd = [
            "",
            "localhost:9000",
            "https://localhost/",
            "file:///etc/passwd",
            "http://",
            "http://:80/",
            "http://user@localhost/",
            "http://localhost\\@example.com/",
            "http://localhost:0/",
            "http://localhost:99999/",
            "http://localhost/a b",
            "http://localhost/\u{e9}",
            "http://localhost/#part",
        ];
        for url in odd {
            assert_eq!(target(url), Err(TargetError::Url), "{url:?}");
        }
        let long = format!("http://localhost/{}", "x".repeat(WEBHOOK_URL_MAX_BYTES));
        assert_eq!(target(&long), Err(TargetError::TooLong));
        let empty = Target::new("http://localhost/".into(), Some(String::new()));
        assert_eq!(empty, Err(TargetError::Secret));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let target = Target::new(
            "http://127.0.0.1/hook?token=hidden".into(),
            Some("hidden".into()),
        );
        let shown = format!("{target:?}");
        assert!(
            shown.contains("127.0.0.1") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}
