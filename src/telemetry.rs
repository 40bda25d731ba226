//! Logs: to stderr, as text or as JSON lines. What they say is without secrets and payloads.
//!
//! The level of the configuration is Junto's own; libraries speak from `warn` on, and those of
//! libp2p that call ordinary events of a small network a warning only from `error` on.
//! `JUNTO_LOG` replaces all of it with a filter of `tracing`'s form, such as
//! `debug,libp2p_swarm=trace`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// The variable with a filter of its own.
pub const LOG_VARIABLE: &str = "JUNTO_LOG";

/// Quiet by default: a lone node's DHT, interfaces that come and go, streams that end.
const QUIET: &str = "libp2p_kad=error,libp2p_mdns=error,libp2p_gossipsub=error,\
    libp2p_identify=error,libp2p_quic=error,netlink_proto=error,yamux=error";

/// The filter does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{LOG_VARIABLE}={filter} is not a log filter ({why}): write one such as debug or junto=debug,libp2p_swarm=info"
)]
pub struct FilterError {
    filter: String,
    why: String,
}

/// Starts logging at `level` (`off` to `trace`). Only the first call of a process counts.
///
/// # Errors
/// [`FilterError`] when `JUNTO_LOG` is set to something else than a filter.
pub fn init(level: &str, json: bool) -> Result<(), FilterError> {
    let chosen = std::env::var(LOG_VARIABLE).ok();
    let filter = filter(chosen.as_deref(), level)?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colour && !json);
    // A second start in one process (tests) keeps the first one's logger.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    Ok(())
}

fn filter(chosen: Option<&str>, level: &str) -> Result<EnvFilter, FilterError> {
    let Some(chosen) = chosen.map(str::trim).filter(|chosen| !chosen.is_empty()) else {
        let others = if matches!(level, "off" | "error") {
            level
        } else {
            "warn"
        };
        return Ok(EnvFilter::new(format!("{others},junto={level},{QUIET}")));
    };
    EnvFilter::try_new(chosen).map_err(|error| FilterError {
        filter: chosen.chars().take(200).collect(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_our_own_and_libp2p_is_quiet() {
        let text = filter(None, "debug").expect("valid").to_string();
        for part in ["warn", "junto=debug", "libp2p_kad=error"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_variable_replaces_the_level() {
        let text = filter(Some("junto=trace"), "off")
            .expect("valid")
            .to_string();
        assert_eq!(text, "junto=trace");
        assert!(filter(Some(" "), "info").is_ok());
    }

    #[test]
    fn a_bad_filter_is_named() {
        let error = filter(Some("junto=loud"), "info")
            .expect_err("refused")
            .to_string();
        assert!(error.contains("JUNTO_LOG=junto=loud"), "{error}");
    }
}
