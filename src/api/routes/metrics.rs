//! The node in numbers, for a monitoring system.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use super::ApiState;
use super::node::{stats_of, status_of};
use crate::api::problem::Refused;
use crate::proto::node::{NodeStats, StatusView};
use crate::runtime::channel::ChannelCounts;

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
    add_channels(&mut registry, &state.handle.channel_totals());
    add_status(&mut registry, &status);
    add_guard(&mut registry, &status);
    add_traffic(&mut registry, &stats_of(&state).await?);
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes all that is written to it");
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealthLabels {
    health: &'static str,
}

/// The types of the protocol: there is a fixed number of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    r#type: String,
    direction: &'static str,
}

/// So it is with its error codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    code: String,
    direction: &'static str,
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn add_channels(registry: &mut Registry, totals: &ChannelCounts) {
    let channels = registry.sub_registry_with_prefix("channel");
    for (name, help, count) in totals.all() {
        let count = ConstCounter::new(count.load(Ordering::Relaxed));
        channels.register(name, help, count);
    }
}

fn add_guard(registry: &mut Registry, status: &StatusView) {
    let breakers = Family::<StateLabels, Gauge>::default();
    for (state, n) in [
        ("open", status.guard.breakers_open),
        ("half_open", status.guard.breakers_half_open),
    ] {
        breakers.get_or_create(&StateLabels { state }).set(gauge(n));
    }
    registry.register("breakers", "Peers whose breaker is not closed", breakers);
    registry.register(
        "breakers_opened",
        "How often a breaker opened",
        ConstCounter::new(status.guard.breakers_opened),
    );
    registry.register(
        "rate_limited",
        "Requests of others that were over their rate",
        ConstCounter::new(status.guard.rate_limited),
    );
    registry.register(
        "peers_held_back",
        "Peers that asked to be sent less of something",
        ConstGauge::new(gauge(status.guard.held_back)),
    );
    let peers = Family::<HealthLabels, Gauge>::default();
    for (health, n) in [
        ("healthy", status.health.healthy),
        ("suspect", status.health.suspect),
        ("unreachable", status.health.unreachable),
    ] {
        peers.get_or_create(&HealthLabels { health }).set(gauge(n));
    }
    registry.register("peers", "Peers by health", peers);
    let pool = &status.pool;
    for (name, help, n) in [
        ("connections", "Connections", pool.connections),
        (
            "connections_incoming",
            "Connections opened by others",
            pool.incoming,
        ),
        (
            "connections_max",
            "Connections allowed",
            pool.connections_max,
        ),
        (
            "requests_sent_under_way",
            "Our requests under way",
            pool.requests_sent,
        ),
        (
            "requests_received_under_way",
            "Others' requests that await an answer",
            pool.requests_received,
        ),
    ] {
        registry.register(name, help, ConstGauge::new(gauge(n)));
    }
}

fn add_traffic(registry: &mut Registry, stats: &NodeStats) {
    registry.register(
        "sessions_made",
        "Sessions made",
        ConstCounter::new(stats.sessions_made),
    );
    registry.register(
        "requests_unanswered",
        "Our requests that got no answer",
        ConstCounter::new(stats.unanswered),
    );
    let messages = Family::<MessageLabels, Counter>::default();
    let bytes = Family::<MessageLabels, Counter>::default();
    for (name, count) in &stats.messages {
        for (direction, n, size) in [
            ("sent", count.messages_sent, count.bytes_sent),
            ("received", count.messages_received, count.bytes_received),
        ] {
            let labels = MessageLabels {
                r#type: name.clone(),
                direction,
            };
            messages.get_or_create(&labels).inc_by(n);
            bytes.get_or_create(&labels).inc_by(size);
        }
    }
    registry.register("messages", "Messages on exchanges, by type", messages);
    registry.register("message_bytes", "Their bytes, whole frames", bytes);
    let errors = Family::<ErrorLabels, Counter>::default();
    for (direction, codes) in [
        ("sent", &stats.errors_sent),
        ("received", &stats.errors_received),
    ] {
        for (code, n) in codes {
            let code = code.clone();
            errors
                .get_or_create(&ErrorLabels { code, direction })
                .inc_by(*n);
        }
    }
    registry.register("errors", "Error messages, by code", errors);
}

fn add_status(registry: &mut Registry, status: &StatusView) {
    let count = |n: usize| ConstGauge::new(gauge(n));
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
    let tasks = Family::<StateLabels, Gauge>::default();
    for (state, n) in [
        ("submitted", status.tasks.submitted),
        ("working", status.tasks.working),
        ("completed", status.tasks.completed),
        ("failed", status.tasks.failed),
        ("canceled", status.tasks.canceled),
    ] {
        tasks.get_or_create(&StateLabels { state }).set(gauge(n));
    }
    registry.register("tasks", "Our own tasks by state", tasks);
    registry.register(
        "tasks_dead",
        "Failed tasks of our own that keep their input",
        count(status.tasks.dead),
    );
}
