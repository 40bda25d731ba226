//! `junto bench` with the real program: every workload gives the document that scripts rely on,
//! between nodes of its own and to a peer of a running node, and leaves no process behind.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{Testnet, junto};

fn figures(side: &Value) -> [f64; 5] {
    ["per_s", "p50_us", "p99_us", "cpu_s", "peak_rss_bytes"].map(|name| {
        side[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {side}"))
    })
}

/// Checks what must be true on any machine.
fn sound(document: &Value, workload: &str) {
    assert_eq!(document["workload"], workload);
    assert!(document["baseline"]["name"].is_string());
    for side in ["ours", "baseline"] {
        let [per_s, p50_us, p99_us, cpu_s, peak_rss_bytes] = figures(&document[side]);
        assert!(
            per_s > 1.0 && p50_us > 1.0 && p99_us >= p50_us,
            "{document}"
        );
        assert!(cpu_s > 0.0 && peak_rss_bytes > 1e6, "{document}");
    }
    assert!(document["ratio"].as_f64().unwrap() > 0.0);
}

#[test]
fn every_workload_is_measured_beside_its_baseline() {
    for workload in ["talk", "pipeline", "report", "bulk", "connect", "task"] {
        let output = junto()
            .args(["bench", workload, "--seconds", "1", "--size", "32MiB"])
            .arg("--json")
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{workload}: {complaints}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        sound(&document, workload);
        assert_eq!(document["disk_per_s"].is_f64(), workload == "bulk");
        assert_eq!(document["flushes_per_task"].is_f64(), workload == "task");
    }
}

#[test]
fn tasks_are_measured_before_others_that_wait_and_the_node_comes_back_with_all() {
    let output = junto()
        .args(["bench", "task", "--queued", "300", "--seconds", "2"])
        .arg("--json")
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rates = document["rates"].as_array().unwrap();
    let waiting = |rate: &Value| rate["waiting"].as_u64().unwrap();
    assert_eq!(rates.iter().map(waiting).collect::<Vec<_>>(), [0, 100, 300]);
    assert!(rates.iter().all(|rate| rate["per_s"].as_f64() > Some(1.0)));
    // Those that were worked on are listed, too.
    assert!(document["listed"].as_u64() >= Some(300), "{document}");
    for time in ["ready_ms", "first_page_ms", "all_pages_ms", "filled_per_s"] {
        assert!(document[time].as_f64() > Some(0.0), "{time}: {document}");
    }
    let other = junto().args(["bench", "talk", "--queued", "9"]).output();
    assert_eq!(other.unwrap().status.code(), Some(2));
}

#[test]
fn a_running_node_measures_the_way_to_its_peer_whose_agent_hears_nothing() {
    let net = Testnet::start(2, &[]);
    for workload in ["talk", "pipeline", "report"] {
        let args = ["bench", workload, "--peer", "node1", "--seconds", "1"];
        let output = net.cli(0, &[&["--json"], &args[..]].concat());
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{workload}: {complaints}");
        let document = serde_json::from_slice(&output.stdout).unwrap();
        sound(&document, workload);
    }
    let nobody = net.cli(0, &["bench", "talk", "--peer", "nobody", "--seconds", "1"]);
    assert_eq!(nobody.status.code(), Some(1));
    let connect = net.cli(0, &["bench", "connect", "--peer", "node1"]);
    assert_eq!(connect.status.code(), Some(2));
}
