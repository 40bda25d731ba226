//! The OpenAPI description: every route, every error, no loose end.

use std::collections::BTreeSet;

use super::*;

#[tokio::test]
async fn the_description_lists_every_route() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let doc = served.client().openapi().await.unwrap();
    let mut routes = Vec::new();
    for (path, item) in doc["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            routes.push(format!("{} {path}", method.to_uppercase()));
            assert!(operation["summary"].is_string(), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert_eq!(
                responses.contains_key("401"),
                operation.get("security").is_none()
            );
            for (status, response) in responses {
                if status.starts_with(['4', '5']) {
                    let schema = &response["content"][PROBLEM_JSON]["schema"]["$ref"];
                    assert_eq!(
                        schema, "#/components/schemas/Problem",
                        "{method} {path} {status}"
                    );
                }
            }
        }
    }
    routes.sort();
    assert_eq!(
        routes,
        [
            "GET /health",
            "GET /metrics",
            "GET /openapi.json",
            "GET /peers",
            "GET /public-key",
            "GET /stats",
            "GET /v1/drain",
            "GET /v1/events",
            "GET /v1/inbox",
            "GET /v1/inbox/{id}",
            "GET /v1/inbox/{id}/proof",
            "GET /v1/key/fingerprint",
            "GET /v1/peers",
            "GET /v1/peers/{peer}/status",
            "GET /v1/registry",
            "GET /v1/status",
            "GET /v1/tasks",
            "GET /v1/tasks/{id}",
            "GET /v1/tasks/{id}/events",
            "GET /v1/tasks/{id}/input",
            "GET /v1/tasks/{id}/proof",
            "GET /v1/tasks/{id}/result",
            "GET /v1/transfers",
            "GET /v1/transfers/{id}",
            "GET /v1/wake",
            "GET /v1/wake/{id}",
            "POST /message",
            "POST /v1/alive",
            "POST /v1/bench",
            "POST /v1/drain",
            "POST /v1/inbox/{id}/ack",
            "POST /v1/inbox/{id}/reply",
            "POST /v1/key/rotate",
            "POST /v1/ping",
            "POST /v1/report",
            "POST /v1/talk",
            "POST /v1/tasks",
            "POST /v1/tasks/batch",
            "POST /v1/tasks/claim",
            "POST /v1/tasks/{id}/cancel",
            "POST /v1/tasks/{id}/complete",
            "POST /v1/tasks/{id}/drop",
            "POST /v1/tasks/{id}/extend",
            "POST /v1/tasks/{id}/fail",
            "POST /v1/tasks/{id}/resubmit",
            "POST /v1/tasks/{id}/webhook",
            "POST /v1/transfers",
            "POST /v1/transfers/{id}/cancel",
            "POST /v1/wake",
            "POST /v1/wake/resumed",
            "POST /v1/wake/{id}/resumed",
            "PUT /v1/payloads",
        ]
    );
    let mut references = Vec::new();
    collect_references(&doc, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            doc.pointer(pointer).is_some(),
            "{reference} is not described"
        );
    }
    let schemas = doc["components"]["schemas"].as_object().unwrap();
    for name in [
        "Problem",
        "StatusView",
        "TaskView",
        "SubmitBody",
        "WakeView",
        "PongView",
    ] {
        assert!(schemas.contains_key(name), "{name}");
    }
    assert_eq!(
        doc["components"]["securitySchemes"]["token"]["scheme"],
        "bearer"
    );
    served.stop().await;
}

/// Every property of these names.
fn collect_amounts<'a>(value: &'a Value, into: &mut Vec<(&'a str, &'a Value)>) {
    let Some(fields) = value.as_object() else {
        return;
    };
    let properties = fields.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        if ["reward", "spent", "price"].contains(&name.as_str()) {
            into.push((name, property));
        }
    }
    fields
        .values()
        .for_each(|field| collect_amounts(field, into));
}

#[tokio::test]
async fn amounts_are_described_as_decimal_strings() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let doc = served.client().openapi().await.unwrap();
    let mut amounts = Vec::new();
    collect_amounts(&doc["components"], &mut amounts);
    let names: BTreeSet<&str> = amounts.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, BTreeSet::from(["price", "reward", "spent"]));
    for (name, property) in amounts {
        let schema = property.to_string();
        assert!(
            schema.contains("#/components/schemas/Amount"),
            "{name}: {schema}"
        );
    }
    let amount = &doc["components"]["schemas"]["Amount"];
    assert_eq!(amount["type"], "string", "{amount}");
    assert_eq!(amount["pattern"], "^(0|[1-9][0-9]{0,19})$");
    served.stop().await;
}

fn collect_references<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            into.extend(fields.get("$ref").and_then(Value::as_str));
            fields
                .values()
                .for_each(|field| collect_references(field, into));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
        _ => {}
    }
}

/// Every field of what is sent, by its name: of bodies and of queries.
fn sent_fields(doc: &Value) -> Vec<(&str, &Value)> {
    let schemas = doc["components"]["schemas"].as_object().unwrap();
    let bodies = schemas.iter().filter(|(name, _)| name.ends_with("Body"));
    let properties = bodies.filter_map(|(_, body)| body["properties"].as_object());
    let mut fields: Vec<_> = properties
        .flatten()
        .map(|(name, field)| (name.as_str(), field))
        .collect();
    for item in doc["paths"].as_object().unwrap().values() {
        let operations = item.as_object().unwrap().values();
        let parameters = operations.filter_map(|operation| operation["parameters"].as_array());
        let queries = parameters.flatten().filter(|one| one["in"] == "query");
        fields.extend(queries.map(|one| (one["name"].as_str().unwrap(), &one["schema"])));
    }
    fields
}

#[tokio::test]
async fn what_is_refused_by_its_form_alone_is_described_with_that_form() {
    let (handle, _) = played();
    let served = Served::start(handle);
    let doc = served.client().openapi().await.unwrap();
    let forms = [
        ("capability", "pattern"),
        ("limit", "minimum"),
        ("limit", "maximum"),
        ("peer", "minLength"),
        ("to", "minLength"),
        ("from", "minLength"),
        ("input_file", "pattern"),
        ("result_file", "pattern"),
        ("key", "pattern"),
    ];
    let fields = sent_fields(&doc);
    for (name, form) in forms {
        let mut named = fields.iter().filter(|(field, _)| *field == name).peekable();
        assert!(named.peek().is_some(), "{name} is nowhere");
        for (_, field) in named {
            assert!(!field[form].is_null(), "{name} without {form}: {field}");
        }
    }
    served.stop().await;
}
