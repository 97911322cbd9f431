//! `sys/storage/raft/*`: the nodes of the cluster, joining, leaving. Source: Vault's API page `sys/storage/raft`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::BarrierError;
use strongroom_engine_api::lenient::{Flag, Text};
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Secret, bad_request};
use strongroom_node::{ChallengeAnswer, ClusterNode, JoinTarget, LeaderAddress, Node};
use strongroom_seal_state::RootKeySource;

use crate::envelopes::{MergedData, NoEnvelope};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("storage/raft/configuration", |r| {
            r.read("Returns the configuration of the raft cluster.", configuration)
        })
        .route("storage/raft/remove-peer", |r| r.update("Remove a peer from the raft cluster.", remove_peer))
        .route("storage/raft/promote", |r| r.update("Promotes a permanent non-voter to a voter.", promote))
        .route("storage/raft/demote", |r| r.update("Demotes a voter to a permanent non-voter.", demote))
        .route("storage/raft/join", |r| {
            r.open().while_sealed().update("Joins a node to the raft cluster.", join)
        })
        .route("storage/raft/bootstrap/challenge", |r| {
            r.open()
                .update("Creates a challenge for the new peer to be joined to the raft cluster.", challenge)
        })
        .route("storage/raft/bootstrap/answer", |r| {
            r.open().update("Accepts an answer from the peer to be joined to the raft cluster.", answer)
        })
}

pub(crate) fn member(node: &Node) -> Result<&ClusterNode, EngineError> {
    node.cluster().ok_or_else(|| bad_request("raft storage is not in use"))
}

/// The nodes of the cluster.
#[derive(Serialize, JsonSchema)]
struct Configuration {
    /// All of them.
    config: Servers,
}

/// The nodes, as of an entry of the log.
#[derive(Serialize, JsonSchema)]
struct Servers {
    /// Each node.
    servers: Vec<Server>,
    /// The entry of the log that this is as of.
    index: u64,
}

/// A node.
#[derive(Serialize, JsonSchema)]
struct Server {
    /// Its name.
    node_id: String,
    /// The address at which it talks to its peers.
    address: String,
    /// True if it is the leader.
    leader: bool,
    /// The version of the protocol between nodes.
    protocol_version: &'static str,
    /// True if it is a voter.
    voter: bool,
}

pub(crate) fn without_scheme(address: &str) -> &str {
    address.split_once("://").map_or(address, |(_, rest)| rest)
}

async fn configuration(
    Extension(this_node): Extension<Node>,
) -> Result<MergedData<Configuration>, EngineError> {
    let node = member(&this_node)?;
    let servers = node.store.members().into_iter().map(|status| Server {
        address: without_scheme(&status.member.cluster_address).to_owned(),
        node_id: status.member.node_id,
        leader: status.leader,
        protocol_version: "3",
        voter: status.voter,
    });
    let servers = Servers { servers: servers.collect(), index: node.store.membership_index() };
    Ok(MergedData(Configuration { config: servers }))
}

/// The node that is meant.
#[derive(Deserialize, JsonSchema)]
struct Which {
    /// The name of the node.
    server_id: Option<Text>,
    /// A token for disaster recovery secondaries. There are none.
    #[allow(dead_code, reason = "taken and of no use, as on a Vault primary")]
    dr_operation_token: Option<Text>,
}

impl Which {
    fn server_id(self) -> Result<String, EngineError> {
        let given = self.server_id.map(|id| id.0).filter(|id| !id.is_empty());
        given.ok_or_else(|| bad_request("no server id provided"))
    }
}

async fn remove_peer(
    Extension(node): Extension<Node>,
    Input(which): Input<Which>,
) -> Result<(), EngineError> {
    let id = which.server_id()?;
    member(&node)?.store.remove(&id).await.map_err(BarrierError::from)?;
    Ok(())
}

async fn promote(Extension(node): Extension<Node>, Input(which): Input<Which>) -> Result<(), EngineError> {
    let id = which.server_id()?;
    known(member(&node)?.store.promote(&id).await.map_err(BarrierError::from)?, &id)
}

async fn demote(Extension(node): Extension<Node>, Input(which): Input<Which>) -> Result<(), EngineError> {
    let id = which.server_id()?;
    known(member(&node)?.store.demote(&id).await.map_err(BarrierError::from)?, &id)
}

fn known(found: bool, id: &str) -> Result<(), EngineError> {
    if found { Ok(()) } else { Err(bad_request(format!("node {id:?} is not in the raft configuration"))) }
}

/// The cluster to join, and the trust anchors for it.
#[derive(Deserialize, JsonSchema)]
struct JoinInput {
    /// The API address of a node of the cluster.
    leader_api_addr: Option<Text>,
    /// The authority of its certificate, PEM.
    leader_ca_cert: Option<Text>,
    /// This node's certificate for it, PEM.
    leader_client_cert: Option<Text>,
    /// The key of this node's certificate, PEM.
    leader_client_key: Option<Text>,
    /// The name in its certificate, if not that of its address.
    leader_tls_servername: Option<Text>,
    /// Keeps retrying in the background if the other node does not respond.
    retry: Option<Flag>,
    /// This node is not to vote.
    non_voter: Option<Flag>,
    /// The method of finding nodes, instead of an address: `provider=static addrs=…` or `provider=dns name=…`.
    auto_join: Option<Text>,
    /// The scheme of the addresses found so; `https` unless given.
    auto_join_scheme: Option<Text>,
    /// The port of the addresses found so; 8200 unless given.
    auto_join_port: Option<Text>,
}

/// The result of joining.
#[derive(Serialize, JsonSchema)]
struct Joined {
    /// The cluster has been found; its unseal key makes this node a member.
    joined: bool,
}

async fn join(
    Extension(node): Extension<Node>,
    Input(input): Input<JoinInput>,
) -> Result<NoEnvelope<Joined>, EngineError> {
    let non_voter = input.non_voter.as_ref().is_some_and(|flag| flag.0);
    let retry = input.retry.as_ref().is_some_and(|flag| flag.0);
    let whom = whom(member(&node)?, input)?;
    if retry {
        node.join_in_background(whom, non_voter).await?;
    } else {
        node.join(&whom, non_voter).await?;
    }
    Ok(NoEnvelope(200, Joined { joined: true }))
}

fn whom(node: &ClusterNode, input: JoinInput) -> Result<JoinTarget, EngineError> {
    let given = |text: Option<Text>| text.map(|text| text.0).filter(|text| !text.is_empty());
    let text = |text: Option<Text>| given(text).unwrap_or_default();
    let trust = LeaderAddress {
        api_addr: String::new(),
        ca_cert: text(input.leader_ca_cert),
        server_name: text(input.leader_tls_servername),
        client_cert: text(input.leader_client_cert),
        client_key: Secret::new(text(input.leader_client_key)),
    };
    match (given(input.leader_api_addr), given(input.auto_join)) {
        (Some(api_addr), None) => Ok(JoinTarget::Known(LeaderAddress { api_addr, ..trust })),
        (None, Some(expression)) => {
            // Vault's command line sends a port of 0 where there is nothing to find.
            let port = given(input.auto_join_port).filter(|port| port != "0");
            let port = port.map(|port| port.parse::<u16>()).transpose();
            let port = port.map_err(|_no_port| bad_request("auto_join_port is no port"))?;
            let scheme = given(input.auto_join_scheme);
            let found = node.join_client.discovery(&Secret::new(expression), scheme.as_deref(), port);
            Ok(JoinTarget::Found(found.map_err(|error| bad_request(format!("auto_join {error}")))?, trust))
        }
        (None, None) => Err(bad_request("no leader_api_addr provided")),
        (Some(_), Some(_)) => Err(bad_request("leader_api_addr and auto_join are mutually exclusive")),
    }
}

/// The node that wants to join.
#[derive(Deserialize, JsonSchema)]
struct ChallengeInput {
    /// The name of the node.
    server_id: Option<Text>,
}

/// A seal, and what it shows a node that wants to join.
#[derive(Serialize, JsonSchema)]
struct SealChallenge {
    /// The seal's id.
    id: String,
    /// The kind of seal.
    kind: String,
    /// The order in which seals are asked: the lowest first.
    priority: u32,
    /// The seal's public parameters.
    parameters: serde_json::Value,
    /// The challenge to decrypt with the seal, base64.
    challenge: String,
}

/// A challenge that only a node that can open the seal can answer.
#[derive(Serialize, JsonSchema)]
struct ChallengeView {
    /// A number sealed with the root key, base64.
    challenge: String,
    /// The challenge of each seal: who can open one comes to the root key.
    seals: Vec<SealChallenge>,
}

async fn challenge(
    Extension(node): Extension<Node>,
    Input(input): Input<ChallengeInput>,
) -> Result<Data<ChallengeView>, EngineError> {
    let posed = node.challenge(&input.server_id.map(|id| id.0).unwrap_or_default()).await?;
    let shown = |seal: RootKeySource| SealChallenge {
        challenge: STANDARD.encode(seal.challenge),
        id: seal.id,
        kind: seal.kind,
        priority: seal.priority,
        parameters: seal.parameters.into(),
    };
    Ok(Data(ChallengeView {
        challenge: STANDARD.encode(posed.challenge),
        seals: posed.seals.into_iter().map(shown).collect(),
    }))
}

/// The answer to a challenge, and who gives it.
#[derive(Deserialize, JsonSchema)]
struct AnswerInput {
    /// The name of the node.
    server_id: Option<Text>,
    /// The number of the node in the consensus protocol.
    raft_id: Option<Text>,
    /// The address at which the node serves clients.
    api_addr: Option<Text>,
    /// The address at which the node talks to its peers.
    cluster_addr: Option<Text>,
    /// The node is not to vote.
    non_voter: Option<Flag>,
    /// The node's public key for the cluster port, base64.
    public_key: Option<Text>,
    /// The challenge, as it was posed, base64.
    challenge: Option<Text>,
    /// A MAC over all of it and the challenge, base64.
    answer: Option<Text>,
}

/// The answer that makes the node a member.
#[derive(Serialize, JsonSchema)]
struct AnswerAccepted {
    /// The cluster's identity.
    cluster_id: String,
    /// The certificates of the cluster's authority and of the one before, PEM.
    ca_cert: String,
    /// The node's certificate and what links it to the authority before, PEM.
    certificate: String,
    /// The numbers of the members in the consensus protocol.
    members: Vec<String>,
    /// The term of the log entry that the members are of.
    term: u64,
    /// The number of that entry.
    index: u64,
    /// A MAC over these and the challenge, base64.
    mac: String,
}

async fn answer(
    Extension(node): Extension<Node>,
    Input(input): Input<AnswerInput>,
) -> Result<Data<AnswerAccepted>, EngineError> {
    let text = |given: Option<Text>| given.map(|text| text.0).unwrap_or_default();
    let bytes = |given: Option<Text>, name: &str| {
        let wrong = |_error| bad_request(format!("{name} is not base64"));
        STANDARD.decode(text(given)).map_err(wrong)
    };
    let answered = ChallengeAnswer {
        server_id: text(input.server_id),
        raft_id: text(input.raft_id).parse().map_err(|_error| bad_request("raft_id is not a number"))?,
        api_addr: text(input.api_addr),
        cluster_addr: text(input.cluster_addr),
        non_voter: input.non_voter.is_some_and(|flag| flag.0),
        public_key: bytes(input.public_key, "public_key")?,
        challenge: bytes(input.challenge, "challenge")?,
        mac: bytes(input.answer, "answer")?,
    };
    let admission = node.admit(&answered).await?;
    Ok(Data(AnswerAccepted {
        cluster_id: admission.cluster_id,
        ca_cert: admission.authority,
        certificate: admission.certificate,
        members: admission.introduction.members.iter().map(u64::to_string).collect(),
        term: admission.introduction.seen.term,
        index: admission.introduction.seen.index,
        mac: STANDARD.encode(admission.mac),
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use serde_json::{Value, json};
    use strongroom_engine_api::Secret;
    use strongroom_node::{Discovery, JoinClient, LeaderAddress};
    use strongroom_pipeline::Verb;

    use crate::autopilot::tests::{on_raft, unjoined};

    const CHALLENGE: &str = "sys/storage/raft/bootstrap/challenge";
    const ANSWER: &str = "sys/storage/raft/bootstrap/answer";

    #[tokio::test]
    async fn strangers_who_ask_for_challenges_are_in_nobodys_way() {
        let (server, _store, _directory) = on_raft().await;
        let ask = async |path: &'static str, input| server.ask_as("", Verb::Write, path, input).await;
        let posed = ask(CHALLENGE, json!({ "server_id": "new" })).await;
        let first = posed.data()["challenge"].as_str().unwrap().to_owned();
        for stranger in 0..200 {
            let told = ask(CHALLENGE, json!({ "server_id": format!("stranger-{stranger}") })).await;
            assert_eq!(told.status, 200, "{}", told.body);
        }
        let second = ask(CHALLENGE, json!({ "server_id": "new" })).await.data()["challenge"].clone();
        assert_ne!(second, json!(first), "each is another");
        for challenge in [first.as_str(), "AAAA", ""] {
            let input = json!({
                "server_id": "new", "raft_id": "7", "challenge": challenge, "answer": "AAAA", "public_key": "AAAA",
                "cluster_addr": "https://127.0.0.1:1", "api_addr": "https://127.0.0.1:2",
            });
            let told = ask(ANSWER, input).await;
            assert_eq!(told.error(), (403, "invalid answer to the challenge"));
        }
    }

    /// Counts the questions at each address, and answers none.
    #[derive(Default)]
    struct Silent(Mutex<BTreeMap<String, u32>>);

    impl Silent {
        fn asked(&self, address: &str) -> u32 {
            self.0.lock().unwrap().get(address).copied().unwrap_or(0)
        }
    }

    #[async_trait::async_trait]
    impl JoinClient for Silent {
        async fn write(&self, leader: &LeaderAddress, _: &str, _: Value) -> Result<Value, String> {
            let mut asked = self.0.lock().unwrap();
            let count = asked.entry(leader.api_addr.clone()).or_default();
            *count = count.saturating_add(1);
            drop(asked);
            Err("nobody is there".to_owned())
        }

        fn discovery(
            &self,
            _: &Secret<String>,
            _: Option<&str>,
            _: Option<u16>,
        ) -> Result<Arc<dyn Discovery>, String> {
            Err("is not known".to_owned())
        }
    }

    #[tokio::test]
    async fn strangers_do_not_lead_a_node_elsewhere_that_is_joining_already() {
        const JOIN: &str = "sys/storage/raft/join";
        const OURS: &str = "https://10.0.0.1:8200";
        const THEIRS: &str = "https://10.6.6.6:8200";
        let client = Arc::new(Silent::default());
        let (server, _store, _directory) = unjoined(client.clone()).await;
        let join = async |address: &str, retry: bool| {
            let input = json!({ "leader_api_addr": address, "retry": retry });
            server.ask_as("", Verb::Write, JOIN, input).await
        };
        let asked_again = async |address: &str| {
            let before = client.asked(address);
            for _ in 0..1000 {
                server.clock.advance(Duration::from_secs(2));
                tokio::task::yield_now().await;
                if client.asked(address) > before {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            false
        };
        assert_eq!(join(OURS, true).await.status, 200);
        assert!(asked_again(OURS).await);
        for retry in [true, false] {
            let told = join(THEIRS, retry).await;
            let text = "this node is joining a cluster in the background already; restart it to join another";
            assert_eq!(told.error(), (409, text));
        }
        assert_eq!(client.asked(THEIRS), 0);
        assert!(asked_again(OURS).await, "it goes on");
        assert_eq!(join("https://10.0.0.1:8200/", true).await.status, 200, "the same may be asked again");
        assert!(asked_again("https://10.0.0.1:8200/").await);
    }

    #[tokio::test]
    async fn a_node_renews_its_certificate_in_good_time() {
        let (server, _store, directory) = on_raft().await;
        let kept = directory.path().join("cluster/node.crt");
        let certificate = || fs::read_to_string(&kept).unwrap();
        let (authority, first) = (fs::read_to_string(kept.with_file_name("ca.crt")).unwrap(), certificate());
        let days = |days: u64| server.clock.advance(Duration::from_secs(days * 24 * 3600));
        let hours = |hours: u64| server.clock.advance(Duration::from_secs(hours * 3600));
        hours(7);
        server.core.services.node.renew_certificate().await.unwrap();
        assert_eq!(certificate(), first);
        hours(1);
        server.core.services.node.renew_certificate().await.unwrap();
        let second = certificate();
        assert_ne!(second, first);
        // It is away for longer than any certificate holds; by being unsealed it comes back.
        server.core.services.seal_state.seal().await;
        days(400);
        server.core.services.node.renew_certificate().await.unwrap();
        assert_eq!(certificate(), second, "without the authority's key there is none");
        server.core.services.seal_state.offer_key_part(server.key_parts[0].clone()).await.unwrap();
        assert_ne!(certificate(), second);
        // The authority has had a successor meanwhile: it is believed beside that.
        let trusted = fs::read_to_string(kept.with_file_name("ca.crt")).unwrap();
        assert!(trusted.ends_with(&authority) && trusted.len() > authority.len(), "{trusted}");
    }
}
