//! How single arguments are read. What is wrong here is wrong usage: status 2.

use std::str::FromStr;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

use crate::api::body::{OrphanRule, TALK_TIMEOUT_MAX_MS};
use crate::config::parse_duration_ms;
use crate::proto::node::Priority;
use crate::types::limits::WAKE_REASON_MAX_BYTES;
use crate::types::{Capability, Tier, Wall};

/// `CAP=COMMAND`, as in `--serve wc='wc -w'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSpec {
    pub capability: Capability,
    /// Given to `/bin/sh -c`.
    pub command: String,
}

impl FromStr for ServeSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<ServeSpec, String> {
        let (name, command) = text
            .split_once('=')
            .ok_or("write CAPABILITY=COMMAND, such as wc='wc -w'".to_owned())?;
        let capability = name.parse().map_err(|error| format!("{error}"))?;
        if command.trim().is_empty() {
            return Err(format!(
                "the command of {name} is empty: write {name}='COMMAND'"
            ));
        }
        Ok(ServeSpec {
            capability,
            command: command.to_owned(),
        })
    }
}

/// A time, in milliseconds, of one second to seven days.
pub(super) fn span_ms(text: &str) -> Result<u64, String> {
    const MIN_MS: u64 = 1_000;
    const MAX_MS: u64 = 7 * 24 * 3_600 * 1_000;
    match parse_duration_ms(text) {
        Ok(ms) if (MIN_MS..=MAX_MS).contains(&ms) => Ok(ms),
        Ok(_) => Err(String::from("use 1s to 7d")),
        Err(error) => Err(error.to_string()),
    }
}

/// How long an agent is waited for, in milliseconds: a second to a minute.
pub(super) fn talk_ms(text: &str) -> Result<u64, String> {
    match parse_duration_ms(text) {
        Ok(ms) if (1_000..=TALK_TIMEOUT_MAX_MS).contains(&ms) => Ok(ms),
        Ok(_) => Err(format!("use 1s to {}s", TALK_TIMEOUT_MAX_MS / 1_000)),
        Err(error) => Err(error.to_string()),
    }
}

/// A wait, in milliseconds, of one second to thirty days.
pub(super) fn delay_ms(text: &str) -> Result<u64, String> {
    const MIN_MS: u64 = 1_000;
    const MAX_MS: u64 = 30 * 24 * 3_600 * 1_000;
    match parse_duration_ms(text) {
        Ok(ms) if (MIN_MS..=MAX_MS).contains(&ms) => Ok(ms),
        Ok(_) => Err(String::from("use 1s to 30d")),
        Err(error) => Err(error.to_string()),
    }
}

/// A time as RFC 3339 writes it.
pub(super) fn moment(text: &str) -> Result<String, String> {
    match Wall::from_rfc3339(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(String::from("write it as 2030-01-31T12:00:00Z")),
    }
}

/// The text that says why somebody is woken.
pub(super) fn wake_reason(text: &str) -> Result<String, String> {
    if text.len() > WAKE_REASON_MAX_BYTES {
        return Err(format!("use at most {WAKE_REASON_MAX_BYTES} bytes"));
    }
    Ok(text.to_owned())
}

/// The name of a tier.
pub(super) fn tier() -> impl TypedValueParser<Value = Tier> {
    PossibleValuesParser::new(Tier::ALL.map(Tier::as_str)).map(|name| {
        let named = Tier::ALL.into_iter().find(|tier| tier.as_str() == name);
        named.expect("only the names of tiers pass")
    })
}

/// The four priorities by name.
pub(super) fn priority() -> impl TypedValueParser<Value = Priority> {
    PossibleValuesParser::new(["low", "normal", "high", "critical"]).map(|name| {
        match name.as_str() {
            "low" => Priority::Low,
            "high" => Priority::High,
            "critical" => Priority::Critical,
            _ => Priority::Normal,
        }
    })
}

/// What becomes of a run without its lease.
pub(super) fn orphan() -> impl TypedValueParser<Value = OrphanRule> {
    PossibleValuesParser::new(["continue", "stop"]).map(|name| match name.as_str() {
        "stop" => OrphanRule::Stop,
        _ => OrphanRule::Continue,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_served_command_may_hold_equals_signs() {
        let spec: ServeSpec = "wc=env A=b wc -w".parse().expect("valid");
        assert_eq!(
            (spec.capability.as_str(), spec.command.as_str()),
            ("wc", "env A=b wc -w")
        );
    }

    #[test]
    fn a_bad_serve_says_how_to_write_it() {
        for (text, part) in [
            ("wc", "CAPABILITY=COMMAND"),
            ("w c=x", "a-z"),
            ("=x", "a-z"),
            ("wc= ", "is empty"),
        ] {
            let error = text.parse::<ServeSpec>().expect_err(text);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn spans_have_limits() {
        assert_eq!(span_ms("10m"), Ok(600_000));
        for text in ["1ms", "8d", "soon"] {
            assert!(span_ms(text).is_err(), "{text}");
        }
    }
}
