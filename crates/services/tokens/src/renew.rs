//! Renewing a token.
//!
//! The auth method that granted it has a say. One that decides by what is stored is heard in the transaction of the renewal. One
//! that has to ask outside is heard in three steps: the question is prepared from a look at the token, it is asked once and in no
//! transaction, and its answer is concluded in the transaction of the renewal, which looks at the token anew. A conflict asks nothing again.

use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::{Reads, Txn, View};
use strongroom_engine_api::{
    AuthGrant, Carried, EngineError, Lifetimes, Moment, Prepared, Question, Renewal, Secret, bad_request,
};
use strongroom_expiry::{ACT_TIMEOUT, EXPIRY, ExpiryEntry, nonzero_min};
use strongroom_mounts::{Errand, MountHandle};

use crate::tables::TOKENS;
use crate::ttl::granted_ttl;
use crate::{IssuedToken, TokenEntry, TokenId, TokenStore};

/// The question that an auth method has for the outside, before one of its tokens is renewed.
pub struct RenewalQuestion {
    mounted: Arc<MountHandle>,
    renewal: Renewal,
    question: Carried,
}

/// The outside's answer to it; without one, there was none to ask.
#[derive(Default)]
pub struct RenewalAnswer(Option<Carried>);

impl TokenStore {
    /// What is to be asked outside before a token is renewed, by a look at the token as it is now: an error where it cannot be
    /// renewed at all.
    pub async fn renewal_question(
        &self,
        view: &View,
        id: &TokenId,
        increment: Option<Duration>,
    ) -> Result<Question<RenewalQuestion, RenewalAnswer>, EngineError> {
        let (entry, _) = self.renewable(view, id, self.environment.clock.now()).await?;
        let nothing = || Ok(Question::Known(RenewalAnswer::default()));
        let Some(mounted) = self.method_of(&entry).await? else { return nothing() };
        let Some(asking) = mounted.engine.asks_at_renewal() else { return nothing() };
        let renewal = renewal_of(&entry, increment);
        let txn = self.barrier.transaction(view.clone());
        let call = mounted.internal_call(&txn, &self.environment, Errand::Renewal(renewal.clone()));
        match asking.prepare(&call).await? {
            Prepared::Ask(question) => Ok(Question::Ask(RenewalQuestion { mounted, renewal, question })),
            Prepared::Known(answer) => Ok(Question::Known(RenewalAnswer(Some(answer)))),
        }
    }

    /// Asks it, once and in no transaction.
    pub async fn ask_for_renewal(&self, asked: RenewalQuestion) -> Result<RenewalAnswer, EngineError> {
        let RenewalQuestion { mounted, renewal, question } = asked;
        let Some(asking) = mounted.engine.asks_at_renewal() else { return Ok(RenewalAnswer::default()) };
        // What the step reads is what is there now; nothing that it might write is committed.
        let txn = self.barrier.transaction(self.barrier.view());
        let call = mounted.internal_call(&txn, &self.environment, Errand::Renewal(renewal));
        let until = self.environment.clock.now().after(ACT_TIMEOUT);
        asking.ask(question, &call, until).await.map(|answer| RenewalAnswer(Some(answer)))
    }

    /// A token's entry and its end, where it can be renewed.
    async fn renewable(
        &self,
        reads: &impl Reads,
        id: &TokenId,
        now: Moment,
    ) -> Result<(Arc<TokenEntry>, Moment), EngineError> {
        let entry = TOKENS.get(reads, &id.at()).await?.filter(|entry| !entry.has_expired(now));
        let entry = entry.ok_or_else(|| bad_request("token not found"))?;
        let end = entry.expires.filter(|_| entry.renewable);
        let end = end.ok_or_else(|| bad_request("lease is not renewable"))?;
        Ok((entry, end))
    }

    /// Renews a token within `txn`: the auth method or the token role that it came from sets the terms, with what was `answered`
    /// outside, then the expiry is moved. The reply's token text is empty: the caller, which knows it, fills it in.
    pub async fn renew_token(
        &self,
        txn: &Txn,
        id: &TokenId,
        increment: Option<Duration>,
        answered: &RenewalAnswer,
    ) -> Result<IssuedToken, EngineError> {
        let now = self.environment.clock.now();
        let (entry, old_end) = self.renewable(txn, id, now).await?;
        let mut renewed = (*entry).clone();
        let (lifetimes, groups) = self.renewal_terms(txn, &mut renewed, increment, answered).await?;
        let granted = granted_ttl(&renewed, increment.unwrap_or_default(), lifetimes, now);
        if granted.ttl.is_zero() {
            return Err(bad_request("past the max TTL, cannot renew"));
        }
        let end = now.after(granted.ttl);
        renewed.expires = Some(end);
        renewed.renewed = Some(now);
        EXPIRY.delete(txn, &(old_end.as_secs(), &id.key));
        EXPIRY.put(txn, &(end.as_secs(), &id.key), ExpiryEntry::of_token(*id, renewed.mount))?;
        TOKENS.put(txn, &id.at(), renewed.clone())?;
        let warnings = granted.warning.into_iter().collect();
        let issued = IssuedToken::new(Secret::default(), renewed, granted.ttl, warnings);
        Ok(IssuedToken { groups, ..issued })
    }

    /// The current limits of a token's renewal; takes a changed maximum and period into the entry. Where no TTL is
    /// requested, a token that no auth method granted gets its creation TTL. Answers the method's groups with them.
    async fn renewal_terms(
        &self,
        txn: &Txn,
        entry: &mut TokenEntry,
        increment: Option<Duration>,
        answered: &RenewalAnswer,
    ) -> Result<(Lifetimes, Option<Vec<String>>), EngineError> {
        let mut lifetimes = self.mounts.lifetimes_of(entry.namespace, &entry.path).await?;
        if let Some(granted) = self.ask_method(txn, entry, increment, answered).await? {
            entry.max_ttl = granted.max_ttl;
            entry.period = granted.period;
            // One that keeps nothing anew leaves it as it was.
            if !granted.internal.is_empty() {
                entry.internal = granted.internal;
            }
            if !granted.ttl.is_zero() {
                lifetimes.default = granted.ttl.min(lifetimes.max);
            }
            return Ok((lifetimes, granted.groups));
        }
        if !entry.creation_ttl.is_zero() {
            lifetimes.default = entry.creation_ttl.min(lifetimes.max);
        }
        if !entry.role.is_empty() {
            let Some(role) = self.token_role(txn, entry.namespace, &entry.role).await? else {
                let text = format!("original token role {:?} could not be found, not renewing", entry.role);
                return Err(bad_request(text));
            };
            entry.period = nonzero_min(entry.asked_period, role.period);
        }
        Ok((lifetimes, None))
    }

    /// The auth method that granted a token; `None` where none did.
    async fn method_of(&self, entry: &TokenEntry) -> Result<Option<Arc<MountHandle>>, EngineError> {
        if entry.mount.is_none() {
            return Ok(None);
        }
        let found = self.mounts.router().await?.by_id(entry.namespace, entry.mount);
        found.map(Some).ok_or_else(|| bad_request("the auth method that granted this token is gone"))
    }

    /// The current answer of the auth method that granted a token; `None` where it leaves renewals to the core.
    async fn ask_method(
        &self,
        txn: &Txn,
        entry: &TokenEntry,
        increment: Option<Duration>,
        answered: &RenewalAnswer,
    ) -> Result<Option<AuthGrant>, EngineError> {
        let Some(mounted) = self.method_of(entry).await? else { return Ok(None) };
        let renewal = Errand::Renewal(renewal_of(entry, increment));
        let call = mounted.internal_call(txn, &self.environment, renewal);
        if let Some(asking) = mounted.engine.asks_at_renewal() {
            // The method became one that asks while the request was under way.
            let again = || EngineError::Status(503, "the auth method has changed; try again".to_owned());
            let answer = answered.0.as_ref().ok_or_else(again)?;
            return asking.conclude(answer, &call).await.map(Some);
        }
        match mounted.engine.renewal(&call) {
            Some(renewal) => renewal.await.map(Some),
            None => Ok(None),
        }
    }
}

fn renewal_of(entry: &TokenEntry, increment: Option<Duration>) -> Renewal {
    Renewal {
        internal: entry.internal.clone(),
        metadata: entry.metadata.clone(),
        policies: entry.policies.clone(),
        increment,
    }
}
