//! Many seeds of the simulated network: `JUNTO_SIM_SEEDS` says how many, `JUNTO_SIM_SEED` names
//! one to replay, `JUNTO_SIM_LINES` how many lines a failure shows.

use std::time::Instant;

use junto::sim::{self, WorldConfig};

const SEEDS: u64 = 1_000;
const THREADS: usize = 2;
/// With fewer seeds some kind of fault may by chance not have struck.
const SEEDS_FOR_EVERY_FAULT: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
    )
}

#[test]
fn many_worlds_hold_every_invariant() {
    let seeds = match number("JUNTO_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("JUNTO_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let started = Instant::now();
    let lines = number("JUNTO_SIM_LINES").map(|lines| lines as usize);
    let config = WorldConfig {
        history_lines: lines.unwrap_or(0),
        ..WorldConfig::default()
    };
    let report = match sim::run_many(seeds, THREADS, &config) {
        Ok(report) => report,
        Err(failure) => panic!("\n{failure}\n"),
    };
    println!("{report}elapsed: {:.1} s", started.elapsed().as_secs_f64());
    if report.seeds >= SEEDS_FOR_EVERY_FAULT {
        let peaks = report.peaks.far_off();
        let untouched = [
            report.faults.untouched(),
            report.outcomes.untouched(),
            peaks,
        ]
        .concat();
        assert!(untouched.is_empty(), "never seen: {}", untouched.join(", "));
    }
}
