//! The userpass auth method: people log in with a user name and a password. Source: Vault's documentation, "Userpass
//! auth method" and its API page.

mod login;
mod passwords;
#[cfg(test)]
mod tests;
mod users;

use std::sync::Arc;

use strongroom_engine_api::Engine;

use passwords::Passwords;

/// The userpass auth method with all its routes.
pub fn engine() -> Engine {
    Engine::auth("userpass", "Logs people in with a user name and a password.")
        .locks_users_out()
        .docs_page("userpass.md")
        .tables(users::TABLES)
        .route("login/{username:caseless}", |r| {
            r.login(login::login_name).update("Issue a token for a user name and password.", login::login)
        })
        .route("users/", |r| r.list("List the users.", users::list))
        .route("users/{username:caseless}", |r| {
            r.read("Read a user.", users::read)
                .upsert("Create or update a user.", users::exists, users::write)
                .delete("Delete a user.", users::delete)
        })
        .route("users/{username:caseless}/password", |r| {
            r.update("Set a user's password.", users::write_password)
        })
        .route("users/{username:caseless}/policies", |r| {
            r.update("Set a user's policies.", users::write_policies)
        })
        .extension(Arc::new(Passwords::new()))
        .on_renew(login::renew)
}
