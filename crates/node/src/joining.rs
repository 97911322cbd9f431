//! Joining a cluster: who can open the barrier may.
//!
//! ```text
//! new node                                            active node
//!   join ───── bootstrap/challenge {server_id} ────►    a challenge of each seal, and one of the root key
//!   (a seal is opened with its challenge: the root key is known)
//!   unseal ─── bootstrap/answer {who I am, MAC} ───►    checks the MAC, signs a certificate, admits
//!           ◄─ cluster, certificates, MAC ──────────
//! ```
//! A challenge is the time and a random number sealed with the root key, good for one answer within a minute. The MACs are
//! over all that is said, under a key derived from the root key: neither side need trust the listener in between. Source for
//! paths and names: Vault's API page `sys/storage/raft`.
//!
//! Whoever asks is posed a challenge, and nothing is kept of it: the answer brings it back. So strangers who ask for many, or
//! answer wrongly in a node's name, are in nobody's way. What is kept, for a minute, is which challenges were answered rightly.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use strongroom_barrier::{BOOTSTRAP_RECORD, BarrierError, Keyring, unwrap_key, wrap_key};
use strongroom_cluster::PublicKey;
use strongroom_engine_api::{EngineError, Moment, bad_request};
use strongroom_raft::{Introduction, Member, Position, Sender};
use strongroom_seal::{RootKey, RootKeySource};
use strongroom_storage::CommitError;
use tokio::task::AbortHandle;

use super::membership::{unidentified, unsigned};
use super::{ClusterNode, JoinTarget, LeaderAddress};
use crate::Node;
use strongroom_seal_state::KEYRING;

/// The validity of a challenge.
const CHALLENGE_LIFETIME: Duration = Duration::from_mins(1);
/// Attempts at joining that a node makes at once for those who ask it to; anyone can, while it belongs to no cluster.
pub(super) const MAX_ATTEMPTS: usize = 2;
/// The time that a new node waits for the cluster's data to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
const ARRIVAL_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Between two attempts at joining.
const RETRY: Duration = Duration::from_secs(2);

const CHALLENGE_PURPOSE: &[u8] = b"raft-challenge";

/// A node that has asked to join and is yet to be unsealed.
pub(super) struct Joining {
    leader: LeaderAddress,
    non_voter: bool,
}

/// Attempts at joining in the background, asked for over the API.
///
/// Anyone may ask a node that belongs to no cluster to join one. So the first who asked keeps the node until it is a
/// member or restarted: a stranger cannot lead it elsewhere.
pub(super) struct BackgroundJoin {
    whom: JoinTarget,
    task: AbortHandle,
}

/// The challenge for a node that wants to join.
pub struct Challenge {
    /// A number sealed with the root key.
    pub challenge: Vec<u8>,
    /// Each seal's own challenge: who can open it comes to the root key.
    pub seals: Vec<RootKeySource>,
}

/// The answer of a node to its challenge.
#[derive(Clone, Debug, Default)]
pub struct ChallengeAnswer {
    /// Its name.
    pub server_id: String,
    /// Its number in the consensus protocol.
    pub raft_id: u64,
    /// The address at which it serves clients.
    pub api_addr: String,
    /// The address at which it talks to its peers.
    pub cluster_addr: String,
    /// It is not to vote.
    pub non_voter: bool,
    /// Its public key for the cluster port.
    pub public_key: Vec<u8>,
    /// The challenge, as it was posed.
    pub challenge: Vec<u8>,
    /// Proof of having opened the challenge.
    pub mac: Vec<u8>,
}

/// The grant of an admitted node.
pub struct JoinGrant {
    /// The cluster.
    pub cluster_id: String,
    /// The certificates of the authority that it is to believe and of the one before that, PEM.
    pub authority: String,
    /// The node's certificate and what links it to the authority before, PEM.
    pub certificate: String,
    /// The members that it is to trust until it hears of the members from their leader.
    pub introduction: Introduction,
    /// Proof that it comes from a node that knows the root key.
    pub mac: Vec<u8>,
}

/// The parts with their lengths, so that no two lists of parts read alike.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

/// The number in a challenge: the second in which it was posed, and random bytes.
pub(super) type Nonce = [u8; 32];

fn nonce_of(now: Moment, random: [u8; 24]) -> Nonce {
    let mut nonce = [0; 32];
    let bytes = now.as_secs().to_be_bytes().into_iter().chain(random);
    for (to, from) in nonce.iter_mut().zip(bytes) {
        *to = from;
    }
    nonce
}

/// True if a challenge can still be answered.
fn is_in_time(nonce: &Nonce, now: Moment) -> bool {
    let Some((posed, _)) = nonce.split_first_chunk() else { return false };
    let age = now.as_secs().checked_sub(u64::from_be_bytes(*posed));
    age.is_some_and(|age| age < CHALLENGE_LIFETIME.as_secs())
}

fn mac_key(root_key: &RootKey) -> hmac::Key {
    let root = hmac::Key::new(hmac::HMAC_SHA256, root_key.expose());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"strongroom raft join").as_ref())
}

impl ChallengeAnswer {
    fn said(&self, nonce: &[u8]) -> Vec<u8> {
        joined(&[
            b"answer",
            nonce,
            self.server_id.as_bytes(),
            &self.raft_id.to_be_bytes(),
            self.api_addr.as_bytes(),
            self.cluster_addr.as_bytes(),
            &[u8::from(self.non_voter)],
            &self.public_key,
        ])
    }
}

impl JoinGrant {
    fn said(&self, nonce: &[u8]) -> Vec<u8> {
        let Introduction { seen, members } = &self.introduction;
        let members: Vec<u8> = members.iter().flat_map(|raft_id| raft_id.to_be_bytes()).collect();
        joined(&[
            b"admission",
            nonce,
            self.cluster_id.as_bytes(),
            self.authority.as_bytes(),
            self.certificate.as_bytes(),
            &seen.term.to_be_bytes(),
            &seen.index.to_be_bytes(),
            &members,
        ])
    }
}

/// The active node's side.
impl Node {
    /// Challenges a node that wants to join.
    ///
    /// # Errors
    ///
    /// [`EngineError`] on a node without a cluster or without keys.
    pub async fn challenge(&self, server_id: &str) -> Result<Challenge, EngineError> {
        self.cluster().ok_or_else(not_raft)?;
        if server_id.is_empty() {
            return Err(bad_request("no server id provided"));
        }
        let root_key = self.seal_state.root_key()?;
        let entropy = &self.environment.entropy;
        let nonce = nonce_of(self.environment.clock.now(), entropy.bytes()?);
        let challenge = wrap_key(entropy, root_key.expose(), CHALLENGE_PURPOSE, &nonce);
        let challenge = challenge.map_err(BarrierError::from)?;
        let seals = self.seal_state.join_challenges().await?;
        Ok(Challenge { challenge, seals })
    }

    /// Admits a node that has opened its challenge.
    ///
    /// # Errors
    ///
    /// [`EngineError`]: a 403 for what is no answer to a challenge that is open; as for a write.
    pub async fn admit(&self, answered: &ChallengeAnswer) -> Result<JoinGrant, EngineError> {
        let node = self.cluster().ok_or_else(not_raft)?;
        let now = self.environment.clock.now();
        let refused = || EngineError::Denied("invalid answer to the challenge".to_owned());
        let root_key = self.seal_state.root_key()?;
        let opened = unwrap_key(root_key.expose(), CHALLENGE_PURPOSE, &answered.challenge);
        let nonce: Nonce =
            opened.ok().and_then(|nonce| nonce.as_slice().try_into().ok()).ok_or_else(refused)?;
        if !is_in_time(&nonce, now) {
            return Err(refused());
        }
        let key = mac_key(&root_key);
        hmac::verify(&key, &answered.said(&nonce), &answered.mac).map_err(|_unspecified| refused())?;
        // One challenge, one answer. Only those who know the root key come to be remembered.
        let is_first = {
            let mut state = node.state();
            state.answered.retain(|nonce| is_in_time(nonce, now));
            state.answered.insert(nonce)
        };
        if !is_first {
            return Err(refused());
        }
        if answered.cluster_addr.is_empty() || answered.raft_id == 0 {
            return Err(bad_request("no cluster_addr provided"));
        }
        let cluster_id = node.store.cluster_id().to_string();
        let not_active = || BarrierError::Commit(CommitError::NotLeader { leader: None });
        let authority = self.authority(&cluster_id).await?.ok_or_else(not_active)?;
        let member = Member {
            raft_id: answered.raft_id,
            node_id: answered.server_id.clone(),
            api_address: answered.api_addr.clone(),
            cluster_address: answered.cluster_addr.clone(),
            non_voter: answered.non_voter,
        };
        let seen = node.store.admit(&member).await.map_err(BarrierError::from)?;
        tracing::info!(node = member.node_id, address = member.cluster_address, "node joined the cluster");
        // Signed under the membership that it belongs to from now on.
        let (public, sender) =
            (PublicKey(answered.public_key.clone()), Sender { raft_id: member.raft_id, seen });
        let certificate =
            authority.sign(&public, &cluster_id, &sender, now.as_secs()).map_err(|error| unsigned(&error))?;
        let authority = authority.trusted();
        let members = node.store.introduction().members;
        let introduction = Introduction { seen, members };
        let mut admission = JoinGrant { cluster_id, authority, certificate, introduction, mac: Vec::new() };
        admission.mac = hmac::sign(&key, &admission.said(&nonce)).as_ref().to_vec();
        Ok(admission)
    }
}

pub(super) fn not_raft() -> EngineError {
    bad_request("raft storage is not in use")
}

/// The failure of an attempt. Anyone may ask a node that belongs to no cluster to join one at any address; so what came of it is
/// for the log, and who asks does not learn what answers there.
fn unreachable(leader: &LeaderAddress, error: &str) -> EngineError {
    tracing::warn!(leader = leader.api_addr, error, "failed to join cluster");
    let text = "no node accepted this one; see this node's log for the reason";
    EngineError::Status(500, format!("failed to join raft cluster: {}: {text}", leader.api_addr))
}

#[derive(Deserialize)]
struct Posing {
    challenge: String,
    seals: Vec<RootKeySource>,
}

#[derive(Deserialize)]
struct Admitted {
    cluster_id: String,
    ca_cert: String,
    certificate: String,
    members: Vec<String>,
    term: u64,
    index: u64,
    mac: String,
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| error.to_string())
}

impl super::State {
    /// Refuses to join others than those that the node is joining already, in the background.
    fn check_join(&self, whom: &JoinTarget) -> Result<(), EngineError> {
        let Some(before) = &self.background_join else { return Ok(()) };
        // It may also have come so far that only the seal is to be opened.
        let is_over = before.task.is_finished() && self.joining.is_none();
        if is_over || before.whom.is_same(whom) {
            return Ok(());
        }
        let text = "this node is joining a cluster in the background already; restart it to join another";
        Err(EngineError::Status(409, text.to_owned()))
    }
}

/// The new node's side.
impl Node {
    /// Asks a cluster's nodes to be let in, one after the other until one answers; being unsealed with a seal of that
    /// cluster does the rest.
    ///
    /// # Errors
    ///
    /// [`EngineError`] on a node that belongs to a cluster, and where none is found or answers: the last one's.
    pub async fn join(&self, whom: &JoinTarget, non_voter: bool) -> Result<(), EngineError> {
        let node = self.cluster().ok_or_else(not_raft)?;
        node.state().check_join(whom)?;
        let Ok(_attempt) = node.attempts.try_acquire() else {
            return Err(EngineError::Status(429, "attempts at joining are under way; try again".to_owned()));
        };
        self.join_now(whom, non_voter).await
    }

    async fn join_now(&self, whom: &JoinTarget, non_voter: bool) -> Result<(), EngineError> {
        self.check_unjoined().await?;
        let failed =
            |error| EngineError::Status(500, format!("failed to join raft cluster: auto_join: {error}"));
        let mut outcome = Err(failed("no node was found".to_owned()));
        for leader in whom.addresses().await.map_err(failed)? {
            outcome = self.ask(leader, non_voter).await;
            match &outcome {
                Ok(()) => break,
                Err(error) => tracing::info!(%error, "failed to join via this node"),
            }
        }
        outcome
    }

    async fn ask(&self, leader: LeaderAddress, non_voter: bool) -> Result<(), EngineError> {
        let node = self.cluster().ok_or_else(not_raft)?;
        let posing = self.ask_challenge(node, &leader).await.map_err(|error| unreachable(&leader, &error))?;
        self.seal_state.begin_joining(posing.seals).map_err(|error| unreachable(&leader, &error))?;
        tracing::info!(leader = leader.api_addr, "joining a cluster; its seal has to be opened to finish");
        node.state().joining = Some(Joining { leader, non_voter });
        Ok(())
    }

    /// As [`Node::join_with_patience`], for one who asks over the API. Asked again for the same nodes, begins anew.
    ///
    /// # Errors
    ///
    /// [`EngineError`] on a node that belongs to a cluster, and on one that was asked to join another.
    pub async fn join_in_background(
        self: &Arc<Self>,
        whom: JoinTarget,
        non_voter: bool,
    ) -> Result<(), EngineError> {
        let node = self.cluster().ok_or_else(not_raft)?;
        self.check_unjoined().await?;
        let mut state = node.state();
        state.check_join(&whom)?;
        if let Some(before) = state.background_join.take() {
            before.task.abort();
        }
        let task = self.keep_joining(vec![whom.clone()], non_voter);
        state.background_join = Some(BackgroundJoin { whom, task });
        Ok(())
    }

    /// As [`Node::join`], in the background, over and over until a node answers.
    ///
    /// # Errors
    ///
    /// [`EngineError`] on a node that belongs to a cluster.
    pub async fn join_with_patience(
        self: &Arc<Self>,
        wanted: Vec<JoinTarget>,
        non_voter: bool,
    ) -> Result<(), EngineError> {
        self.check_unjoined().await?;
        self.keep_joining(wanted, non_voter);
        Ok(())
    }

    fn keep_joining(self: &Arc<Self>, wanted: Vec<JoinTarget>, non_voter: bool) -> AbortHandle {
        let node = Arc::downgrade(self);
        let clock = self.environment.clock.clone();
        let task = tokio::spawn(async move {
            loop {
                for whom in &wanted {
                    let Some(node) = node.upgrade() else { return };
                    if node.check_unjoined().await.is_err() || node.seal_state.is_joining() {
                        return;
                    }
                    match node.join_now(whom, non_voter).await {
                        Ok(()) => return,
                        Err(error) => tracing::info!(%error, "retrying join"),
                    }
                }
                clock.sleep(RETRY).await;
            }
        });
        task.abort_handle()
    }

    async fn check_unjoined(&self) -> Result<(), EngineError> {
        let node = self.cluster().ok_or_else(not_raft)?;
        if self.barrier.bootstrap(BOOTSTRAP_RECORD).await?.is_some() || !node.store.members().is_empty() {
            return Err(EngineError::Status(500, "raft storage is already initialized".to_owned()));
        }
        Ok(())
    }

    async fn ask_challenge(&self, node: &ClusterNode, leader: &LeaderAddress) -> Result<Posing, String> {
        let body = json!({ "server_id": node.store.node_id() });
        let path = "sys/storage/raft/bootstrap/challenge";
        let told = node.join_client.write(leader, path, body).await?;
        serde_json::from_value(told).map_err(|error| error.to_string())
    }

    /// Finishes joining, now that the root key is known. Where nothing is being joined, nothing is done.
    pub(crate) async fn finish_joining(&self, root_key: &RootKey) -> Result<(), BarrierError> {
        let Some(node) = self.cluster() else { return Ok(()) };
        let (leader, non_voter) = match node.state().joining.as_ref() {
            Some(joining) => (joining.leader.clone(), joining.non_voter),
            None => return Ok(()),
        };
        let failed = |error: &dyn std::fmt::Display| {
            let text = format!("failed to join raft cluster: {error}");
            BarrierError::Store(strongroom_storage::StoreError::Failed(text))
        };
        let admission =
            self.ask_admission(node, &leader, non_voter, root_key).await.map_err(|error| failed(&error))?;
        let adopted = node.store.adopt(&admission.cluster_id, &admission.introduction).await;
        adopted.map_err(|error| failed(&error))?;
        node.take_certificates(&admission.certificate, &admission.authority)
            .map_err(|error| failed(&error))?;
        let clock = &self.environment.clock;
        let began = clock.now();
        while !self.has_keyring_of(root_key).await? {
            if clock.now().since(began) > ARRIVAL_TIMEOUT {
                return Err(failed(&"the cluster's data has not arrived yet; unseal again when it has"));
            }
            clock.sleep(ARRIVAL_POLL_INTERVAL).await;
        }
        node.state().joining = None;
        self.seal_state.end_joining();
        tracing::info!(cluster = admission.cluster_id, "joined a cluster");
        Ok(())
    }

    /// True if storage has keys that this root key opens. What arrives first may be the cluster's past, before a
    /// snapshot with other keys took its place.
    async fn has_keyring_of(&self, root_key: &RootKey) -> Result<bool, BarrierError> {
        let wrapped = self.barrier.bootstrap(KEYRING).await?;
        Ok(wrapped.is_some_and(|wrapped| Keyring::unwrap(root_key.expose(), &wrapped).is_ok()))
    }

    async fn ask_admission(
        &self,
        node: &ClusterNode,
        leader: &LeaderAddress,
        non_voter: bool,
        root_key: &RootKey,
    ) -> Result<JoinGrant, String> {
        // A new challenge: who opens the seal may take their time.
        let posing = self.ask_challenge(node, leader).await?;
        let opened = unwrap_key(root_key.expose(), CHALLENGE_PURPOSE, &decoded(&posing.challenge)?);
        let nonce = opened.map_err(|_error| "the challenge is of another cluster".to_owned())?;
        let public = node.identity.public_key().map_err(|error| unidentified(&error).to_string())?;
        let mut answered = ChallengeAnswer {
            server_id: node.store.node_id().to_owned(),
            raft_id: node.store.raft_id(),
            api_addr: node.api_address.clone(),
            cluster_addr: node.cluster_address.clone(),
            non_voter,
            public_key: public.0,
            challenge: decoded(&posing.challenge)?,
            mac: Vec::new(),
        };
        let key = mac_key(root_key);
        answered.mac = hmac::sign(&key, &answered.said(&nonce)).as_ref().to_vec();
        let body = json!({
            "server_id": answered.server_id,
            "raft_id": answered.raft_id.to_string(),
            "api_addr": answered.api_addr,
            "cluster_addr": answered.cluster_addr,
            "non_voter": answered.non_voter,
            "public_key": STANDARD.encode(&answered.public_key),
            "challenge": posing.challenge,
            "answer": STANDARD.encode(&answered.mac),
        });
        let told = node.join_client.write(leader, "sys/storage/raft/bootstrap/answer", body).await?;
        let told: Admitted = serde_json::from_value(told).map_err(|error| error.to_string())?;
        let members = told.members.iter().map(|number| number.parse()).collect::<Result<_, _>>();
        let members: Result<Vec<u64>, std::num::ParseIntError> = members;
        let admission = JoinGrant {
            cluster_id: told.cluster_id,
            authority: told.ca_cert,
            certificate: told.certificate,
            introduction: Introduction {
                seen: Position { term: told.term, index: told.index },
                members: members.map_err(|error| error.to_string())?,
            },
            mac: decoded(&told.mac)?,
        };
        let genuine = hmac::verify(&key, &admission.said(&nonce), &admission.mac);
        genuine.map_err(|_unspecified| "the answer does not come from the cluster".to_owned())?;
        Ok(admission)
    }
}
