//! Methods: what is asked for as a second factor, and its settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, bad_request};
use strongroom_identity::{IdentityId, fold};
use strongroom_mounts::Router;

use crate::Mfa;
use crate::tables::{ENFORCEMENTS, METHOD_NAMES, METHODS};
use crate::totp::{TotpChange, TotpSettings};
use crate::webauthn::{WebauthnChange, WebauthnSettings};

/// Bytes of a name.
const MAX_NAME: usize = 256;
/// Namespaces that are looked through for enforcements that name a method.
const MAX_NAMESPACES: usize = 100_000;

/// A method as kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// Its name; empty: none.
    #[serde(rename = "n", default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its kind, with the settings of that.
    #[serde(rename = "k")]
    pub kind: MethodKind,
}

/// A kind of method, with its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MethodKind {
    /// Time-based one-time passwords.
    #[serde(rename = "t")]
    Totp(TotpSettings),
    /// Passkeys.
    #[serde(rename = "w")]
    Webauthn(WebauthnSettings),
}

impl Stored for Method {}

impl Method {
    /// The name of its kind.
    pub const fn type_name(&self) -> &'static str {
        match self.kind {
            MethodKind::Totp(_) => "totp",
            MethodKind::Webauthn(_) => "webauthn",
        }
    }

    /// True if it asks for a passcode.
    pub const fn uses_passcode(&self) -> bool {
        match self.kind {
            MethodKind::Totp(_) => true,
            MethodKind::Webauthn(_) => false,
        }
    }

    /// True if somebody who has no key yet may make one as they log in.
    pub const fn allows_self_enrollment(&self) -> bool {
        match &self.kind {
            MethodKind::Totp(settings) => settings.self_enrollment,
            MethodKind::Webauthn(_) => false,
        }
    }
}

/// A method with its place.
#[derive(Clone, Debug)]
pub struct FoundMethod {
    /// The namespace that it is kept in.
    pub namespace: NamespaceId,
    /// Its id.
    pub id: IdentityId,
    /// The method.
    pub method: Arc<Method>,
}

impl FoundMethod {
    /// The settings of a TOTP method.
    ///
    /// # Errors
    ///
    /// 400 for another kind.
    pub fn totp(&self) -> Result<&TotpSettings, EngineError> {
        match &self.method.kind {
            MethodKind::Totp(settings) => Ok(settings),
            MethodKind::Webauthn(_) => Err(self.is_other("totp")),
        }
    }

    /// The settings of a `webauthn` method.
    ///
    /// # Errors
    ///
    /// 400 for another kind.
    pub fn webauthn(&self) -> Result<&WebauthnSettings, EngineError> {
        match &self.method.kind {
            MethodKind::Webauthn(settings) => Ok(settings),
            MethodKind::Totp(_) => Err(self.is_other("webauthn")),
        }
    }

    fn is_other(&self, kind: &str) -> EngineError {
        bad_request(format!("MFA method {:?} is not of type {kind}", self.id.to_string()))
    }
}

/// A namespace and those around it, from the inside out.
pub(crate) fn outward(router: &Router, namespace: NamespaceId) -> Vec<NamespaceId> {
    let (mut all, mut at) = (vec![namespace], namespace);
    while !at.is_root() {
        let Some(found) = router.namespace(at) else { break };
        at = found.parent_id();
        all.push(at);
    }
    all
}

/// A namespace and those inside it.
pub(crate) fn inward(router: &Router, namespace: NamespaceId) -> Vec<NamespaceId> {
    let (mut all, mut next) = (vec![namespace], 0_usize);
    while let Some(at) = all.get(next).copied() {
        if all.len() >= MAX_NAMESPACES {
            break;
        }
        all.extend(router.children(at).iter().map(|child| child.id));
        next = next.saturating_add(1);
    }
    all
}

impl Mfa {
    /// The path of a namespace, with a slash at its end; empty for the root namespace.
    pub async fn namespace_path(&self, namespace: NamespaceId) -> Result<String, BarrierError> {
        let found = self.mounts.router().await?.namespace(namespace);
        Ok(found.map(|found| found.path.clone()).unwrap_or_default())
    }

    /// The method of this id that holds in a namespace: one of its own, or of a namespace around it.
    pub async fn method(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<FoundMethod>, BarrierError> {
        let router = self.mounts.router().await?;
        for at in outward(&router, namespace) {
            if let Some(method) = METHODS.get(reads, &(at, &id.bytes())).await? {
                return Ok(Some(FoundMethod { namespace: at, id, method }));
            }
        }
        Ok(None)
    }

    /// The methods that hold in a namespace, by id.
    pub async fn methods(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
    ) -> Result<BTreeMap<IdentityId, FoundMethod>, BarrierError> {
        let router = self.mounts.router().await?;
        let mut all = BTreeMap::new();
        for at in outward(&router, namespace) {
            for ((_, id), method) in METHODS.scan(reads, &at, None, usize::MAX).await? {
                let id = IdentityId::of_bytes(id);
                all.insert(id, FoundMethod { namespace: at, id, method });
            }
        }
        Ok(all)
    }

    /// Writes a TOTP method: a new one, or the namespace's own of this id. Answers its id.
    ///
    /// # Errors
    ///
    /// 400 for a name that is taken or cannot be one, for settings that cannot be, and where there is no such method.
    pub async fn write_totp(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        name: Option<String>,
        change: TotpChange,
    ) -> Result<IdentityId, EngineError> {
        let kind = |before: Option<&MethodKind>| {
            let settings = match before {
                Some(MethodKind::Totp(settings)) => settings.clone(),
                Some(MethodKind::Webauthn(_)) => return Ok(None),
                None => TotpSettings::default(),
            };
            settings.changed(change).map(|settings| Some(MethodKind::Totp(settings)))
        };
        self.write_method(txn, namespace, id, name, kind).await
    }

    /// Writes a `webauthn` method: a new one, or the namespace's own of this id. Answers its id.
    ///
    /// # Errors
    ///
    /// 400 for a name that is taken or cannot be one, for settings that cannot be, and where there is no such method.
    pub async fn write_webauthn(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        name: Option<String>,
        change: WebauthnChange,
    ) -> Result<IdentityId, EngineError> {
        let kind = |before: Option<&MethodKind>| {
            let settings = match before {
                Some(MethodKind::Webauthn(settings)) => settings.clone().changed(change)?,
                Some(MethodKind::Totp(_)) => return Ok(None),
                None => WebauthnSettings::new(change)?,
            };
            Ok(Some(MethodKind::Webauthn(settings)))
        };
        self.write_method(txn, namespace, id, name, kind).await
    }

    /// Writes a method: `kind` makes it of the one before, or `None` where that is of another kind.
    async fn write_method(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        name: Option<String>,
        kind: impl FnOnce(Option<&MethodKind>) -> Result<Option<MethodKind>, EngineError>,
    ) -> Result<IdentityId, EngineError> {
        let (id, before) = match id {
            None => (self.draw_id()?, None),
            Some(id) => (id, Some(self.own_method(txn, namespace, id).await?)),
        };
        let kind = kind(before.as_deref().map(|method| &method.kind))?;
        let kind = kind.ok_or_else(|| no_method(&id.to_string()))?;
        let former = before.map(|before| before.name.clone()).unwrap_or_default();
        let name = match name {
            Some(name) => self.take_name(txn, namespace, id, &former, &name).await?,
            None => former,
        };
        METHODS.put(txn, &(namespace, &id.bytes()), Method { name, kind })?;
        txn.on_commit(move || tracing::info!(method_id = %id, "writing MFA method"));
        Ok(id)
    }

    /// Gives a method a name, which is its alone in the namespace in any case.
    async fn take_name(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: IdentityId,
        former: &str,
        name: &str,
    ) -> Result<String, EngineError> {
        let name = name.trim();
        if name.len() > MAX_NAME || name.chars().any(|c| c.is_control() || c == ':') {
            let text = format!(
                "method_name must have no colon and no control characters, and at most {MAX_NAME} bytes"
            );
            return Err(bad_request(text));
        }
        if !former.is_empty() {
            METHOD_NAMES.delete(txn, &(namespace, fold(former).as_str()));
        }
        if name.is_empty() {
            return Ok(String::new());
        }
        let folded = fold(name);
        let key = (namespace, folded.as_str());
        if METHOD_NAMES.get(txn, &key).await?.is_some_and(|other| *other != id) {
            let text = format!("a login MFA method configuration with the method name {name} already exists");
            return Err(bad_request(text));
        }
        METHOD_NAMES.put(txn, &key, id)?;
        Ok(name.to_owned())
    }

    /// A method of the namespace itself: those of namespaces around it are not its to change.
    async fn own_method(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Arc<Method>, EngineError> {
        let found = METHODS.get(reads, &(namespace, &id.bytes())).await?;
        found.ok_or_else(|| no_method(&id.to_string()))
    }

    /// Deletes a method of the type with this name; nothing happens where there is none.
    ///
    /// # Errors
    ///
    /// 400 while an enforcement names it.
    pub async fn delete_method(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: IdentityId,
        type_name: &str,
    ) -> Result<(), EngineError> {
        let found = METHODS.get(txn, &(namespace, &id.bytes())).await?;
        let Some(method) = found.filter(|method| method.type_name() == type_name) else { return Ok(()) };
        let router = self.mounts.router().await?;
        for at in inward(&router, namespace) {
            for ((_, name), enforcement) in ENFORCEMENTS.scan(txn, &at, None, usize::MAX).await? {
                if enforcement.methods.contains(&id) {
                    return Err(bad_request(format!(
                        "methodID is still used by an enforcement configuration with ID: {} (name {name:?})",
                        enforcement.id
                    )));
                }
            }
        }
        if !method.name.is_empty() {
            METHOD_NAMES.delete(txn, &(namespace, fold(&method.name).as_str()));
        }
        METHODS.delete(txn, &(namespace, &id.bytes()));
        txn.on_commit(move || tracing::info!(method_id = %id, "deleting MFA method"));
        Ok(())
    }
}

/// The refusal of a method that is not there.
pub(crate) fn no_method(id: &str) -> EngineError {
    bad_request(format!("configuration for method ID {id:?} does not exist"))
}
