//! The development server: initialized, unsealed, with its root token at hand. One node in memory, or three nodes whose
//! data are in a directory that goes with them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_cli::Io;
use strongroom_config::{Address, Config};
use strongroom_initialization::{InitRequest, Initialized};
use strongroom_node::{JoinTarget, LeaderAddress};
use tempfile::TempDir;

use crate::node::Node;
use crate::options::Dev;
use crate::tls::{self, DevCertificates};

/// The number of nodes that `-dev-three-node` starts.
const NODES: u16 = 3;

/// The keys and token that a development server was given at the start.
pub(crate) struct Development {
    certificates: Option<DevCertificates>,
    /// The data of a cluster.
    home: Option<TempDir>,
}

/// The configurations of the nodes of a development server: as given, and the rest as if it had been written there.
pub(crate) fn prepare(dev: &Dev, given: &Config) -> Result<(Development, Vec<Config>)> {
    let home = if dev.three_node {
        let own = given.listeners.is_empty() && given.storage.is_none();
        ensure!(
            own,
            "-dev-three-node has listeners and storage of its own; leave them out of the configuration"
        );
        let home = tempfile::Builder::new().prefix("strongroom-dev-").tempdir();
        Some(home.context("a directory for the nodes' data")?)
    } else {
        None
    };
    let certificates = certificates(dev, home.as_ref().map(TempDir::path))?;
    let texts = if let Some(home) = &home {
        let node = |number| of_three(dev, certificates.as_ref(), home.path(), number);
        (0..NODES).map(node).collect::<Result<Vec<String>>>()?
    } else {
        let listener = listener(&format!("address = \"{}\"", dev.address()?), certificates.as_ref());
        let reached = own_address(dev, given, certificates.is_some())?;
        vec![format!("{listener}\nstorage \"inmem\" {{}}\n{reached}")]
    };
    let mut nodes = Vec::new();
    for text in texts {
        let made =
            strongroom_config::parse(&[strongroom_config::Source { file: "-dev".into(), text }])?.config;
        let mut node = given.clone();
        node.listeners.splice(0..0, made.listeners);
        node.storage = node.storage.or(made.storage);
        node.api_addr = made.api_addr.or(node.api_addr);
        node.cluster_addr = made.cluster_addr.or(node.cluster_addr);
        nodes.push(node);
    }
    Ok((Development { certificates, home }, nodes))
}

/// The setting of the address at which clients reach a single node, where the configuration has none and the port is known.
fn own_address(dev: &Dev, given: &Config, tls: bool) -> Result<String> {
    let address = dev.address()?;
    if given.api_addr.is_some() || address.port == 0 {
        return Ok(String::new());
    }
    let scheme = if tls { "https" } else { "http" };
    let host = reached(&address);
    Ok(format!("api_addr = \"{scheme}://{}\"\n", Address { host, port: address.port }))
}

/// The host by which a node is reached that listens at an address.
fn reached(address: &Address) -> String {
    let everywhere = matches!(address.host.as_str(), "" | "0.0.0.0" | "::");
    if everywhere { "127.0.0.1".to_owned() } else { address.host.clone() }
}

fn certificates(dev: &Dev, home: Option<&Path>) -> Result<Option<DevCertificates>> {
    if !dev.tls && dev.tls_cert_dir.is_none() {
        return Ok(None);
    }
    let directory = match (&dev.tls_cert_dir, home) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Some(home)) => home.join("tls"),
        // A name that nobody can foresee, and a folder that nobody else may enter. It stays, for clients to find the CA.
        (None, None) => {
            let made = tempfile::Builder::new().prefix("strongroom-tls-").tempdir();
            made.context("a directory for the certificates")?.keep()
        }
    };
    let host = dev.address()?.host;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(Some(host).filter(|host| !host.is_empty() && !names.contains(host)));
    names.extend(dev.tls_san.iter().cloned());
    tls::make_dev_certificates(&directory, names).map(Some)
}

fn quoted(path: &Path) -> String {
    Value::from(path.to_string_lossy().into_owned()).to_string()
}

fn listener(address: &str, certificates: Option<&DevCertificates>) -> String {
    let tls = match certificates {
        None => "tls_disable = true".to_owned(),
        Some(made) => {
            format!("tls_cert_file = {}\n  tls_key_file = {}", quoted(&made.cert), quoted(&made.key))
        }
    };
    format!("listener \"tcp\" {{\n  {address}\n  {tls}\n}}")
}

/// The configuration of a node of a cluster: each has the next two ports, for clients and for its peers.
fn of_three(dev: &Dev, certificates: Option<&DevCertificates>, home: &Path, number: u16) -> Result<String> {
    let first = dev.address()?;
    ensure!(first.port != 0, "-dev-three-node needs a port in -dev-listen-address");
    let at = |host: &str, offset: u16| {
        let port = number.checked_mul(2).and_then(|own| first.port.checked_add(own)?.checked_add(offset));
        let port = port.context("-dev-listen-address has a port with too few above it")?;
        anyhow::Ok(Address { host: host.to_owned(), port })
    };
    let reached = reached(&first);
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let addresses =
        format!("address = \"{}\"\n  cluster_address = \"{}\"", at(&first.host, 0)?, at(&first.host, 1)?);
    Ok(format!(
        "{listener}\nstorage \"raft\" {{\n  path = {path}\n  node_id = \"{name}\"\n}}\n\
         api_addr = \"{scheme}://{api}\"\ncluster_addr = \"https://{peers}\"\n",
        listener = listener(&addresses, certificates),
        path = quoted(&home.join(name_of(number))),
        name = name_of(number),
        api = at(&reached, 0)?,
        peers = at(&reached, 1)?,
    ))
}

/// Nodes are called as Vault's development cluster calls them.
fn name_of(number: u16) -> String {
    format!("core-{number}")
}

impl Development {
    /// True if there is something on disk that is to go with the server.
    pub(crate) fn leaves_traces(&self) -> bool {
        self.home.is_some()
    }

    /// Removes what the server had on disk.
    pub(crate) fn end(self) -> Result<()> {
        self.home.map_or(Ok(()), TempDir::close).context("the nodes' data were not removed")
    }

    /// Initializes and unseals the first node, and has the others join it; prints what Vault's development server prints.
    pub(crate) async fn begin(&self, nodes: &[Node], dev: &Dev, io: &mut Io) -> Result<()> {
        let (first, others) = nodes.split_first().context("there is a development server")?;
        let core = &first.core;
        let request = InitRequest { root_token: dev.root_token.clone(), ..InitRequest::key_parts(1, 1) };
        let made = core.services.initialization.initialize(request).await?;
        let key = made.key_parts.first().context("initialising makes a key part")?;
        core.services.seal_state.offer_key_part(key.expose().clone()).await?;
        if !dev.no_kv {
            let mount = strongroom_catalog::development_mount(dev.kv_v1);
            let txn = core.services.barrier.transaction(core.services.barrier.view());
            core.services
                .mounts
                .add_mount(&txn, strongroom_barrier::NamespaceId::ROOT, "secret/", mount)
                .await?;
            txn.commit().await?;
        }
        for other in others {
            self.join(other, first, key.expose()).await?;
        }
        if !dev.no_store_token
            && let Err(error) = strongroom_cli::store_token(io, made.root_token.expose())
        {
            writeln!(io.stderr, "WARNING! The root token was not stored: {error}")?;
        }
        let addresses: Vec<&str> =
            nodes.iter().filter_map(|node| node.listeners.addresses().first()).map(String::as_str).collect();
        if let Some(path) = &dev.cluster_json {
            let described = self.describe(&addresses, &made);
            tls::write_private(path.as_ref(), serde_json::to_string_pretty(&described)?.as_bytes())?;
        }
        self.greet(&addresses, &made, io)
    }

    async fn join(&self, node: &Node, first: &Node, key: &[u8]) -> Result<()> {
        let cluster = first.core.services.node.cluster().context("the nodes have storage for a cluster")?;
        let ca = self.certificates.as_ref().map(|made| std::fs::read_to_string(&made.ca));
        let leader = LeaderAddress {
            api_addr: cluster.api_address.clone(),
            ca_cert: ca.transpose()?.unwrap_or_default(),
            ..LeaderAddress::default()
        };
        node.core.services.node.join(&JoinTarget::Known(leader), false).await?;
        node.core.services.seal_state.offer_key_part(key.to_vec()).await?;
        // There is no need to wait until it has been healthy for a while.
        let name = node.core.services.node.cluster().map_or("", |joined| joined.store.node_id());
        cluster.store.promote(name).await?;
        Ok(())
    }

    fn describe(&self, addresses: &[&str], made: &Initialized) -> Value {
        let node =
            |(number, address): (u16, &&str)| json!({ "node_id": name_of(number), "api_address": address });
        let keys: Vec<String> = made.key_parts.iter().map(|part| STANDARD.encode(part.expose())).collect();
        json!({
            "nodes": (0..).zip(addresses).map(node).collect::<Vec<_>>(),
            "ca_cert_path": self.certificates.as_ref().map(|made| made.ca.to_string_lossy().into_owned()),
            "root_token": made.root_token.expose(),
            "unseal_keys": keys,
        })
    }

    fn greet(&self, addresses: &[&str], made: &Initialized, io: &mut Io) -> Result<()> {
        let (what, nodes) = match &self.home {
            None => ("the server runs entirely in-memory\nand starts unsealed", String::new()),
            Some(home) => {
                let nodes: Vec<String> = (0..)
                    .zip(addresses)
                    .map(|(number, address)| format!("    {}: {address}\n", name_of(number)))
                    .collect();
                let place = home.path().display();
                let nodes = nodes.concat();
                let told = format!(
                    "Three nodes make a cluster; each answers. Their data are below\n\
                     {place} and are removed at the end.\n\n{nodes}\n"
                );
                ("three nodes run in one process\nand start unsealed", told)
            }
        };
        let ca = self.certificates.as_ref();
        let ca = ca
            .map_or_else(String::new, |made| format!("    $ export VAULT_CACERT='{}'\n", made.ca.display()));
        let key = made.key_parts.first().map(|part| STANDARD.encode(part.expose())).unwrap_or_default();
        write!(
            io.stdout,
            "\
WARNING! dev mode is enabled! In this mode, {what} with a single unseal key. The root token is already
authenticated to the CLI, so you can immediately begin using it.

{nodes}You may need to set the following environment variables:

    $ export VAULT_ADDR='{address}'
{ca}
The unseal key and root token are displayed below in case you want to
seal/unseal it or re-authenticate.

Unseal Key: {key}
Root Token: {token}

Development mode should NOT be used in production installations!

",
            address = addresses.first().copied().unwrap_or_default(),
            token = made.root_token.expose(),
        )?;
        io.stdout.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use strongroom_config::{Listener, Storage};

    use super::*;
    use crate::options::Options;

    fn prepared(flags: &[&str], config: &str) -> Result<(Development, Vec<Config>)> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let dev = Options::parse(&flags, |_| None).unwrap().dev.unwrap();
        let source = strongroom_config::Source { file: "given".into(), text: config.to_owned() };
        prepare(&dev, &strongroom_config::parse(&[source]).unwrap().config)
    }

    fn port(config: &Config) -> (u16, u16) {
        let [Listener::Tcp(tcp)] = config.listeners.as_slice() else { panic!("{config:?}") };
        (tcp.address.port, tcp.cluster_address.port)
    }

    #[test]
    fn three_nodes_have_ports_and_directories_of_their_own() {
        let (development, nodes) =
            prepared(&["-dev-three-node", "-dev-listen-address=0.0.0.0:8200"], "").unwrap();
        assert_eq!(nodes.iter().map(port).collect::<Vec<_>>(), [(8200, 8201), (8202, 8203), (8204, 8205)]);
        let home = development.home.as_ref().unwrap().path().to_owned();
        for (number, node) in (0..).zip(&nodes) {
            let Some(Storage::Raft(raft)) = &node.storage else { panic!("{node:?}") };
            assert_eq!(raft.path.as_deref().unwrap(), home.join(name_of(number)));
        }
        assert_eq!(nodes[2].api_addr.as_deref(), Some("http://127.0.0.1:8204"));
        assert_eq!(nodes[2].cluster_addr.as_deref(), Some("https://127.0.0.1:8205"));
        development.end().unwrap();
        assert!(!home.exists());
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let told = |flags: &[&str], config| prepared(flags, config).err().unwrap().to_string();
        assert!(told(&["-dev-three-node"], "storage \"inmem\" {}").contains("of its own"));
        assert!(told(&["-dev-three-node", "-dev-listen-address=:0"], "").contains("needs a port"));
        assert!(told(&["-dev-three-node", "-dev-listen-address=:65533"], "").contains("too few above it"));
    }

    #[test]
    fn one_node_is_in_memory_unless_told_otherwise() {
        let (development, nodes) = prepared(&["-dev"], "storage \"raft\" { path = \"/x\" }").unwrap();
        assert!(!development.leaves_traces());
        assert_eq!((nodes.len(), port(&nodes[0])), (1, (8200, 8201)));
        assert_eq!(nodes[0].storage.as_ref().unwrap().kind(), "raft");
    }

    #[test]
    fn one_node_knows_its_address() {
        let told = |flags: &[&str], config| prepared(flags, config).unwrap().1[0].api_addr.clone();
        let local = Some("http://127.0.0.1:8200".to_owned());
        assert_eq!(told(&["-dev"], ""), local);
        assert_eq!(told(&["-dev", "-dev-listen-address=0.0.0.0:8200"], ""), local);
        assert_eq!(told(&["-dev", "-dev-listen-address=:0"], ""), None);
        let given = Some("https://vault.example".to_owned());
        assert_eq!(told(&["-dev"], "api_addr = \"https://vault.example\""), given);
    }
}
