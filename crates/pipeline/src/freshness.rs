//! Consistency of reads: the index that answers carry and clients present, and the answers of a node without a quorum.
//!
//! Source: Vault's documentation, "Consistency" (`X-Vault-Index`, `X-Vault-Inconsistent`). The header is the base64 of
//! `v1:CLUSTER:INDEX:0:HMAC`, as the clients' libraries parse it in order to compare and merge them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use strongroom_raft::Role;
use strongroom_stdx::{same_bytes, to_hex};
use strongroom_storage::{ELECTION, Index, Store as _};

use super::{Answer, Pipeline, RequestError};

/// The header of the index.
pub(crate) const INDEX: &str = "X-Vault-Index";
/// The header by which a client says what a node that is behind is to do.
const INCONSISTENT: &str = "x-vault-inconsistent";
/// Marks an answer of a node without a quorum; its value is for how many seconds it has had none.
const STALE: &str = "X-Strongroom-Stale";
/// The time for which a request waits for this node to catch up before it is handed on.
const INDEX_TIMEOUT: Duration = Duration::from_secs(1);

/// The result of the check whether this node may answer a read by itself.
pub(crate) enum Freshness {
    /// It may.
    Fresh,
    /// It may, and says for how long it has been without a quorum.
    Stale(Duration),
    /// The active node is to answer.
    Unknown,
}

impl Freshness {
    /// Marks an answer that was given in this state.
    pub(crate) fn mark(&self, answer: &mut Answer) {
        if let Self::Stale(since) = self {
            answer.headers.push((STALE.to_owned(), since.as_secs().to_string()));
        }
    }
}

/// The header of the newest index, and the key that signed it: all writes of a log entry answer with the same one.
#[derive(Default)]
pub(crate) struct NewestIndex(ArcSwapOption<(Index, Arc<hmac::Key>, String)>);

impl NewestIndex {
    /// The header of `index`, made where it is not the newest known.
    fn header(&self, key: &Arc<hmac::Key>, index: Index, make: impl FnOnce() -> String) -> String {
        match &*self.0.load() {
            Some(known) if known.0 == index && Arc::ptr_eq(&known.1, key) => known.2.clone(),
            _ => {
                let header = make();
                self.0.store(Some(Arc::new((index, key.clone(), header.clone()))));
                header
            }
        }
    }
}

impl Pipeline {
    /// Checks whether this standby may answer a read by itself, as far as its cluster goes.
    pub(crate) fn freshness(&self) -> Freshness {
        let Some(node) = self.services.node.cluster() else { return Freshness::Fresh };
        let (role, stale_for) = (node.store.role(), node.standby_policy.stale_reads_for);
        if role == Role::Leads {
            return Freshness::Fresh;
        }
        // What was revoked while it was off, or before its leader's data has arrived, it does not know.
        let Some(age) = node.store.data_age() else { return Freshness::Unknown };
        match role {
            Role::Follows if age < ELECTION => Freshness::Fresh,
            Role::CutOff { since } if since < ELECTION && age < ELECTION.saturating_mul(2) => {
                Freshness::Fresh
            }
            Role::Unsure { since } if since < ELECTION => Freshness::Unknown,
            Role::CutOff { since } | Role::Unsure { since } if since >= ELECTION && age < stale_for => {
                Freshness::Stale(age)
            }
            _ => Freshness::Unknown,
        }
    }

    /// The index as clients present it; `None` where there is no cluster.
    pub(crate) fn index_header(&self, index: Index) -> Option<(String, String)> {
        let node = self.services.node.cluster()?;
        let salt = self.services.seal_state.token_salt()?;
        let header = self.newest_index.header(&salt, index, || {
            STANDARD.encode(signed(&salt, &format!("v1:{}:{index}:0", node.store.cluster_id())))
        });
        Some((INDEX.to_owned(), header))
    }

    /// Refuses an index that is malformed.
    pub(crate) fn check_index(&self, headers: &HeaderMap) -> Result<(), RequestError> {
        self.presented(headers).map(|_index| ())
    }

    /// The newest index of this cluster that the client presents; 0 for none.
    fn presented(&self, headers: &HeaderMap) -> Result<Index, RequestError> {
        let (Some(node), salt) = (self.services.node.cluster(), self.services.seal_state.token_salt()) else {
            return Ok(0);
        };
        let Some(salt) = salt.as_deref() else { return Ok(0) };
        let malformed = || RequestError::status(400, format!("{INDEX} is malformed"));
        let mut newest = 0;
        for value in headers.get_all(INDEX) {
            let bytes = STANDARD.decode(value.as_bytes()).map_err(|_error| malformed())?;
            let text = String::from_utf8(bytes).map_err(|_error| malformed())?;
            let (said, _tag) = text.rsplit_once(':').ok_or_else(malformed)?;
            let mut parts = said.split(':');
            let (Some("v1"), Some(cluster), Some(index)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(malformed());
            };
            // That of another cluster says nothing of this one.
            if cluster != &*node.store.cluster_id() {
                continue;
            }
            if !same_bytes(signed(salt, said).as_bytes(), text.as_bytes()) {
                return Err(malformed());
            }
            newest = newest.max(index.parse().map_err(|_error| malformed())?);
        }
        Ok(newest)
    }

    /// Waits until this node has what the client has seen. False: the active node is to answer.
    ///
    /// # Errors
    ///
    /// [`RequestError`]: a 400 for what is no index, and Vault's 412 where the client would rather hear of it.
    pub(crate) async fn catches_up_with(&self, headers: &HeaderMap) -> Result<bool, RequestError> {
        let index = self.presented(headers)?;
        let Some(node) = self.services.node.cluster().filter(|node| index > node.store.applied()) else {
            return Ok(true);
        };
        match headers.get(INCONSISTENT).map(http::HeaderValue::as_bytes) {
            Some(b"fail") => Err(RequestError::status(412, "required index state not present")),
            Some(b"forward-active-node") => Ok(false),
            _ => Ok(tokio::time::timeout(INDEX_TIMEOUT, node.store.wait_applied(index)).await.is_ok()),
        }
    }
}

/// With its HMAC. What is signed begins with the header's name: nothing else under that key reads so.
fn signed(salt: &hmac::Key, said: &str) -> String {
    let tag = hmac::sign(salt, format!("{INDEX}:{said}").as_bytes());
    format!("{said}:{}", to_hex(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_made_once_for_all_writes_of_an_entry() {
        let newest = NewestIndex::default();
        let key = || Arc::new(hmac::Key::new(hmac::HMAC_SHA256, b"salt"));
        let (own, another) = (key(), key());
        let never = || unreachable!("it is known");
        assert_eq!(newest.header(&own, 7, || "seven".to_owned()), "seven");
        assert_eq!(newest.header(&own, 7, never), "seven");
        assert_eq!(newest.header(&own, 8, || "eight".to_owned()), "eight");
        assert_eq!(newest.header(&own, 8, never), "eight");
        assert_eq!(newest.header(&own, 7, || "an older one".to_owned()), "an older one");
        assert_eq!(newest.header(&another, 7, || "another key's".to_owned()), "another key's");
    }
}
