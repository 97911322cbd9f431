//! `mfa/*`: methods, login enforcements, and the keys of entities. Source: Vault's API pages `identity/mfa`.
//!
//! It reads inputs and shapes answers; what second factors are and how they are judged is in the service `strongroom-mfa`.

mod enforcements;
mod keys;
mod methods;
mod passkeys;
mod webauthn;

use strongroom_engine_api::{Engine, EngineError, Mount};
use strongroom_identity::Identity;

/// A namespace, as answers name it.
struct Place {
    id: String,
    path: String,
}

impl Place {
    async fn of(identity: &Identity, mount: &Mount) -> Result<Self, EngineError> {
        Ok(Self { id: identity.short_id(mount.namespace).await?, path: mount.namespace_path.clone() })
    }
}

pub(crate) fn routes(engine: Engine) -> Engine {
    let areas: [fn(Engine) -> Engine; 5] =
        [methods::routes, keys::routes, webauthn::routes, passkeys::routes, enforcements::routes];
    areas.into_iter().fold(engine, |engine, area| area(engine))
}
