//! What happens in a schedule: requests, faults, and time that passes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use strongroom_pipeline::Verb;

use super::{Asking, MOODS, MOUNTS, Meaning, ROLES, SECOND, Schedule};
use crate::Request;

/// An account whose password a job rotates.
pub(super) const ACCOUNT: &str = "db/accounts/app";
const SETTING: &str = "db/settings/pool";

/// A path in the namespace that a lease id names.
pub(super) fn within(id: &str, path: &str) -> String {
    let is_of_team = id.rsplit_once('/').is_some_and(|(_, last)| last.contains('.'));
    format!("{}{path}", if is_of_team { "team/" } else { "" })
}

impl Schedule<'_> {
    pub(super) async fn event(&mut self) {
        match self.random.below(100) {
            0..22 => self.issue(),
            22..28 => self.send(Meaning::Change, Verb::Write, "db/rotate".to_owned(), json!({})),
            28..34 => self.log_in(),
            34..38 => self.write_note(),
            38..42 => self.make_token(),
            42..48 => self.end_something(),
            48..51 => self.renew(),
            51..53 => self.disable_or_enable(),
            53..55 => self.raise_setting(),
            55..58 => self.read_setting(),
            58..70 => {
                let span = match self.random.below(4) {
                    0 => Duration::from_millis(1 + self.random.below(900)),
                    1 | 2 => SECOND * u32::try_from(1 + self.random.below(20)).unwrap(),
                    _ => SECOND * u32::try_from(20 + self.random.below(100)).unwrap(),
                };
                self.cluster.clock.advance(span);
            }
            70..80 => self.cluster.system.set(*self.random.pick(&MOODS).unwrap()),
            80..84 => self.crash(),
            84..92 => self.bring_back().await,
            92..95 => self.cluster.unsettle(),
            95..98 => {
                if let Some(gate) = self.some_node().and_then(|node| self.cluster.gate(node)) {
                    gate.pause();
                }
            }
            _ => self.forget(),
        }
    }

    fn some_node(&self) -> Option<usize> {
        let alive: Vec<usize> =
            (0..self.cluster.size()).filter(|node| self.cluster.is_alive(*node)).collect();
        self.random.pick(&alive).copied()
    }

    fn some_token(&self) -> String {
        let one = self.random.pick(&self.tokens).cloned();
        one.filter(|_| self.random.chance(60)).unwrap_or_else(|| self.cluster.root.clone())
    }

    fn send(&mut self, meaning: Meaning, asked: Verb, path: String, input: serde_json::Value) {
        let token = self.some_token();
        self.send_as(&token, meaning, asked, path, input);
    }

    fn send_as(
        &mut self,
        token: &str,
        meaning: Meaning,
        asked: Verb,
        path: String,
        input: serde_json::Value,
    ) {
        let Some(node) = self.some_node() else { return };
        let mut request = Request::new(token, asked, path, input);
        if matches!(meaning, Meaning::Issue(..)) && self.random.chance(10) {
            request = request.wrapped(Duration::from_secs(300));
        }
        let leaves = self.random.chance(25);
        let looks = leaves.then(|| usize::try_from(1 + self.random.below(12)).unwrap());
        self.summary.left += usize::from(leaves);
        let running = self.cluster.send(node, &request, looks);
        self.asking.push(Asking { meaning, running });
    }

    fn issue(&mut self) {
        let (mount, role) = (self.random.pick(&MOUNTS).unwrap(), self.random.pick(&ROLES).unwrap());
        let meaning = Meaning::Issue(mount, self.setting);
        self.send(meaning, Verb::Read, format!("{mount}creds/{role}"), json!({}));
    }

    fn raise_setting(&mut self) {
        let root = self.cluster.root.clone();
        self.send_as(&root, Meaning::Raise, Verb::Write, SETTING.to_owned(), json!({}));
    }

    fn read_setting(&mut self) {
        let (root, known) = (self.cluster.root.clone(), if self.cluster.lags() { 0 } else { self.setting });
        self.send_as(&root, Meaning::Setting(known), Verb::Read, SETTING.to_owned(), json!({}));
    }

    fn log_in(&mut self) {
        let code = format!("code-{}", self.codes);
        self.codes += 1;
        if self.random.chance(80) {
            self.cluster.system.add_code(&code);
        }
        // Now and then one code is tried twice at once.
        for _ in 0..=u64::from(self.random.chance(30)) {
            self.logins_sent += 1;
            let input = json!({ "code": code });
            self.send_as("", Meaning::Login, Verb::Write, "auth/code/login/alice".to_owned(), input);
        }
    }

    fn write_note(&mut self) {
        if self.random.chance(25) {
            // From then on a job rotates its password.
            let (root, path) = (self.cluster.root.clone(), ACCOUNT.to_owned());
            return self.send_as(&root, Meaning::Nothing, Verb::Write, path, json!({}));
        }
        self.notes_sent += 1;
        let (value, root) = (self.notes_sent, self.cluster.root.clone());
        let input = json!({ "value": value });
        self.send_as(&root, Meaning::Note(value), Verb::Write, format!("db/notes/{value}"), input);
    }

    fn make_token(&mut self) {
        let (root, batch) = (self.cluster.root.clone(), self.random.chance(25));
        let uses = if !batch && self.random.chance(30) { 2 } else { 0 };
        let kind = if batch { "batch" } else { "service" };
        let input = json!({ "policies": ["all"], "ttl": "1h", "type": kind, "num_uses": uses });
        self.send_as(&root, Meaning::Token, Verb::Write, "auth/token/create".to_owned(), input);
    }

    fn end_something(&mut self) {
        let root = self.cluster.root.clone();
        match self.random.below(3) {
            0 => {
                let Some(id) = self.random.pick(&self.known).cloned() else { return };
                let (path, input) = (within(&id, "sys/leases/revoke"), json!({ "lease_id": id }));
                self.send_as(&root, Meaning::Nothing, Verb::Write, path, input);
            }
            1 => {
                let Some(token) = self.random.pick(&self.tokens).cloned() else { return };
                self.send_as(
                    &token,
                    Meaning::Nothing,
                    Verb::Write,
                    "auth/token/revoke-self".to_owned(),
                    json!({}),
                );
            }
            _ => {
                let mount = self.random.pick(&MOUNTS).unwrap();
                let path = match mount.strip_prefix("team/") {
                    Some(inner) => format!("team/sys/leases/revoke-prefix/{inner}creds"),
                    None => format!("sys/leases/revoke-prefix/{mount}creds"),
                };
                self.send_as(&root, Meaning::Nothing, Verb::Write, path, json!({}));
            }
        }
    }

    fn renew(&mut self) {
        if self.random.chance(40) {
            return self.renew_token();
        }
        let Some(id) = self.random.pick(&self.known).cloned() else { return };
        let path = within(&id, "sys/leases/renew");
        let (root, input) = (self.cluster.root.clone(), json!({ "lease_id": id, "increment": 600 }));
        self.send_as(&root, Meaning::Nothing, Verb::Write, path, input);
    }

    /// Renews a token: the system is asked about those that were granted for a login.
    fn renew_token(&mut self) {
        let Some(token) = self.random.pick(&self.tokens).cloned() else { return };
        self.renewals_sent += 1;
        let path = "auth/token/renew-self".to_owned();
        self.send_as(&token, Meaning::Renewal, Verb::Write, path, json!({}));
    }

    fn disable_or_enable(&mut self) {
        let root = self.cluster.root.clone();
        let (asked, input) = if self.random.chance(50) {
            (Verb::Delete, json!({}))
        } else {
            (Verb::Write, json!({ "type": "outside" }))
        };
        let path = if self.random.chance(50) { "sys/mounts/other" } else { "team/sys/mounts/db" };
        self.send_as(&root, Meaning::Nothing, asked, path.to_owned(), input);
    }

    fn crash(&mut self) {
        if let Some(node) = self.some_node() {
            self.summary.crashes += 1;
            self.cluster.crash(node);
        }
    }

    pub(super) async fn bring_back(&mut self) {
        self.cluster.mend();
        for node in 0..self.cluster.size() {
            if let Some(gate) = self.cluster.gate(node) {
                gate.resume();
            } else {
                self.cluster.restart(node).await;
                self.listening.extend(self.cluster.listen(node));
            }
        }
        if self.cluster.leader().is_none() && !self.cluster.lags() {
            self.cluster.unsettle();
        }
    }

    fn forget(&mut self) {
        let before: BTreeSet<String> = self.cluster.system.users().into_keys().collect();
        self.cluster.system.forget_one();
        let after = self.cluster.system.users();
        self.forgotten.extend(before.into_iter().filter(|mark| !after.contains_key(mark)));
    }
}
