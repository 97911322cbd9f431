//! `accessors` and `revoke-accessors`: the tokens of a namespace by their accessors, many at a time.
//!
//! A list with filters opens each token that it passes. It passes a bounded number of them in one request, and then says
//! where to go on: what a request costs does not grow with the number of tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{List, Text};
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Mount, Paging, Reply, bad_request};
use strongroom_tokens::{STEP, TokenEntry, TokenStore};

use crate::policies::glob;

/// Tokens that a list with filters looks at in one request.
const LOOKED_AT: usize = 10_000;
/// Tokens looked at together.
const PAGE: usize = 500;
/// Accessors that one request revokes the tokens of.
const MAX_REVOKED: usize = 1000;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("accessors", |r| {
            r.sudo().list(
                "List token accessors, which can then be used to look up, renew or revoke the tokens they belong to.",
                list,
            )
        })
        .route("revoke-accessors", |r| {
            r.update("Revoke tokens by their accessors, and all tokens made from them.", revoke)
        })
}

/// The properties of the tokens whose accessors are listed; what is left out is of any value.
#[derive(Default, Deserialize, JsonSchema)]
struct Filters {
    /// Lists tokens with this display name; '*' stands for any text.
    display_name: Option<Text>,
    /// Lists tokens of this entity.
    entity_id: Option<Text>,
    /// Lists tokens that were issued at this path; '*' stands for any text.
    path: Option<Text>,
    /// Lists tokens that have this policy themselves, not by their entity.
    policy: Option<Text>,
    /// Lists tokens that were made with this token role.
    role_name: Option<Text>,
}

impl Filters {
    /// True if nothing is asked, so that no token needs to be opened.
    fn is_open(&self) -> bool {
        let all = [&self.display_name, &self.entity_id, &self.path, &self.policy, &self.role_name];
        all.into_iter().all(|filter| filter.as_ref().is_none_or(|text| text.is_empty()))
    }

    fn admits(&self, entry: &TokenEntry) -> bool {
        let is = |filter: &Option<Text>, fits: &dyn Fn(&str) -> bool| {
            filter.as_ref().is_none_or(|text| text.is_empty() || fits(&text.0))
        };
        is(&self.display_name, &|name| glob(name, &entry.display_name))
            && is(&self.entity_id, &|id| entry.entity_id.eq_ignore_ascii_case(id))
            && is(&self.path, &|path| glob(path, &entry.path))
            && is(&self.policy, &|policy| entry.policies.iter().any(|own| own.eq_ignore_ascii_case(policy)))
            && is(&self.role_name, &|role| entry.role == role)
    }
}

/// Accessors of tokens that filters admit.
#[derive(Default, Serialize, JsonSchema)]
struct Found {
    /// The accessors.
    keys: Vec<String>,
    /// The accessor to go on after, where not all tokens were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

async fn list(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Input(filters): Input<Filters>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    if filters.is_open() {
        let (after, limit) = (paging.after.as_deref(), paging.limit);
        return Reply::keys(&tokens.accessors(&view, mount.namespace, after, limit).await?);
    }
    let found = filtered(&tokens, &view, &mount, &filters, paging).await?;
    if found.keys.is_empty() && found.next.is_none() {
        return Err(EngineError::NotFound);
    }
    Reply::data(&found)
}

/// The accessors of the tokens that `filters` admit, as far as one request looks.
async fn filtered(
    tokens: &TokenStore,
    view: &View,
    mount: &Mount,
    filters: &Filters,
    paging: Paging,
) -> Result<Found, EngineError> {
    let (mut found, mut after, mut left) = (Found::default(), paging.after, LOOKED_AT);
    loop {
        let wanted = PAGE.min(left);
        let page = tokens.by_accessor(view, mount.namespace, after.as_deref(), wanted).await?;
        left = left.saturating_sub(page.len());
        let is_last = page.len() < wanted;
        for (accessor, id) in page {
            // One whose time is up is not there any more.
            if let Some(entry) = tokens.token_at(view, &id).await?
                && filters.admits(&entry)
            {
                found.keys.push(accessor.clone());
                if found.keys.len() >= paging.limit {
                    return Ok(found);
                }
            }
            after = Some(accessor);
        }
        if left == 0 {
            found.next = after;
            return Ok(found);
        }
        if is_last {
            return Ok(found);
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct RevokeInput {
    /// Accessors of the tokens to revoke, a thousand at most.
    accessors: Option<List>,
}

/// The results of revoking.
#[derive(Serialize, JsonSchema)]
struct Revoked {
    /// The result for each accessor, in the order in which they were given.
    results: Vec<RevokedOne>,
    /// The number of tokens that were revoked, without those made from them.
    revoked: usize,
}

/// The result for one accessor.
#[derive(Serialize, JsonSchema)]
struct RevokedOne {
    /// The accessor.
    accessor: String,
    /// The result: `revoked`, or `not found` where no token has the accessor.
    status: &'static str,
}

/// Revokes them in one transaction: all that are there, or none. What hangs on them goes in steps where it is much.
async fn revoke(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Input(input): Input<RevokeInput>,
    txn: Txn,
) -> Result<Data<Revoked>, EngineError> {
    let given = input.accessors.map(|accessors| accessors.0).unwrap_or_default();
    let given: Vec<String> = given.into_iter().filter(|accessor| !accessor.is_empty()).collect();
    if given.is_empty() {
        return Err(bad_request("missing accessors"));
    }
    if given.len() > MAX_REVOKED {
        return Err(bad_request(format!("more than {MAX_REVOKED} tokens cannot be revoked at once")));
    }
    let mut ids = BTreeMap::new();
    for accessor in &given {
        // Before any is revoked: one may be made from another, and is revoked with it.
        if let Some(id) = tokens.token_of_accessor(&txn, mount.namespace, accessor).await? {
            ids.insert(accessor.clone(), id);
        }
    }
    let mut budget = STEP;
    for id in ids.values() {
        tokens.revoke_tree(&txn, id, &mut budget).await?;
    }
    let status = |accessor: &String| if ids.contains_key(accessor) { "revoked" } else { "not found" };
    let results =
        given.iter().map(|accessor| RevokedOne { accessor: accessor.clone(), status: status(accessor) });
    Ok(Data(Revoked { results: results.collect(), revoked: ids.len() }))
}
