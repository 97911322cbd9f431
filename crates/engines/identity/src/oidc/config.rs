//! `oidc/config`: the issuer of identity tokens.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{Data, Engine, EngineError, Input, Mount, Reply, bad_request};
use strongroom_oidc::{CONFIGS, Config};

use super::is_address;

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("oidc/config", |r| {
        r.read("Read the issuer of identity tokens.", read)
            .update("Set the issuer of identity tokens.", write)
    })
}

#[derive(Deserialize, JsonSchema)]
struct ConfigInput {
    /// Issuer URL to be used in the iss claim of the token: scheme, host and an optional port. If not set, the server's `api_addr`
    /// is used.
    issuer: Option<Text>,
}

/// The configuration.
#[derive(Serialize, JsonSchema)]
struct ConfigView {
    /// Scheme, host and port of the issuer; empty: those of `api_addr`.
    issuer: String,
}

async fn read(mount: Arc<Mount>, view: View) -> Result<Data<ConfigView>, EngineError> {
    let config = CONFIGS.get(&view, &mount.namespace).await?;
    Ok(Data(ConfigView { issuer: config.map(|config| config.issuer.clone()).unwrap_or_default() }))
}

async fn write(mount: Arc<Mount>, Input(input): Input<ConfigInput>, txn: Txn) -> Result<Reply, EngineError> {
    let Some(Text(issuer)) = input.issuer else { return Ok(Reply::default()) };
    check_issuer(&issuer)?;
    let is_set = !issuer.is_empty();
    CONFIGS.put(&txn, &mount.namespace, Config { issuer })?;
    let reply = Reply::default();
    if !is_set {
        return Ok(reply);
    }
    Ok(reply.warned(
        "If \"issuer\" is set explicitly, all tokens must be validated against that address, including those issued by \
         secondary clusters. Setting issuer to \"\" will restore the default behavior of using the cluster's api_addr as \
         the issuer.",
    ))
}

/// Refuses an issuer that is not an address. An empty one is the default.
pub(super) fn check_issuer(issuer: &str) -> Result<(), EngineError> {
    if issuer.is_empty() || is_address(issuer) {
        return Ok(());
    }
    Err(bad_request(
        "invalid issuer, which must include only a scheme, host, and optional port (e.g. https://example.com:8200)",
    ))
}
