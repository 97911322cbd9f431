//! The fake system: users under a mark, one password of its own, and one-time codes.
//!
//! What is sent to it is a message that arrives later, at once, or never as far as the sender learns. A sender that goes
//! away does not take back what it sent. It closes connections that nothing was sent on for [`IDLE`], and what was sent
//! arrives within [`TRANSIT`] or not at all: without such limits nobody could ever be sure that nothing more arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use strongroom_engine_api::{Clock, Moment};
use tokio::sync::oneshot;

use crate::Seeded;
use crate::cluster::Gate;

/// The life of a connection on which nothing is sent.
pub const IDLE: Duration = Duration::from_secs(25);
/// The longest time for which a message is under way.
pub const TRANSIT: Duration = Duration::from_secs(30);

/// The panic of [`Mood::Panicking`].
pub const MISTAKE: &str = "a mistake in an engine";

/// Its behavior towards a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It does what it is asked and says so.
    #[default]
    Fine,
    /// It cannot be reached.
    Down,
    /// It says no and does nothing.
    Refusing,
    /// It does what it is asked and says no.
    Lying,
    /// It does what it is asked, and the answer is lost.
    Mute,
    /// What it is asked is under way for some time.
    Slow,
    /// Its handler in the engine panics after sending.
    Panicking,
}

/// A user that it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The number that it gave the user.
    pub number: u64,
    /// The end that it was told of.
    pub until: Moment,
}

/// A request to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Make a user under a mark.
    Create(String, Moment),
    /// Drop the user under a mark.
    Drop(String),
    /// Prolong the user under a mark.
    Extend(String, Moment),
    /// Change its own password from one to another.
    Password(String, String),
    /// Log in with its password.
    Login(String),
    /// Change the password of an account of a mount from one to another.
    Rotate(String, String, String),
    /// Log in to an account of a mount.
    Enter(String, String),
    /// Take a one-time code.
    Code(String),
    /// Say what an account may.
    Account(String),
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It did it; the number of a user where there is one.
    Done(u64),
    /// The group that an account is in, and for how many minutes a login of it is good; zero: it does not say.
    Allowed {
        /// The group.
        group: Option<String>,
        /// The minutes.
        minutes: u64,
    },
    /// It says no.
    Refused,
}

/// No answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent.
    NotSent,
    /// It was sent, and there was no answer.
    NoAnswer,
}

struct Flight {
    arrives: Moment,
    message: Message,
    lies: bool,
    answer: Option<oneshot::Sender<Told>>,
}

#[derive(Default)]
struct State {
    users: BTreeMap<String, User>,
    numbers: u64,
    password: String,
    codes: BTreeSet<String>,
    mood: Mood,
    flights: Vec<Flight>,
    unanswered: Vec<oneshot::Sender<Told>>,
    created: BTreeMap<String, usize>,
    taken: usize,
    /// What it says of accounts that are not as all others; `None`: one is blocked.
    accounts: BTreeMap<String, Option<(String, u64)>>,
    accounts_asked: usize,
    /// The passwords of accounts of mounts; of one that is not named it is `first`.
    passwords: BTreeMap<String, String>,
    /// How often it was asked for a change to each password, of its own or of an account.
    changes: BTreeMap<String, usize>,
}

/// The system. Clones are one system.
#[derive(Clone)]
pub struct System {
    state: Arc<Mutex<State>>,
    pools: Arc<AtomicUsize>,
    clock: Clock,
    random: Seeded,
}

/// A connection of a node.
pub struct Connection {
    system: System,
    gate: Gate,
    opened: Moment,
}

impl System {
    /// Without users, with the password `first`.
    pub fn new(clock: Clock, random: Seeded) -> Self {
        let state = State { password: "first".to_owned(), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), pools: Arc::default(), clock, random }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Has it behave so from now on.
    pub fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Its behavior now.
    pub fn mood(&self) -> Mood {
        self.state().mood
    }

    /// Its users by mark.
    pub fn users(&self) -> BTreeMap<String, User> {
        self.state().users.clone()
    }

    /// Its password.
    pub fn password(&self) -> String {
        self.state().password.clone()
    }

    pub(super) fn count_pool(&self, made: bool) {
        if made {
            self.pools.fetch_add(1, Ordering::SeqCst);
        } else {
            self.pools.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// How many pools nodes hold. Those let go are freed by threads, which take a moment.
    pub fn pools(&self) -> usize {
        self.pools.load(Ordering::SeqCst)
    }

    /// Adds a one-time code.
    pub fn add_code(&self, code: &str) {
        self.state().codes.insert(code.to_owned());
    }

    /// How often codes were asked for.
    pub fn codes_asked(&self) -> usize {
        self.state().taken
    }

    /// Says of an account from now on that it is in a group, and for how many minutes a login is good; `None`: it is blocked.
    pub fn set_account(&self, name: &str, allowed: Option<(&str, u64)>) {
        let allowed = allowed.map(|(group, minutes)| (group.to_owned(), minutes));
        self.state().accounts.insert(name.to_owned(), allowed);
    }

    /// How often accounts were asked about.
    pub fn accounts_asked(&self) -> usize {
        self.state().accounts_asked
    }

    /// Leaves some of them out of the count.
    pub fn forget_codes_asked(&self, some: usize) {
        self.state().taken -= some;
    }

    /// The password of an account of a mount.
    pub fn password_of(&self, account: &str) -> String {
        self.state().password_of(account)
    }

    /// How many changes of passwords were ever asked for.
    pub fn changes(&self) -> usize {
        self.state().changes.len()
    }

    /// Marks under which a user, and passwords to which a change, was asked for more than once: there are none.
    pub fn made_twice(&self) -> Vec<String> {
        let state = self.state();
        let counts = state.created.iter().chain(&state.changes);
        counts.filter(|(_, count)| **count > 1).map(|(mark, _)| mark.clone()).collect()
    }

    /// How many users were ever asked for.
    pub fn asked_for(&self) -> usize {
        self.state().created.len()
    }

    /// Marks of users that may still come to be.
    pub fn under_way(&self) -> Vec<String> {
        let marks = self.state();
        let marks = marks.flights.iter().filter_map(|flight| match &flight.message {
            Message::Create(mark, _) => Some(mark.clone()),
            _ => None,
        });
        marks.collect()
    }

    /// Loses a user of its own accord.
    pub fn forget_one(&self) {
        let mut state = self.state();
        let marks: Vec<String> = state.users.keys().cloned().collect();
        if let Some(mark) = self.random.pick(&marks) {
            state.users.remove(mark);
        }
    }

    /// Does what has arrived by now. Returns whether anything had.
    pub fn deliver(&self) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        let (due, left) =
            std::mem::take(&mut state.flights).into_iter().partition(|flight| flight.arrives <= now);
        state.flights = left;
        let due: Vec<Flight> = due;
        let any = !due.is_empty();
        for flight in due {
            let told = state.apply(&flight.message);
            if let Some(answer) = flight.answer {
                let _gone = answer.send(if flight.lies { Told::Refused } else { told });
            }
        }
        any
    }

    /// Opens a connection from a node.
    pub async fn connect(&self, gate: &Gate) -> Result<Connection, Failure> {
        gate.pass().await;
        if self.mood() == Mood::Down {
            return Err(Failure::NotSent);
        }
        Ok(Connection { system: self.clone(), gate: gate.clone(), opened: self.clock.now() })
    }
}

impl State {
    fn password_of(&self, account: &str) -> String {
        self.passwords.get(account).cloned().unwrap_or_else(|| "first".to_owned())
    }

    /// Counts what must not be asked for twice.
    fn count(&mut self, message: &Message) {
        match message {
            Message::Create(mark, _) => *self.created.entry(mark.clone()).or_default() += 1,
            Message::Password(_, to) | Message::Rotate(_, _, to) => {
                *self.changes.entry(to.clone()).or_default() += 1;
            }
            _ => {}
        }
    }

    fn apply(&mut self, message: &Message) -> Told {
        match message {
            Message::Create(mark, until) => {
                self.numbers += 1;
                self.users.insert(mark.clone(), User { number: self.numbers, until: *until });
                Told::Done(self.numbers)
            }
            Message::Drop(mark) => {
                self.users.remove(mark);
                Told::Done(0)
            }
            Message::Extend(mark, until) => match self.users.get_mut(mark) {
                Some(user) => {
                    user.until = *until;
                    Told::Done(user.number)
                }
                None => Told::Refused,
            },
            Message::Password(from, to) if *from == self.password => {
                self.password.clone_from(to);
                Told::Done(0)
            }
            Message::Login(password) if *password == self.password => Told::Done(0),
            Message::Code(code) => {
                self.taken += 1;
                if self.codes.remove(code) { Told::Done(0) } else { Told::Refused }
            }
            Message::Account(name) => {
                self.accounts_asked += 1;
                match self.accounts.get(name) {
                    None => Told::Allowed { group: None, minutes: 0 },
                    Some(None) => Told::Refused,
                    Some(Some((group, minutes))) => Told::Allowed {
                        group: Some(group.clone()).filter(|group| !group.is_empty()),
                        minutes: *minutes,
                    },
                }
            }
            Message::Rotate(account, from, to) if *from == self.password_of(account) => {
                self.passwords.insert(account.clone(), to.clone());
                Told::Done(0)
            }
            Message::Enter(account, password) if *password == self.password_of(account) => Told::Done(0),
            Message::Password(..) | Message::Login(_) | Message::Rotate(..) | Message::Enter(..) => {
                Told::Refused
            }
        }
    }
}

impl Connection {
    /// Sends a message and waits for the answer. Dropping the future takes nothing back.
    pub async fn send(self, message: Message) -> Result<Told, Failure> {
        // The node may stand still between its last look and the send.
        self.gate.pass().await;
        let now = self.system.clock.now();
        if now.since(self.opened) > IDLE {
            return Err(Failure::NotSent);
        }
        let answer = {
            let mut state = self.system.state();
            state.count(&message);
            match state.mood {
                Mood::Down => return Err(Failure::NotSent),
                Mood::Refusing => return Ok(Told::Refused),
                Mood::Panicking => {
                    state.flights.push(Flight { arrives: now, message, lies: false, answer: None });
                    drop(state);
                    panic!("{MISTAKE}");
                }
                mood => {
                    let (sender, answer) = oneshot::channel();
                    let transit = u64::try_from(TRANSIT.as_millis()).expect("seconds");
                    let wait = match mood {
                        Mood::Slow | Mood::Mute => Duration::from_millis(self.system.random.below(transit)),
                        _ => Duration::ZERO,
                    };
                    let sender = if mood == Mood::Mute {
                        // Nobody answers, and nobody closes the connection.
                        state.unanswered.push(sender);
                        None
                    } else {
                        Some(sender)
                    };
                    let lies = mood == Mood::Lying;
                    state.flights.push(Flight { arrives: now.after(wait), message, lies, answer: sender });
                    answer
                }
            }
        };
        self.system.deliver();
        let told = answer.await.map_err(|_lost| Failure::NoAnswer);
        self.gate.pass().await;
        told
    }
}
