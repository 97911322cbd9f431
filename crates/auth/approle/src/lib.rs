//! The `AppRole` auth method: machines log in with a role id and a secret id. Source: Vault's documentation, "`AppRole`
//! auth method" and its API page.
//!
//! Secret ids are kept as keyed hashes only. They are found by their role's number and that hash, so that a login is
//! four point reads and no write (one write where uses are counted), and so that deleting a role makes all its
//! secret ids unusable at once, however many they are; what is left of them is cleared by housekeeping.

mod cidr;
mod housekeeping;
mod login;
mod metadata;
mod properties;
mod role;
mod secret_id;
mod store;
#[cfg(test)]
mod tests;

use strongroom_engine_api::{Engine, EngineError, Meaning, Schedule, bad_request};

use properties::property;

/// The longest role name, role id or secret id, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// The `AppRole` auth method with all its routes.
pub fn engine() -> Engine {
    let engine = Engine::auth("approle", "Logs machines in with a role id and a secret id.")
        .locks_users_out()
        .docs_page("approle.md")
        .tables(store::TABLES)
        .route("login", |r| {
            r.login(login::login_name).update("Issue a token for a role id and secret id.", login::login)
        })
        .route("role/", |r| r.list("List the roles.", role::list))
        .route("role/{role_name:caseless}", |r| {
            r.read("Read a role.", role::read)
                .upsert("Create or update a role.", role::exists, role::write)
                .delete("Delete a role and all its secret ids.", role::delete)
        })
        .route("role/{role_name:caseless}/role-id", |r| {
            r.read("Read a role's role id.", role::read_role_id)
                .update("Set a role's role id.", role::write_role_id)
        })
        .route("role/{role_name:caseless}/local-secret-ids", |r| {
            r.read("Read whether a role's secret ids are local to the cluster.", role::read_local_secret_ids)
        })
        .route("tidy/secret-id", |r| r.update("Remove expired secret ids.", housekeeping::tidy))
        .on_renew(login::renew)
        .job("expire-secret-ids", Schedule::Due(store::EXPIRY.id()), housekeeping::expire)
        .job(
            "clear-deleted-roles",
            Schedule::OnCommit(store::DELETED_ROLES.id()),
            housekeeping::clear_deleted,
        );
    with_properties(with_secret_ids(engine))
}

fn with_secret_ids(engine: Engine) -> Engine {
    engine
        .route("role/{role_name:caseless}/secret-id/", |r| {
            r.list("List the accessors of a role's secret ids.", secret_id::list)
        })
        .route("role/{role_name:caseless}/secret-id", |r| {
            r.update("Generate a secret id for a role.", secret_id::generate)
                .means("metadata", Meaning::Whole(metadata::meant))
        })
        .route("role/{role_name:caseless}/custom-secret-id", |r| {
            r.update("Assign a secret id of one's own to a role.", secret_id::assign)
                .means("metadata", Meaning::Whole(metadata::meant))
        })
        .route("role/{role_name:caseless}/secret-id/lookup", |r| {
            r.update("Read what is known of a secret id.", secret_id::look_up)
        })
        .route("role/{role_name:caseless}/secret-id/destroy", |r| {
            r.update("Destroy a secret id.", secret_id::destroy)
                .delete("Destroy a secret id.", secret_id::destroy)
        })
        .route("role/{role_name:caseless}/secret-id-accessor/lookup", |r| {
            r.update("Read what is known of a secret id by its accessor.", secret_id::look_up_by_accessor)
        })
        .route("role/{role_name:caseless}/secret-id-accessor/destroy", |r| {
            r.update("Destroy a secret id by its accessor.", secret_id::destroy_by_accessor)
                .delete("Destroy a secret id by its accessor.", secret_id::destroy_by_accessor)
        })
}

/// A route for every part of a role that policies may grant by itself.
fn with_properties(engine: Engine) -> Engine {
    engine
        .route("role/{role_name:caseless}/bind-secret-id", property::<properties::BindSecretId>)
        .route("role/{role_name:caseless}/bound-cidr-list", property::<properties::BoundCidrList>)
        .route("role/{role_name:caseless}/period", property::<properties::Period>)
        .route("role/{role_name:caseless}/policies", property::<properties::Policies>)
        .route("role/{role_name:caseless}/secret-id-bound-cidrs", property::<properties::SecretIdBoundCidrs>)
        .route("role/{role_name:caseless}/secret-id-num-uses", property::<properties::SecretIdNumUses>)
        .route("role/{role_name:caseless}/secret-id-ttl", property::<properties::SecretIdTtl>)
        .route("role/{role_name:caseless}/token-bound-cidrs", property::<properties::TokenBoundCidrs>)
        .route("role/{role_name:caseless}/token-max-ttl", property::<properties::TokenMaxTtl>)
        .route("role/{role_name:caseless}/token-num-uses", property::<properties::TokenNumUses>)
        .route("role/{role_name:caseless}/token-ttl", property::<properties::TokenTtl>)
}

/// A count of uses as requests give it.
fn uses(given: i64, field: &str) -> Result<u32, EngineError> {
    if given < 0 {
        return Err(bad_request(format!("{field} cannot be negative")));
    }
    u32::try_from(given).map_err(|_above| bad_request(format!("{field} is too large")))
}
