//! A server with words for what these tests do most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom_barrier::{BarrierError, NamespaceId, Txn};
use strongroom_engine_api::{AuthGrant, Engine, EngineError};
use strongroom_identity::{
    AliasChange, Effective, EntityChange, GroupChange, GroupKind, Identity, IdentityId, LoggedIn, Login,
};
use strongroom_mounts::MountHandle;
use strongroom_testkit::{Server, Setup};

pub(crate) const ROOT: NamespaceId = NamespaceId::ROOT;

pub(crate) struct Rig {
    pub(crate) server: Server,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let door = || {
            Engine::auth("door", "Lets anybody in.").route("login", |r| {
                r.open().update("Log in.", || async { Ok::<_, EngineError>(AuthGrant::default()) })
            })
        };
        let server = Setup::default().with(door).start().await;
        server.enable("auth/door/", "door").await;
        server.enable("auth/gate/", "door").await;
        Self { server }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.server.services().identity
    }

    pub(crate) async fn mount(&self, path: &str) -> Arc<MountHandle> {
        self.server.mounted(path).await
    }

    pub(crate) async fn accessor(&self, path: &str) -> String {
        self.mount(path).await.mount.accessor.clone()
    }

    /// Does something in a transaction, and commits it where it succeeds.
    pub(crate) async fn commit<T>(
        &self,
        work: impl AsyncFnOnce(&Identity, &Txn) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let txn = self.server.txn().await;
        let done = work(self.identity(), &txn).await?;
        txn.commit().await?;
        Ok(done)
    }

    pub(crate) async fn entity(&self, name: &str, policies: &[&str]) -> IdentityId {
        let change = EntityChange {
            name: Some(name.to_owned()),
            policies: Some(texts(policies)),
            ..EntityChange::default()
        };
        self.commit(async |identity, txn| identity.write_entity(txn, ROOT, None, change).await)
            .await
            .unwrap()
            .0
    }

    pub(crate) async fn disable(&self, id: IdentityId, disabled: bool) {
        let change = EntityChange { disabled: Some(disabled), ..EntityChange::default() };
        let written =
            self.commit(async |identity, txn| identity.write_entity(txn, ROOT, Some(id), change).await);
        written.await.unwrap();
    }

    pub(crate) async fn group(&self, name: &str, policies: &[&str]) -> IdentityId {
        let change = GroupChange {
            name: Some(name.to_owned()),
            policies: Some(texts(policies)),
            ..GroupChange::default()
        };
        self.write_group(None, change).await.unwrap()
    }

    pub(crate) async fn external(&self, name: &str, mount: &str, alias: &str) -> IdentityId {
        let change = GroupChange {
            name: Some(name.to_owned()),
            kind: Some(GroupKind::External),
            policies: Some(texts(&[name])),
            ..GroupChange::default()
        };
        let id = self.write_group(None, change).await.unwrap();
        let alias = AliasChange {
            name: Some(alias.to_owned()),
            accessor: Some(self.accessor(mount).await),
            entity: Some(id),
            ..AliasChange::default()
        };
        let written =
            self.commit(async |identity, txn| identity.write_group_alias(txn, ROOT, None, alias).await);
        written.await.unwrap();
        id
    }

    pub(crate) async fn write_group(
        &self,
        id: Option<IdentityId>,
        change: GroupChange,
    ) -> Result<IdentityId, EngineError> {
        self.commit(async |identity, txn| identity.write_group(txn, ROOT, id, change).await).await
    }

    pub(crate) async fn fill(&self, group: IdentityId, entities: &[IdentityId], groups: &[IdentityId]) {
        let change = GroupChange {
            entities: Some(entities.iter().copied().collect()),
            subgroups: Some(groups.iter().copied().collect()),
            ..GroupChange::default()
        };
        self.write_group(Some(group), change).await.unwrap();
    }

    pub(crate) async fn alias(&self, entity: IdentityId, mount: &str, name: &str) -> IdentityId {
        let change = AliasChange {
            name: Some(name.to_owned()),
            accessor: Some(self.accessor(mount).await),
            entity: Some(entity),
            ..AliasChange::default()
        };
        self.commit(async |identity, txn| identity.write_alias(txn, ROOT, None, change).await)
            .await
            .unwrap()
            .0
    }

    /// Logs in, deciding again after conflicts as a request does.
    pub(crate) async fn log_in(
        &self,
        mount: &str,
        name: &str,
        groups: Option<&[&str]>,
    ) -> Result<LoggedIn, EngineError> {
        let (mounted, metadata) = (self.mount(mount).await, BTreeMap::new());
        let groups = groups.map(texts);
        loop {
            let login = Login { mount: &mounted.mount, name, metadata: &metadata, groups: groups.as_deref() };
            let done = self.commit(async |identity, txn| identity.log_in(txn, &login).await).await;
            match done {
                Err(EngineError::Barrier(BarrierError::Conflict)) => tokio::task::yield_now().await,
                done => return done,
            }
        }
    }

    pub(crate) async fn effective(&self, id: IdentityId) -> Option<Arc<Effective>> {
        self.identity().effective(ROOT, id).await.unwrap()
    }

    /// The policies of an entity, as requests have them.
    pub(crate) async fn policies(&self, id: IdentityId) -> Vec<String> {
        self.effective(id).await.map(|found| found.policies_of(ROOT).to_vec()).unwrap_or_default()
    }

    /// The rows of identity in storage, by table.
    pub(crate) async fn rows(&self) -> BTreeMap<u8, usize> {
        let mut rows = BTreeMap::new();
        let own: BTreeSet<u8> = strongroom_identity::table_ids().iter().map(|table| table.number).collect();
        for (key, _) in self.server.stored().await {
            if matches!(key.first(), Some(1 | 3)) && key.get(5).is_some_and(|table| own.contains(table)) {
                *rows.entry(key[5]).or_default() += 1;
            }
        }
        rows
    }
}

pub(crate) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
