//! Root tokens, as they are made and used: counted, and told to the log.
//!
//! No policy restricts a root token, so an operator wants to know of each that comes into being, and whether any is still in
//! use. A token that is used all the time is told once an hour; its creation tells of it, too. The counts are of this node since its start, and the memory
//! for what was told is bounded: beyond it, a token may be told again too early.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strongroom_barrier::Txn;
use strongroom_engine_api::Moment;

use crate::{Principal, TokenEntry, TokenId, TokenKey, TokenStore};

/// The time for which a token's use is not told again.
const QUIET: Duration = Duration::from_hours(1);
/// Tokens of which it is remembered when they were told.
const MAX_TOLD: usize = 1024;

/// The root tokens of this node, as far as they are counted.
#[derive(Debug, Default)]
pub(crate) struct RootTokens {
    made: AtomicU64,
    requests: AtomicU64,
    told: Mutex<HashMap<TokenKey, Moment>>,
}

/// The counts of this node since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootTokenCounts {
    /// Root tokens that were made.
    pub made: u64,
    /// Requests with a root token.
    pub requests: u64,
}

/// A request with a root token.
#[derive(Clone, Copy, Debug)]
pub struct RootUse<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// Its path.
    pub path: &'a str,
    /// The address that it comes from; empty where that is not known.
    pub address: &'a str,
}

impl RootTokens {
    /// True if this token is to be told of now; it is not for a while from then on.
    fn is_news(&self, key: TokenKey, now: Moment) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&key).is_some_and(|at| now.since(*at) < QUIET) {
            return false;
        }
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        told.insert(key, now);
        true
    }
}

impl TokenStore {
    /// Counts a root token that `txn` makes, and tells of it, once it is there.
    pub(crate) fn note_new_root(&self, txn: &Txn, id: TokenId, entry: &TokenEntry) {
        let (counts, path, name) = (self.root_tokens.clone(), entry.path.clone(), entry.display_name.clone());
        let now = self.environment.clock.now();
        let ends = entry.expires.map_or_else(|| "never".to_owned(), Moment::rfc3339);
        txn.on_commit(move || {
            counts.made.fetch_add(1, Ordering::Relaxed);
            counts.is_news(id.key, now);
            tracing::warn!(path, display_name = name, expires = ends, "root token created");
        });
    }

    /// Counts a request with a root token, and tells of it where the token was not told of for a while.
    pub fn note_root_use(&self, by: &Principal, used: RootUse<'_>) {
        self.root_tokens.requests.fetch_add(1, Ordering::Relaxed);
        if self.root_tokens.is_news(by.id.key, self.environment.clock.now()) {
            let RootUse { request_id, path, address } = used;
            let display_name = by.entry.display_name.as_str();
            tracing::warn!(request_id, path, address, display_name, "root token used");
        }
    }

    /// The root tokens made, and the requests with one, on this node since its start.
    pub fn root_token_counts(&self) -> RootTokenCounts {
        RootTokenCounts {
            made: self.root_tokens.made.load(Ordering::Relaxed),
            requests: self.root_tokens.requests.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_once_an_hour_and_memory_is_bounded() {
        let (tokens, start) = (RootTokens::default(), Moment::from_secs(1_700_000_000));
        assert!(tokens.is_news([1; 16], start));
        assert!(!tokens.is_news([1; 16], start.after(QUIET / 2)));
        assert!(tokens.is_news([2; 16], start), "another one");
        assert!(tokens.is_news([1; 16], start.after(QUIET)));
        for number in 0..5000u32 {
            let mut key = [9; 16];
            key[..4].copy_from_slice(&number.to_be_bytes());
            assert!(tokens.is_news(key, start));
        }
        assert!(tokens.told.lock().unwrap().len() <= MAX_TOLD);
    }
}
