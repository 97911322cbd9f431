//! Logins: the entity that a mount's name leads to, made where there is none, and the external groups that it is in.
//!
//! All of it is written in the transaction that makes the token. That transaction reads the name's row, there or not, so of two
//! first logins at once one is decided again and finds the entity of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_barrier::{MountId, NamespaceId, Txn};
use strongroom_engine_api::{EngineError, Mount, bad_request};

use crate::aliases::{Alias, AliasPlace, put_alias};
use crate::groups::GroupKind;
use crate::id::IdentityId;
use crate::members::{Placed, link_member, unlink_member};
use crate::names::{checked_name, fold};
use crate::tables::{ALIAS_NAMES, ALIASES, MEMBERSHIPS};
use crate::{Effective, Identity};

/// A login, as an auth method describes it.
pub struct Login<'a> {
    /// The mount.
    pub mount: &'a Mount,
    /// The name that the mount knows the caller by.
    pub name: &'a str,
    /// Metadata of the alias.
    pub metadata: &'a BTreeMap<String, String>,
    /// The caller's groups in the method's own directory; `None` where the method knows of none.
    pub groups: Option<&'a [String]>,
}

/// The entity that has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedIn {
    /// The entity.
    pub entity: IdentityId,
    /// True if this login made it.
    pub is_new: bool,
    /// True if the login has written anything that rights follow from.
    pub changed: bool,
}

impl Identity {
    /// Finds or makes the entity of a login.
    ///
    /// # Errors
    ///
    /// 403 where the entity is disabled; 400 where the name cannot be one.
    pub async fn log_in(&self, txn: &Txn, login: &Login<'_>) -> Result<LoggedIn, EngineError> {
        let (namespace, accessor) = (login.mount.namespace, login.mount.accessor.as_str());
        let name = checked_name("alias name", login.name)?;
        if name.is_empty() {
            return Err(bad_request("missing name in alias"));
        }
        let folded = fold(&name);
        let named = ALIAS_NAMES.get(txn, &(namespace, &(accessor, folded.as_str()))).await?;
        let known = match named {
            Some(id) => self.entity(txn, namespace, *id).await?.map(|entity| (*id, entity)),
            None => None,
        };
        let mut logged_in = match known {
            Some((_, entity)) if entity.disabled => {
                return Err(EngineError::Denied("permission denied".to_owned()));
            }
            Some((entity, _)) => {
                let changed = self.update_alias(txn, namespace, entity, login).await?;
                LoggedIn { entity, is_new: false, changed }
            }
            None => {
                let entity = self.make_entity(txn, namespace).await?;
                let now = self.environment.clock.now();
                let alias = Alias {
                    id: IdentityId::draw(&self.environment.entropy)?,
                    name,
                    metadata: login.metadata.clone(),
                    local: login.mount.local,
                    created: now,
                    updated: now,
                    ..Alias::default()
                };
                let place = AliasPlace { entity, accessor: accessor.to_owned() };
                put_alias(txn, namespace, &place, alias)?;
                LoggedIn { entity, is_new: true, changed: true }
            }
        };
        if let Some(groups) = login.groups {
            let placed = (namespace, logged_in.entity);
            logged_in.changed |= self.follow_groups(txn, placed, accessor, groups).await?;
        }
        Ok(logged_in)
    }

    /// Takes over an alias's metadata where the method's has changed; answers whether it had.
    async fn update_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        entity: IdentityId,
        login: &Login<'_>,
    ) -> Result<bool, EngineError> {
        let key = (namespace, entity.bytes(), login.mount.accessor.as_str());
        let Some(alias) = ALIASES.get(txn, &key).await? else { return Ok(false) };
        if alias.metadata == *login.metadata {
            return Ok(false);
        }
        let updated = self.environment.clock.now();
        let alias = Alias { metadata: login.metadata.clone(), updated, ..(*alias).clone() };
        ALIASES.put(txn, &key, alias)?;
        Ok(true)
    }

    /// Has an entity be in exactly those external groups of a mount whose aliases are among `names`; answers whether that
    /// changed anything. Groups by other mounts, and those that operators fill, stay as they are.
    pub async fn follow_groups(
        &self,
        txn: &Txn,
        (namespace, entity): Placed,
        accessor: &str,
        names: &[String],
    ) -> Result<bool, EngineError> {
        let mut wanted = BTreeSet::new();
        for name in names {
            let found = self.group_of_alias(txn, namespace, accessor, name).await?;
            let Some(id) = found else { continue };
            let group = self.group(txn, namespace, id).await?;
            if group.is_some_and(|group| group.kind == GroupKind::External) {
                wanted.insert(id);
            }
        }
        let kept = MEMBERSHIPS.scan(txn, &entity.at(namespace), None, usize::MAX).await?;
        let of_mount = kept.into_iter().filter(|(_, membership)| membership.accessor == accessor);
        let there: BTreeMap<IdentityId, NamespaceId> =
            of_mount.map(|((_, _, id), of)| (IdentityId::of_bytes(id), of.namespace)).collect();
        let gone: Vec<_> = there.iter().filter(|(id, _)| !wanted.contains(id)).collect();
        let new: Vec<_> = wanted.iter().filter(|id| !there.contains_key(id)).collect();
        for (id, of) in &gone {
            unlink_member(txn, (**of, **id), (namespace, entity));
        }
        for id in &new {
            link_member(txn, (namespace, **id), (namespace, entity), accessor)?;
        }
        Ok(!gone.is_empty() || !new.is_empty())
    }

    /// The entity of a token that is made with an alias chosen by its maker; made where there is none.
    pub async fn entity_for_alias(
        &self,
        txn: &Txn,
        mount: &Mount,
        name: &str,
    ) -> Result<LoggedIn, EngineError> {
        let metadata = BTreeMap::new();
        self.log_in(txn, &Login { mount, name, metadata: &metadata, groups: None }).await
    }

    /// The rights of an entity that has logged in: with what the login has written, where it has written anything.
    pub async fn rights_of(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        login: LoggedIn,
    ) -> Result<Arc<Effective>, EngineError> {
        let found = if login.changed {
            self.effective_in(txn, namespace, login.entity).await?.map(Arc::new)
        } else {
            self.effective(namespace, login.entity).await?
        };
        found.ok_or_else(|| EngineError::Denied("permission denied".to_owned()))
    }

    /// Has the groups of a token's entity follow what the auth mount that granted the token says at its renewal.
    pub async fn renew_groups(
        &self,
        txn: &Txn,
        (namespace, entity): Placed,
        mount: MountId,
        names: &[String],
    ) -> Result<bool, EngineError> {
        let Some(mounted) = self.mounts.router().await?.by_id(namespace, mount) else { return Ok(false) };
        let Some((entity, _)) = self.resolve(txn, namespace, entity).await? else { return Ok(false) };
        self.follow_groups(txn, (namespace, entity), &mounted.mount.accessor, names).await
    }
}
