//! Groups across namespaces: the members that a group may have, and where its policies count. Source: Vault's API page
//! `sys/config/group-policy-application`.
//!
//! The mode is one for the whole server and is kept in storage; a change of it outdates every entity's rights. Members that
//! another mode has let in stay members, and count again when it is back; until then their groups grant them nothing. What is
//! looked for outside of the namespaces around a group is looked for in all of them, one after the other, so that only a few
//! such members can be added at once.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, bad_request};

use crate::Identity;
use crate::id::IdentityId;
use crate::tables::GROUP_POLICY_MODE;

/// The key of the only entry.
const MODE: &str = "mode";
/// Members that one request may look for in all namespaces.
const MAX_FAR: usize = 16;

/// The namespaces in which a group's policies count for its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupPolicyMode {
    /// Members are of the group's own namespace.
    WithinNamespace,
    /// Members are of the group's namespace or of one around it.
    #[default]
    WithinNamespaceHierarchy,
    /// Members are of any namespace, and their tokens act where the group's policies are.
    Any,
}

impl GroupPolicyMode {
    /// Vault's name for it, or ours where Vault has none.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WithinNamespace => "within_namespace",
            Self::WithinNamespaceHierarchy => "within_namespace_hierarchy",
            Self::Any => "any",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::WithinNamespace, Self::WithinNamespaceHierarchy, Self::Any]
            .into_iter()
            .find(|mode| mode.name() == name)
    }
}

/// The mode as kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeptMode {
    mode: GroupPolicyMode,
}

impl Stored for KeptMode {}

/// The kind of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberKind {
    Entity,
    Group,
}

/// A search for the members of a group, which gets longer the farther away they are.
pub(crate) struct Search {
    mode: GroupPolicyMode,
    /// The namespaces looked at first: the group's own, and those around it.
    near: Vec<NamespaceId>,
    /// Searches in all namespaces that may still be made.
    far: usize,
}

impl Identity {
    /// The mode as `reads` shows it.
    pub async fn group_policy_mode(&self, reads: &impl Reads) -> Result<GroupPolicyMode, BarrierError> {
        Ok(GROUP_POLICY_MODE.get(reads, MODE).await?.map(|kept| kept.mode).unwrap_or_default())
    }

    /// Sets the mode, for all groups of all namespaces.
    pub fn set_group_policy_mode(&self, txn: &Txn, mode: GroupPolicyMode) -> Result<(), BarrierError> {
        txn.on_commit(move || tracing::info!(mode = mode.name(), "group policy application mode set"));
        GROUP_POLICY_MODE.put(txn, MODE, KeptMode { mode })
    }

    /// True if policies of a group of `of` count for an entity of `home`.
    pub(crate) async fn counts_for(
        &self,
        mode: GroupPolicyMode,
        home: NamespaceId,
        of: NamespaceId,
    ) -> Result<bool, BarrierError> {
        if of == home || mode == GroupPolicyMode::Any {
            return Ok(true);
        }
        if mode == GroupPolicyMode::WithinNamespace {
            return Ok(false);
        }
        let router = self.mounts.router().await?;
        let found = router.namespace(of).zip(router.namespace(home));
        Ok(found.is_some_and(|(of, home)| of.is_within(&home)))
    }

    /// A search for members of a group of `namespace`. The transaction rests on the mode.
    pub(crate) async fn search(&self, txn: &Txn, namespace: NamespaceId) -> Result<Search, BarrierError> {
        let mode = self.group_policy_mode(txn).await?;
        let near = match mode {
            GroupPolicyMode::WithinNamespace => vec![namespace],
            GroupPolicyMode::WithinNamespaceHierarchy | GroupPolicyMode::Any => {
                self.namespaces_around(namespace).await?
            }
        };
        Ok(Search { mode, near, far: MAX_FAR })
    }

    /// The namespace of a member; `None` where it is nowhere that it may be.
    pub(crate) async fn place_of(
        &self,
        txn: &Txn,
        search: &mut Search,
        kind: MemberKind,
        id: IdentityId,
    ) -> Result<Option<NamespaceId>, EngineError> {
        for near in &search.near {
            if self.is_there(txn, *near, kind, id).await? {
                return Ok(Some(*near));
            }
        }
        if search.mode != GroupPolicyMode::Any {
            return Ok(None);
        }
        search.far = search.far.checked_sub(1).ok_or_else(|| {
            let text = format!("more than {MAX_FAR} members of other namespaces cannot be added at once");
            bad_request(text)
        })?;
        for far in self.mounts.namespaces_within(NamespaceId::ROOT).await? {
            // What is not there is none of what the transaction rests on.
            if self.is_there(txn.peek(), far.id, kind, id).await?
                && self.is_there(txn, far.id, kind, id).await?
            {
                return Ok(Some(far.id));
            }
        }
        Ok(None)
    }

    async fn is_there(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        kind: MemberKind,
        id: IdentityId,
    ) -> Result<bool, BarrierError> {
        Ok(match kind {
            MemberKind::Entity => self.entity(reads, namespace, id).await?.is_some(),
            MemberKind::Group => self.group(reads, namespace, id).await?.is_some(),
        })
    }
}
