//! Looking at leases.

use strongroom_barrier::{BarrierError, Reads};
use strongroom_engine_api::Moment;

use crate::tables::{LEASES, TOKENS};
use crate::{Core, NamespaceId};

/// Keys looked at in one go while listing.
const PAGE: usize = 256;
/// Sorts after whatever lies below a folder whose name it follows.
const PAST_FOLDER: char = char::MAX;

/// What is told of a lease, whether it is a secret's or a token's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    /// When it was granted.
    pub issued: Moment,
    /// When it was last renewed.
    pub renewed: Option<Moment>,
    /// When it ends; `None`: never.
    pub expires: Option<Moment>,
    /// Whether it may be renewed.
    pub renewable: bool,
}

impl Core {
    /// What there is to tell of a lease. `reads` must be of the core's scope.
    pub async fn lease_facts(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: &str,
    ) -> Result<Option<LeaseFacts>, BarrierError> {
        let Some(lease) = LEASES.get(reads, &(namespace, id)).await? else { return Ok(None) };
        let Some(key) = lease.token else {
            return Ok(Some(LeaseFacts {
                issued: lease.issued,
                renewed: lease.renewed,
                expires: Some(lease.expires),
                renewable: lease.renewable,
            }));
        };
        Ok(TOKENS.get(reads, &key).await?.map(|token| LeaseFacts {
            issued: token.created,
            renewed: token.renewed,
            expires: token.expires,
            renewable: token.renewable,
        }))
    }

    /// The names directly under `folder` (empty, or ending in a slash) among the lease ids, deeper ones once as
    /// `name/`: those after `after`, at most `limit`, in order. `reads` must be of the core's scope.
    pub async fn lease_children(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        folder: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let range = (namespace, folder);
        let mut names: Vec<String> = Vec::new();
        let mut cursor = after.map_or_else(|| folder.to_owned(), |after| past(&format!("{folder}{after}")));
        while names.len() < limit {
            let page = LEASES.keys_after(reads, &range, &(namespace, cursor.as_str()), PAGE).await?;
            let Some((_, last)) = page.last() else { break };
            let last = last.clone();
            let mut skipped_to = None;
            for (_, id) in page {
                let Some(rest) = id.strip_prefix(folder) else { continue };
                let name =
                    rest.split_once('/').map_or_else(|| rest.to_owned(), |(name, _)| format!("{name}/"));
                if names.last() != Some(&name) {
                    if names.len() == limit {
                        return Ok(names);
                    }
                    // What lies below a folder is passed over unread, however much it is.
                    skipped_to = name.ends_with('/').then(|| past(&format!("{folder}{name}")));
                    names.push(name);
                }
            }
            cursor = skipped_to.filter(|skipped_to| *skipped_to > last).unwrap_or(last);
        }
        Ok(names)
    }
}

/// The text after which listing goes on: past all that lies below, where `name` is a folder's.
fn past(name: &str) -> String {
    if name.ends_with('/') { format!("{name}{PAST_FOLDER}") } else { name.to_owned() }
}
