//! What must be true at every moment of a schedule, and what when all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use strongroom_barrier::NamespaceId;
use strongroom_expiry::LeaseState;
use strongroom_pipeline::Verb;

use super::events::{ACCOUNT, within};
use super::{Asking, Meaning, QUIET_AFTER, ROLES, SECOND, Schedule};
use crate::outside::{Mood, NOTE_WRITTEN};
use crate::{Request, Response};

/// Where the intents of the job are that rotates the account.
const ROTATIONS: &str = "db/rotate-accounts/app/";

fn number_in(response: &Response, pointer: &str) -> u64 {
    response.body.pointer(pointer).and_then(Value::as_u64).expect("a number")
}

impl Schedule<'_> {
    /// Takes the answers that have come.
    pub(super) async fn hear(&mut self) {
        let (done, left) =
            std::mem::take(&mut self.asking).into_iter().partition(|ask| ask.running.is_finished());
        self.asking = left;
        self.listen();
        let done: Vec<Asking> = done;
        for Asking { meaning, running } in done {
            let Some(response) = running.await.unwrap() else { continue };
            if response.status >= 300 {
                let refused = format!("{} {}", response.status, response.error());
                *self.summary.refused.entry(refused).or_default() += 1;
                continue;
            }
            match meaning {
                Meaning::Issue(mount, known) => {
                    self.summary.issued += 1;
                    let setting = response.body.pointer("/data/setting").and_then(Value::as_u64);
                    let is_old = mount == "db/" && setting.is_some_and(|setting| setting < known);
                    assert!(!is_old, "made by a pool of before {known}: {}", response.body);
                    let (id, user) = (response.text("/lease_id"), response.text("/data/username"));
                    let wrapped = !response.text("/wrap_info/token").is_empty();
                    assert!(wrapped || (!id.is_empty() && id == user), "{}", response.body);
                    self.known.extend((!id.is_empty()).then_some(id));
                }
                Meaning::Change => self.summary.changed += 1,
                Meaning::Login => {
                    self.summary.logins += 1;
                    self.tokens.push(response.text("/auth/client_token"));
                }
                Meaning::Renewal => self.summary.renewed += 1,
                Meaning::Note(value) => self.notes.push(value),
                Meaning::Token => self.tokens.push(response.text("/auth/client_token")),
                Meaning::Raise => self.setting = self.setting.max(number_in(&response, "/data/number")),
                Meaning::Setting(known) => {
                    self.summary.derived += 1;
                    let stored = number_in(&response, "/data/stored");
                    let derived = number_in(&response, "/data/derived");
                    assert_eq!(derived, stored, "a value that is not of its view");
                    assert!(stored >= known, "{known} was acknowledged, and {stored} read afterwards");
                }
                Meaning::Nothing => {}
            }
        }
    }

    /// Takes what was told to whoever listens, on nodes that are gone by now as well.
    fn listen(&mut self) {
        for subscription in &mut self.listening {
            while let Some(published) = subscription.try_next() {
                assert_eq!(published.event.event_type, NOTE_WRITTEN);
                let value = published.event.metadata["value"].parse().expect("a number");
                *self.told.entry(value).or_default() += 1;
                self.summary.told += 1;
            }
        }
    }

    /// All leases and intents, by their id as a client of the root namespace names it.
    async fn recorded(&self) -> Option<BTreeMap<String, LeaseState>> {
        let mut recorded = BTreeMap::new();
        for role in ROLES {
            for (namespace, mount) in
                [(NamespaceId::ROOT, "db/"), (NamespaceId::ROOT, "other/"), (self.team, "db/")]
            {
                let folder = format!("{mount}creds/{role}/");
                recorded.extend(self.cluster.try_leases(namespace, &folder).await?);
            }
        }
        Some(recorded)
    }

    /// What exists outside, or may still come to be.
    fn outside(&self) -> BTreeSet<String> {
        let system = &self.cluster.system;
        system.users().into_keys().chain(system.under_way()).collect()
    }

    /// What exists outside, or may still come to be, is a lease or an intent.
    pub(super) async fn check(&mut self) {
        assert_eq!(self.cluster.system.made_twice(), Vec::<String>::new());
        assert!(self.cluster.system.codes_asked() <= self.logins_sent, "a login asked twice");
        assert!(self.cluster.system.accounts_asked() <= self.renewals_sent, "a renewal asked twice");
        let twice: Vec<_> = self.told.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "told more than once: {twice:?}");
        let before = self.outside();
        // Where nobody can tell, it is looked at the next time.
        let Some(recorded) = self.recorded().await else { return };
        self.summary.looks += 1;
        // What came or went while it was looked is left to the next look.
        let after = self.outside();
        let unknown: Vec<_> =
            before.intersection(&after).filter(|mark| !recorded.contains_key(*mark)).collect();
        assert!(unknown.is_empty(), "outside and not recorded: {unknown:?} of {recorded:#?}");
    }

    /// Everything works again, and time passes until nothing is left to do.
    pub(super) async fn heal(&mut self) {
        self.cluster.system.set(Mood::Fine);
        self.bring_back().await;
        self.cluster.calm();
        for _ in 0..QUIET_AFTER {
            self.cluster.pass(SECOND * 15).await;
            self.hear().await;
            self.check().await;
            let settling = self.settling().await;
            let Some(recorded) = self.recorded().await else { continue };
            let is_quiet = recorded.values().all(LeaseState::is_active)
                && settling.is_empty()
                && self.cluster.system.under_way().is_empty()
                && self.asking.is_empty();
            if is_quiet {
                return;
            }
            self.revoke_irrevocable(recorded.into_iter().chain(settling)).await;
        }
        let left = self.recorded().await;
        let settling = self.settling().await;
        let leader = self.cluster.leader();
        let jobs = leader.and_then(|node| self.cluster.node(node)).map(|core| core.background.job_status());
        let asking = self.asking.len();
        panic!("not quiet: {left:#?} {settling:#?} {asking} requests under way, {leader:?} leads: {jobs:#?}");
    }

    /// What a node answers. One that takes a snapshot of its leader has no keys for a moment.
    async fn read_of(&self, node: usize, path: &str) -> Response {
        let request = Request::new(&self.cluster.root, Verb::Read, path, json!({}));
        for _ in 0..100 {
            self.cluster.led().await;
            // There is none where the node hands it on just when another comes to lead.
            match self.cluster.send(node, &request, None).await.expect("no panic") {
                Some(answer) if answer.status != 503 => return answer,
                _ => self.cluster.pass(SECOND).await,
            }
        }
        panic!("node {node} stays without keys, or the nodes without a leader");
    }

    /// Changes of passwords of which it is not known yet how they stand.
    async fn settling(&self) -> Vec<(String, LeaseState)> {
        let mut settling = self.cluster.leases(NamespaceId::ROOT, "db/rotate/").await;
        settling.extend(self.cluster.leases(NamespaceId::ROOT, ROTATIONS).await);
        settling
    }

    /// The password of the account is the one that is known, unless it is being rotated.
    async fn check_account(&mut self) {
        let known = Request::new(&self.cluster.root, Verb::Read, ACCOUNT, json!({}));
        for _ in 0..100 {
            let known = self.cluster.ask(&known).await;
            if known.status == 404 {
                return;
            }
            let (account, password) = (known.text("/data/outside"), known.text("/data/password"));
            self.summary.rotated += usize::from(password != "first");
            if password == self.cluster.system.password_of(&account) {
                return;
            }
            assert!(!self.settling().await.is_empty(), "a password that nobody knows, and nobody looks for");
            self.cluster.run().await;
        }
        panic!("an account is not settled");
    }

    /// An operator has what the outside refused tried again.
    async fn revoke_irrevocable(&self, leases: impl Iterator<Item = (String, LeaseState)>) {
        for (id, _) in leases.filter(|(_, state)| matches!(state, LeaseState::Irrevocable(_))) {
            let path = within(&id, "sys/leases/revoke");
            self.cluster.done(Verb::Write, &path, json!({ "lease_id": id })).await;
        }
    }

    /// What exists outside is what is leased; the password is the one that is known; what was acknowledged is there.
    pub(super) async fn check_quiet(&mut self) {
        let outside: BTreeSet<String> = self.cluster.system.users().into_keys().collect();
        let recorded: BTreeSet<String> = self.recorded().await.expect("somebody leads").into_keys().collect();
        let missing: Vec<&String> =
            recorded.difference(&outside).filter(|mark| !self.forgotten.contains(*mark)).collect();
        assert!(outside.is_subset(&recorded), "{outside:#?} {recorded:#?}");
        assert!(missing.is_empty(), "leased and not outside: {missing:?}");
        self.summary.made += self.cluster.system.asked_for();
        let known = self.cluster.done(Verb::Read, "db/rotate", json!({})).await;
        assert_eq!(known.data()["password"], self.cluster.system.password());
        self.check_account().await;
        for value in &self.notes {
            let note = self.cluster.done(Verb::Read, &format!("db/notes/{value}"), json!({})).await;
            assert_eq!(note.data()["value"], *value, "an acknowledged write is lost");
            assert_eq!(self.told.get(value), Some(&1), "an acknowledged write was not told");
        }
        for value in self.told.keys() {
            let note = self.cluster.done(Verb::Read, &format!("db/notes/{value}"), json!({})).await;
            assert_eq!(note.data()["value"], *value, "what was told is not there");
        }
        for node in 0..self.cluster.size() {
            let read = self.read_of(node, "db/settings/pool").await;
            assert_eq!(read.data()["derived"], read.data()["stored"]);
        }
        let known = self.cluster.done(Verb::Read, "db/settings/pool", json!({})).await;
        assert!(number_in(&known, "/data/stored") >= self.setting, "an acknowledged write is lost");
    }
}
