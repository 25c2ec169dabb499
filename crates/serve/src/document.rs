//! The OpenAPI document, generated from the handlers and the bodies.

use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sprat",
        description = "Classification, embeddings and chat over HTTP. Errors have OpenAI's shape; \
                       their `code` is a stable SPRAT code."
    ),
    paths(
        crate::classify::classify,
        crate::chat::chat,
        crate::completions::completions,
        crate::embeddings::embeddings,
        crate::watching::feedback,
        crate::watching::labels,
        crate::watching::watch,
        crate::operations::models,
        crate::operations::model,
        crate::operations::route,
        crate::operations::healthz,
        crate::operations::readyz,
        crate::operations::metrics,
        crate::admin::overview,
        crate::admin::releases,
        crate::admin::release,
        crate::admin::diff,
        crate::admin::promote,
        crate::admin::rollback,
        crate::admin::reports,
        crate::admin::report,
    ),
    components(schemas(crate::wire::ErrorBody))
)]
struct Document;

/// The OpenAPI document of the server's HTTP API.
pub fn openapi() -> serde_json::Value {
    serde_json::to_value(Document::openapi()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_names_every_endpoint() {
        let document = super::openapi();
        for path in [
            "/v1/classify",
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/feedback",
            "/v1/labels",
            "/v1/watch",
            "/v1/models",
            "/v1/models/{model}",
            "/v1/route",
            "/healthz",
            "/readyz",
            "/metrics",
            "/admin/overview",
            "/admin/releases",
            "/admin/releases/{version}",
            "/admin/diff",
            "/admin/promote",
            "/admin/rollback",
            "/admin/reports",
            "/admin/reports/{name}",
        ] {
            assert!(document["paths"][path].is_object(), "{path}");
        }
        assert!(document["components"]["schemas"]["ClassifyRequest"].is_object());
    }
}
