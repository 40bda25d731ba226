//! The description of the API (OpenAPI), made from the routes themselves.

use std::collections::BTreeMap;

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, ToSchema};

use super::guard::OPEN_PATHS;
use super::problem::{PROBLEM_JSON, Problem, Refusal};
use crate::proto::node::CommandErrorCode;

/// What stands over the description; the routes fill the rest.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Junto",
        description = "The local HTTP API of a Junto node. Every error is a problem document \
                       (RFC 9457) with a stable `code`."
    ),
    components(schemas(Problem)),
    modifiers(&Bearer),
    security(("token" = [])),
    tags(
        (name = "node", description = "The node and those it knows"),
        (name = "peers", description = "The peer protocol over HTTP"),
        (name = "tasks", description = "Work handed to others"),
        (name = "messages", description = "What other agents said to ours, and what ours says"),
        (name = "transfers", description = "Files sent and received"),
        (name = "key", description = "The node's key, and whose key is whose"),
        (name = "wake", description = "Waking other agents, and being woken"),
    )
)]
pub(super) struct Description;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, doc: &mut OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The content of the node's `api.token` file."))
            .build();
        let components = doc.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// Adds to every operation the refusals that any request can meet, so that no route repeats them.
pub(super) fn describe_refusals(doc: &mut OpenApi) {
    for (path, item) in &mut doc.paths.paths {
        let open = OPEN_PATHS.contains(&path.as_str());
        for operation in operations(item) {
            describe(operation, open);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put]
        .into_iter()
        .flatten()
}

fn describe(operation: &mut Operation, open: bool) {
    use CommandErrorCode as Code;
    let mut refusals = vec![
        Refusal::HostNotAllowed,
        Refusal::OriginNotAllowed,
        Refusal::Internal,
        Refusal::Timeout,
        Refusal::Command(Code::Busy),
        Refusal::Command(Code::Stopping),
    ];
    if !open {
        refusals.push(Refusal::Unauthorized);
    }
    let reads_body = operation.request_body.is_some();
    if reads_body {
        refusals.extend([
            Refusal::InvalidJson,
            Refusal::UnsupportedMediaType,
            Refusal::BodyTooLarge,
        ]);
    }
    if reads_body
        || operation
            .parameters
            .as_ref()
            .is_some_and(|list| !list.is_empty())
    {
        refusals.push(Refusal::Command(Code::Invalid));
    }
    let mut by_status: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (status, code, title) in refusals.into_iter().map(Refusal::parts) {
        let texts = by_status.entry(status.as_str().to_owned()).or_default();
        texts.push(format!("{title} (`{code}`)"));
    }
    for (status, texts) in by_status {
        // What the route itself says of a status is more exact.
        let response = || RefOr::T(problem_response(&texts.join("; ")));
        operation
            .responses
            .responses
            .entry(status)
            .or_insert_with(response);
    }
}

/// What a route answers that is given a peer by name.
pub(super) struct NoSuchPeer;

impl IntoResponses for NoSuchPeer {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let answer = |(status, description): (&str, &str)| {
            (status.to_owned(), RefOr::T(problem_response(description)))
        };
        [
            ("404", "No such peer (`not_found`)"),
            ("409", "Several peers go by that name (`ambiguous`)"),
        ]
        .map(answer)
        .into()
    }
}

fn problem_response(description: &str) -> Response {
    let schema = Ref::from_schema_name(Problem::name());
    ResponseBuilder::new()
        .description(description)
        .content(
            PROBLEM_JSON,
            ContentBuilder::new().schema(Some(schema)).build(),
        )
        .build()
}
