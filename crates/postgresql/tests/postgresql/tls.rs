//! The database's identity, and the secrets that are never shown.

use strongroom_leased_db::Database as _;
use strongroom_postgresql::{OpenError, Options, Postgresql};
use strongroom_stdx::{Entropy, Secret};

use crate::server::{Database, PASSWORD, Server};

/// A database that is called by the name in its certificate.
fn named(database: &Database<'_>, query: &str) -> Options {
    let url = format!(
        "postgres://admin:{PASSWORD}@localhost:{}/{}?hostaddr=127.0.0.1&{query}",
        database.server.port(),
        database.name
    );
    Options::new(Secret::new(url))
}

async fn outcome(options: &Options) -> Result<Postgresql, String> {
    let opened = Postgresql::open(options, &Entropy::system()).await;
    opened.map_err(|error: OpenError| {
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        error.to_string()
    })
}

/// True if the connections of an application are encrypted.
async fn is_encrypted(database: &Database<'_>, application: &str) -> bool {
    let admin = database.admin().await;
    let found = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name = $1 AND datname = $2";
    admin.query_one(found, &[&application, &database.name]).await.unwrap().get(0)
}

#[tokio::test]
async fn verify_full_believes_the_authority_and_the_name() {
    let server = Server::shared();
    let database = server.database().await;
    let (authority, other) = (server.file("authority.pem"), server.file("other.pem"));
    let full = format!("sslmode=verify-full&sslrootcert={authority}&application_name=full");
    let store = outcome(&named(&database, &full)).await.unwrap();
    store.head().await.unwrap();
    assert!(is_encrypted(&database, "full").await);
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.index(), 0);
    let error = outcome(&named(&database, &format!("sslmode=verify-full&sslrootcert={other}"))).await;
    assert!(error.as_ref().is_err_and(|text| text.contains("UnknownIssuer")), "{:?}", error.err());
    let error = outcome(&named(&database, "sslmode=verify-full")).await;
    assert!(error.is_err(), "the operating system does not trust it");
    // It is called by its address, which is not in the certificate.
    let error = outcome(&database.options_with(&full)).await;
    assert!(error.as_ref().is_err_and(|text| text.contains("not valid for name")), "{:?}", error.err());
}

#[tokio::test]
async fn verify_ca_believes_the_authority_for_any_name() {
    let server = Server::shared();
    let database = server.database().await;
    let (authority, other) = (server.file("authority.pem"), server.file("other.pem"));
    // With an authority, libpq takes `require` for the same.
    for mode in ["verify-ca", "require"] {
        let query = format!("sslmode={mode}&sslrootcert={authority}");
        outcome(&database.options_with(&query)).await.unwrap();
        let error = outcome(&database.options_with(&format!("sslmode={mode}&sslrootcert={other}"))).await;
        assert!(error.as_ref().is_err_and(|text| text.contains("UnknownIssuer")), "{:?}", error.err());
    }
}

#[tokio::test]
async fn without_more_the_connection_is_encrypted() {
    let database = Server::shared().database().await;
    for (mode, encrypted) in
        [("", true), ("sslmode=require", true), ("sslmode=prefer", true), ("sslmode=disable", false)]
    {
        let name = format!("is-{mode}");
        let query = format!("{mode}&application_name={}", name.replace('=', "%3D"));
        let store = outcome(&database.options_with(&query)).await.unwrap();
        store.head().await.unwrap();
        assert_eq!(is_encrypted(&database, &name).await, encrypted, "{mode}");
    }
}

#[tokio::test]
async fn a_unix_socket_needs_no_tls() {
    let database = Server::shared().database().await;
    let server = database.server;
    let url = format!(
        "host={} port={} user=admin password={PASSWORD} dbname={}",
        server.directory().display(),
        server.port(),
        database.name
    );
    outcome(&Options::new(Secret::new(url))).await.unwrap();
}

#[tokio::test]
async fn a_certificate_can_stand_for_a_password() {
    let server = Server::shared();
    let database = server.database().await;
    let admin = database.admin().await;
    // Another test process does not exist, and another run of the test has another server.
    admin.batch_execute("CREATE ROLE certified LOGIN SUPERUSER").await.unwrap();
    let query = format!(
        "sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}&user=certified",
        server.file("authority.pem"),
        server.file("client.pem"),
        server.file("client.key")
    );
    outcome(&named(&database, &query)).await.unwrap();
    let without = format!("sslmode=verify-full&sslrootcert={}&user=certified", server.file("authority.pem"));
    assert!(outcome(&named(&database, &without)).await.is_err());
}

#[tokio::test]
async fn no_error_has_the_password_in_it() {
    let server = Server::shared();
    let port = server.port();
    for url in [
        format!("postgres://admin:hush@127.0.0.1:{port}/postgres?sslmode=disable"),
        format!("postgres://nobody:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=disable"),
        format!("postgres://admin:{PASSWORD}@127.0.0.1:{port}/none?sslmode=disable"),
        format!("postgres://admin:{PASSWORD}@127.0.0.1:1/postgres?sslmode=disable"),
        format!("postgres://admin:{PASSWORD}@host.invalid/postgres?sslmode=disable"),
        format!("postgres://admin:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=verify-full"),
        format!("postgres://admin:{PASSWORD}/@127.0.0.1:{port}/postgres?sslmode=disable"),
        format!("host=127.0.0.1 port={port} user=admin password=a {PASSWORD} dbname=postgres"),
    ] {
        let error = outcome(&Options::new(Secret::new(url))).await;
        assert!(error.is_err());
    }
}
