//! Paths that version 1 would know, for a hint where the client most likely wants to go instead.

use std::sync::Arc;

use strongroom_engine_api::{Engine, EngineError, Operation, Path, Reply, Request};

/// The beginnings of the engine's paths: an operation that they lack is just that.
const KNOWN: [&str; 8] =
    ["config", "data", "delete", "destroy", "detailed-metadata", "metadata", "subkeys", "undelete"];

pub(super) fn route(engine: Engine) -> Engine {
    engine.route("{path..}", |route| {
        let summary = "Tell clients that use paths of KV version 1 where to go.";
        route
            .read(summary, answer)
            .update(summary, answer)
            .patch(summary, answer)
            .delete(summary, answer)
            .list(summary, answer)
            .scan(summary, answer)
    })
}

async fn answer(Path(path): Path<String>, request: Arc<Request>) -> Result<Reply, EngineError> {
    let first = path.split('/').next().unwrap_or_default();
    if KNOWN.contains(&first) {
        return Err(EngineError::Unsupported);
    }
    let verb = match request.operation {
        Operation::Create | Operation::Update => "put",
        Operation::Delete => "delete",
        Operation::List | Operation::Scan => "list",
        Operation::Patch => "patch",
        Operation::Read | Operation::Help => "get",
    };
    let hint = format!(
        "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to \
         use. If using the Vault CLI, use 'vault kv {verb}' for this operation."
    );
    Err(EngineError::NotFoundWith(Box::new(Reply::default().warned(hint))))
}
