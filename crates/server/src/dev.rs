//! The development server: in memory, initialised, unsealed, with its root token at hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_cli::Io;
use strongroom_config::Config;
use strongroom_core::{Core, NewMount};

use crate::options::Dev;
use crate::tls::{self, DevCertificates};

/// What a development server begins with.
pub(crate) struct Prepared {
    pub(crate) config: Config,
    pub(crate) certificates: Option<DevCertificates>,
}

/// The configuration of a development server, made as if it had been written in a file.
pub(crate) fn prepare(dev: &Dev) -> Result<Prepared> {
    let address = dev.address()?;
    let certificates = if dev.tls || dev.tls_cert_dir.is_some() {
        let directory = match &dev.tls_cert_dir {
            Some(directory) => PathBuf::from(directory),
            None => std::env::temp_dir().join(format!("strongroom-tls-{}", std::process::id())),
        };
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        names.extend(Some(address.host.clone()).filter(|host| !host.is_empty() && !names.contains(host)));
        names.extend(dev.tls_san.iter().cloned());
        Some(tls::make_dev_certificates(&directory, names)?)
    } else {
        None
    };
    let quoted =
        |path: &std::path::Path| serde_json::Value::from(path.to_string_lossy().into_owned()).to_string();
    let listener = match &certificates {
        None => "tls_disable = true".to_owned(),
        Some(made) => {
            format!("tls_cert_file = {}\n  tls_key_file = {}", quoted(&made.cert), quoted(&made.key))
        }
    };
    let text =
        format!("listener \"tcp\" {{\n  address = \"{address}\"\n  {listener}\n}}\nstorage \"inmem\" {{}}\n");
    let source = strongroom_config::Source { file: "-dev".into(), text };
    let loaded = strongroom_config::parse(&[source])?;
    Ok(Prepared { config: loaded.config, certificates })
}

/// Initialises and unseals; prints what Vault's development server prints.
pub(crate) async fn begin(
    core: &Arc<Core>,
    dev: &Dev,
    addresses: &[String],
    certificates: Option<&DevCertificates>,
    io: &mut Io,
) -> Result<()> {
    let made = core.initialize(1, 1, dev.root_token.clone()).await?;
    let key = made.shares.first().context("initialising makes a share")?;
    core.offer_share(key.expose().clone()).await?;
    if !dev.no_kv {
        let version = if dev.kv_v1 { "1" } else { "2" };
        let mount = NewMount {
            kind: "kv".to_owned(),
            description: "key/value secret storage".to_owned(),
            options: BTreeMap::from([("version".to_owned(), version.to_owned())]),
            ..NewMount::default()
        };
        let txn = core.barrier().transaction(core.barrier().view());
        core.add_mount(&txn, "secret/", mount).await?;
        txn.commit().await?;
    }
    let token = made.root_token.expose();
    if !dev.no_store_token
        && let Err(error) = strongroom_cli::store_token(io, token)
    {
        writeln!(io.stderr, "WARNING! The root token was not stored: {error}")?;
    }
    let address = addresses.first().map_or("", String::as_str);
    if let Some(path) = &dev.cluster_json {
        let described = serde_json::json!({
            "nodes": [{ "node_id": "core-0", "api_address": address }],
            "ca_cert_path": certificates.map(|made| made.ca.to_string_lossy().into_owned()),
            "root_token": token,
            "unseal_keys": [STANDARD.encode(key.expose())],
        });
        tls::write_private(path.as_ref(), serde_json::to_string_pretty(&described)?.as_bytes())?;
    }
    let ca = certificates
        .map_or_else(String::new, |made| format!("    $ export VAULT_CACERT='{}'\n", made.ca.display()));
    write!(
        io.stdout,
        "\
WARNING! dev mode is enabled! In this mode, the server runs entirely in-memory
and starts unsealed with a single unseal key. The root token is already
authenticated to the CLI, so you can immediately begin using it.

You may need to set the following environment variables:

    $ export VAULT_ADDR='{address}'
{ca}
The unseal key and root token are displayed below in case you want to
seal/unseal it or re-authenticate.

Unseal Key: {key}
Root Token: {token}

Development mode should NOT be used in production installations!

",
        key = STANDARD.encode(key.expose()),
    )?;
    io.stdout.flush()?;
    Ok(())
}
