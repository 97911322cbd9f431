//! All that storage keeps of tokens and leases, beside what it must keep.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_barrier::NamespaceId;
use strongroom_expiry::{EXPIRY, LEASES, OWNED_LEASES};
use strongroom_tokens::TokenId;
use strongroom_tokens::testing::{self, TokenRecords};

use crate::Server;
use crate::server::LIFETIMES;

const ROOT: NamespaceId = NamespaceId::ROOT;
const ALL: usize = usize::MAX;

/// Everything that is kept of tokens and leases in the root namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct Records {
    /// The tokens' own records.
    pub of_tokens: TokenRecords,
    /// The index of ends: the second, with a lease's id or a token's key.
    pub ends: BTreeSet<(u64, String)>,
    /// Tokens that are listed among the leases.
    pub token_leases: BTreeSet<TokenId>,
    /// Leases of secrets.
    pub leases: BTreeSet<String>,
    /// Tokens, each with a lease that it owns.
    pub owned: BTreeSet<(TokenId, String)>,
}

impl Records {
    /// The tokens.
    pub fn tokens(&self) -> &BTreeSet<TokenId> {
        &self.of_tokens.tokens
    }
}

impl Server {
    /// What is kept.
    pub async fn records(&self) -> Records {
        let view = self.view().await;
        let mut token_leases = BTreeSet::new();
        let mut leases = BTreeSet::new();
        for ((_, id), lease) in LEASES.scan(&view, &ROOT, None, ALL).await.expect("read") {
            match lease.token {
                Some(key) => assert!(token_leases.insert(key), "a token is listed once"),
                None => assert!(leases.insert(id)),
            }
        }
        let mut ends = BTreeSet::new();
        for ((at, key), due) in EXPIRY.scan(&view, &(), None, ALL).await.expect("read") {
            ends.insert((at, due.lease.clone().unwrap_or_else(|| format!("{key:?}"))));
        }
        let owned = OWNED_LEASES.keys(&view, &ROOT, None, ALL).await.expect("read");
        Records {
            of_tokens: testing::records(&view, ROOT).await.expect("read"),
            ends,
            token_leases,
            leases,
            owned: owned.into_iter().map(|(namespace, key, id)| (TokenId { namespace, key }, id)).collect(),
        }
    }

    /// What must be kept when `tokens` (with their parents) and the leases they own, all made now for an hour, are all there is
    /// beside the root token.
    pub fn expected(
        &self,
        tokens: &BTreeMap<TokenId, Option<TokenId>>,
        owned: &[(TokenId, String)],
    ) -> Records {
        let end = self.clock.now().after(LIFETIMES.default).as_secs();
        let keys: BTreeSet<TokenId> = tokens.keys().copied().collect();
        let mut with_root = keys.clone();
        with_root.insert(self.token_id(&self.root));
        let mut ends: BTreeSet<_> = keys.iter().map(|id| (end, format!("{:?}", id.key))).collect();
        ends.extend(owned.iter().map(|(_, id)| (end, id.clone())));
        Records {
            of_tokens: TokenRecords {
                tokens: with_root.clone(),
                accessors: with_root,
                children: tokens
                    .iter()
                    .filter_map(|(key, parent)| parent.map(|parent| (parent, *key)))
                    .collect(),
                ..TokenRecords::default()
            },
            ends,
            token_leases: keys,
            leases: owned.iter().map(|(_, id)| id.clone()).collect(),
            owned: owned.iter().cloned().collect(),
        }
    }
}
