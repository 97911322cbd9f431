//! Making tokens: every record of a token is written in the transaction of the request that makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::{
    AuthGrant, EngineError, Json, Lifetimes, Secret, TokenKind, bad_request, normal_policies,
};
use strongroom_expiry::{EXPIRY, ExpiryEntry, LEASES, Lease};
use strongroom_mounts::{MountHandle, suffix};
use strongroom_policy::{DEFAULT_POLICY_NAME, ROOT_POLICY_NAME};

use crate::lookup::AccessorEntry;
use crate::tables::{ACCESSORS, CHILDREN, ENTITY_TOKENS, TOKENS};
use crate::ttl::granted_ttl;
use crate::{TokenEntry, TokenId, TokenStore};

const PREFIX: &str = "hvs.";
const TOKEN_LEN: usize = 24;
const ACCESSOR_LEN: usize = 24;

/// The parameters of a new token: an entry without accessor and times, and its TTL.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    /// The entry to be.
    pub entry: TokenEntry,
    /// The TTL until it must be renewed; zero: the mount's default, or never for a root token.
    pub ttl: Duration,
    /// A token text chosen by an operator.
    pub id: Option<String>,
    /// True if a zero `ttl` means no end at all.
    pub without_end: bool,
}

/// A token just made.
pub struct IssuedToken {
    /// The token, for its owner's eyes.
    pub token: Secret<String>,
    /// Its entry.
    pub entry: TokenEntry,
    /// The TTL until it must be renewed; zero: no expiry.
    pub ttl: Duration,
    /// Warnings for the client (a capped TTL).
    pub warnings: Vec<String>,
    /// The rights that follow from its entity.
    pub identity: IssuedIdentity,
    /// The owner's groups in the auth method's directory, as of this renewal.
    pub groups: Option<Vec<String>>,
}

/// The rights that a token just made or renewed has by its entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuedIdentity {
    /// Policies of the entity and of its groups in the token's namespace.
    pub policies: Vec<String>,
    /// The same of other namespaces, by their short ids.
    pub elsewhere: BTreeMap<String, Vec<String>>,
    /// True if this request made the entity.
    pub is_new: bool,
}

impl IssuedIdentity {
    /// All policies in force: the token's own and these, sorted.
    pub fn joined(&self, own: &[String]) -> Vec<String> {
        let mut all = [own, &self.policies].concat();
        all.sort();
        all.dedup();
        all
    }
}

impl TokenStore {
    /// Makes a token within `txn`.
    pub async fn make_token(
        &self,
        txn: &Txn,
        lifetimes: Lifetimes,
        new: NewToken,
    ) -> Result<IssuedToken, EngineError> {
        let NewToken { entry, ttl, id: chosen, without_end } = new;
        let (mut entry, ttl, warnings) = self.timed(entry, ttl, without_end, lifetimes)?;
        if entry.kind == TokenKind::Batch {
            entry.renewable = false;
            let token = self.seal_batch_token(&entry)?;
            return Ok(IssuedToken::new(Secret::new(token), entry, ttl, warnings));
        }
        let ending = suffix(entry.namespace);
        entry.accessor = format!("{}{ending}", self.environment.entropy.base62(ACCESSOR_LEN)?);
        let is_chosen = chosen.is_some();
        let token = match chosen {
            Some(text) => format!("{text}{ending}"),
            None => format!("{PREFIX}{}{ending}", self.environment.entropy.base62(TOKEN_LEN)?),
        };
        let id = self.token_id(&token)?;
        if id.namespace != entry.namespace {
            return Err(bad_request("the token's ID ends like one of another namespace"));
        }
        // Twenty-four random characters are not drawn twice; what an operator chose may be.
        if is_chosen && TOKENS.get(txn, &id.at()).await?.is_some() {
            return Err(bad_request("cannot create a token with a duplicate ID"));
        }
        self.write_token(txn, id, &entry).await?;
        if entry.is_root() {
            self.note_new_root(txn, id, &entry);
        }
        Ok(IssuedToken::new(Secret::new(token), entry, ttl, warnings))
    }

    /// The entry of a new token with its times, its TTL, and warnings for the client.
    fn timed(
        &self,
        mut entry: TokenEntry,
        asked: Duration,
        without_end: bool,
        lifetimes: Lifetimes,
    ) -> Result<(TokenEntry, Duration, Vec<String>), EngineError> {
        let (now, mut warnings) = (self.environment.clock.now(), Vec::new());
        entry.created = now;
        let never =
            without_end && asked.is_zero() && entry.period.is_zero() && entry.explicit_max_ttl.is_zero();
        let ttl = if never {
            Duration::ZERO
        } else {
            let granted = granted_ttl(&entry, asked, lifetimes, now);
            warnings.extend(granted.warning);
            if granted.ttl.is_zero() {
                // A zero would mean no expiry.
                return Err(bad_request("the token would end as soon as it is made"));
            }
            granted.ttl
        };
        entry.creation_ttl = ttl;
        entry.expires = (!ttl.is_zero()).then(|| now.after(ttl));
        if ttl.is_zero() {
            entry.renewable = false;
        }
        Ok((entry, ttl, warnings))
    }

    /// Writes the records of a new token. A parent must still be there when the transaction commits.
    async fn write_token(&self, txn: &Txn, id: TokenId, entry: &TokenEntry) -> Result<(), EngineError> {
        if let Some(parent) = entry.parent {
            if TOKENS.get(txn, &parent.at()).await?.is_none() {
                return Err(EngineError::Denied("parent token lookup failed: no parent found".to_owned()));
            }
            CHILDREN.put(txn, &(parent.namespace, parent.key, &id), ())?;
        }
        let accessor = AccessorEntry { accessor: entry.accessor.clone(), token: id };
        ACCESSORS.put(txn, &(id.namespace, &self.accessor_key(&entry.accessor)?), accessor)?;
        if let Some(end) = entry.expires {
            EXPIRY.put(txn, &(end.as_secs(), &id.key), ExpiryEntry::of_token(id, entry.mount))?;
            LEASES.put(txn, &(id.namespace, &lease_id(entry, &id)), Lease::of_token(id, entry.mount))?;
        }
        if let Some((home, entity)) = entry.entity() {
            ENTITY_TOKENS.put(txn, &(home, entity, &id), ())?;
        }
        TOKENS.put(txn, &id.at(), entry.clone())?;
        Ok(())
    }

    /// Turns an auth method's grant into a token of `entity_id`, an entity of the mount's namespace; empty: of none.
    pub async fn grant(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        from: (NamespaceId, &str),
        grant: AuthGrant,
        entity_id: String,
    ) -> Result<IssuedToken, EngineError> {
        let new = self.granted(txn, mounted, from, grant, entity_id).await?;
        self.make_token(txn, mounted.mount.lifetimes, new).await
    }

    /// As [`TokenStore::grant`], for one request: nothing of the token is stored, so that nobody who learns of its text can use
    /// it.
    pub async fn grant_unstored(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        from: (NamespaceId, &str),
        grant: AuthGrant,
        entity_id: String,
    ) -> Result<IssuedToken, EngineError> {
        let NewToken { entry, ttl, .. } = self.granted(txn, mounted, from, grant, entity_id).await?;
        let (mut entry, ttl, warnings) = self.timed(entry, ttl, false, mounted.mount.lifetimes)?;
        let (ending, entropy) = (suffix(entry.namespace), &self.environment.entropy);
        entry.renewable = false;
        if entry.kind == TokenKind::Service {
            entry.accessor = format!("{}{ending}", entropy.base62(ACCESSOR_LEN)?);
        }
        let token = format!("{PREFIX}{}{ending}", entropy.base62(TOKEN_LEN)?);
        Ok(IssuedToken::new(Secret::new(token), entry, ttl, warnings))
    }

    /// The parameters of the token that an auth method's grant comes to.
    async fn granted(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        (namespace, path): (NamespaceId, &str),
        grant: AuthGrant,
        entity_id: String,
    ) -> Result<NewToken, EngineError> {
        if grant.policies.iter().any(|policy| policy.eq_ignore_ascii_case(ROOT_POLICY_NAME)) {
            return Err(bad_request("auth methods cannot create root tokens"));
        }
        let kind = mounted.token_kind(Some(grant.kind));
        if kind == TokenKind::Service {
            self.mounts.require_mount(txn, mounted).await?;
        }
        let display_name = match grant.display_name.as_str() {
            "" => mounted.mount.path.trim_end_matches('/').replace('/', "-"),
            name => format!("{}-{name}", mounted.mount.path.trim_end_matches('/').replace('/', "-")),
        };
        let entry = TokenEntry {
            policies: with_default(&grant.policies, grant.no_default_policy),
            path: path.to_owned(),
            display_name,
            metadata: grant.metadata,
            max_ttl: grant.max_ttl,
            explicit_max_ttl: grant.explicit_max_ttl,
            period: grant.period,
            num_uses: grant.num_uses,
            renewable: grant.renewable,
            bound_cidrs: grant.bound_cidrs,
            no_default_policy: grant.no_default_policy,
            kind,
            entity_namespace: (!entity_id.is_empty() && mounted.mount.namespace != namespace)
                .then_some(mounted.mount.namespace),
            entity_id,
            namespace,
            mount: mounted.mount.id,
            internal: grant.internal,
            ..TokenEntry::default()
        };
        Ok(NewToken { entry, ttl: grant.ttl, ..NewToken::default() })
    }
}

/// The policies a token is to carry: normalised, with `default` unless it is not wanted.
pub fn with_default(policies: &[String], no_default: bool) -> Vec<String> {
    let mut names = policies.to_vec();
    let is_root = names.iter().any(|name| name.eq_ignore_ascii_case(ROOT_POLICY_NAME));
    if !no_default && !is_root {
        names.push(DEFAULT_POLICY_NAME.to_owned());
    }
    normal_policies(&names)
}

/// The lease id under which a token is listed: its path and its key.
pub(crate) fn lease_id(entry: &TokenEntry, id: &TokenId) -> String {
    format!("{}/h{:032x}{}", entry.path, u128::from_be_bytes(id.key), suffix(id.namespace))
}

impl IssuedToken {
    pub(crate) fn new(
        token: Secret<String>,
        entry: TokenEntry,
        ttl: Duration,
        warnings: Vec<String>,
    ) -> Self {
        Self { token, entry, ttl, warnings, identity: IssuedIdentity::default(), groups: None }
    }

    /// The `auth` member of an answer that hands the token out.
    pub fn auth_member(&self) -> Result<Json, EngineError> {
        let (entry, identity) = (&self.entry, &self.identity);
        // Most tokens have none but their own.
        let joined = (!identity.policies.is_empty()).then(|| identity.joined(&entry.policies));
        Ok(Json::of(&AuthMember {
            client_token: self.token.expose(),
            accessor: &entry.accessor,
            policies: joined.as_deref().unwrap_or(&entry.policies),
            token_policies: &entry.policies,
            identity_policies: &identity.policies,
            external_namespace_policies: &identity.elsewhere,
            metadata: (!entry.metadata.is_empty()).then_some(&entry.metadata),
            lease_duration: self.ttl.as_secs(),
            renewable: entry.renewable,
            entity_id: &entry.entity_id,
            token_type: entry.kind.name(),
            orphan: entry.is_orphan(),
            mfa_requirement: (),
            num_uses: entry.num_uses,
        })?)
    }
}

/// The `auth` member in the order Vault writes it.
#[derive(Serialize)]
struct AuthMember<'a> {
    client_token: &'a str,
    accessor: &'a str,
    policies: &'a [String],
    token_policies: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    identity_policies: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    external_namespace_policies: &'a BTreeMap<String, Vec<String>>,
    metadata: Option<&'a BTreeMap<String, String>>,
    lease_duration: u64,
    renewable: bool,
    entity_id: &'a str,
    token_type: &'static str,
    orphan: bool,
    /// Always `null`: a login that needs a second factor is answered otherwise.
    mfa_requirement: (),
    num_uses: u32,
}
