//! The node in numbers, for a monitoring system.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::ApiState;
use super::node::status_of;
use crate::api::problem::Refused;
use crate::proto::node::StatusView;

/// The form that `encode` writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The node's counters, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "node",
    responses((status = 200, description = "OpenMetrics text", body = String,
        content_type = "application/openmetrics-text")))]
pub(in crate::api) async fn metrics(
    State(state): State<ApiState>,
) -> Result<impl IntoResponse, Refused> {
    let status = status_of(&state).await?;
    let mut registry = Registry::with_prefix("junto");
    state.handle.metrics().register(&mut registry);
    add_status(&mut registry, &status);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes all that is written to it");
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    state: &'static str,
}

fn add_status(registry: &mut Registry, status: &StatusView) {
    let count = |n: usize| ConstGauge::new(i64::try_from(n).unwrap_or(i64::MAX));
    registry.register_with_unit(
        "uptime",
        "Time since the node started",
        Unit::Seconds,
        ConstGauge::new(status.uptime_ms as f64 / 1_000.0),
    );
    registry.register(
        "peers_connected",
        "Peers with a connection",
        count(status.connected),
    );
    registry.register(
        "sessions",
        "Peers with a live session",
        count(status.sessions),
    );
    registry.register(
        "registry_entries",
        "Registry entries, our own included",
        count(status.registry),
    );
    registry.register(
        "tasks_held",
        "Tasks of others that this node holds",
        count(status.held),
    );
    let tasks = Family::<TaskLabels, Gauge>::default();
    for (state, n) in [
        ("submitted", status.tasks.submitted),
        ("working", status.tasks.working),
        ("completed", status.tasks.completed),
        ("failed", status.tasks.failed),
        ("canceled", status.tasks.canceled),
    ] {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        tasks.get_or_create(&TaskLabels { state }).set(n);
    }
    registry.register("tasks", "Our own tasks by state", tasks);
}
