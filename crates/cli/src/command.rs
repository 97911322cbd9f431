//! A command as the table declares it: name, help, flags, arguments and what it runs.

use std::future::Future;
use std::pin::Pin;

use crate::call::Call;
use crate::common;
use crate::complete::Offer;
use crate::failure::Outcome;
use crate::flags::Flag;

/// A running command.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// The function that runs a command.
pub(crate) type Handler = for<'a> fn(&'a mut Call<'_>) -> Running<'a>;

/// The body behind a command's name.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// Subcommands.
    Group(&'static [&'static Command]),
    /// A handler.
    Run(Handler),
    /// A command that the embedding program implements; it gets all words behind the name.
    Outside(Outside),
}

/// The commands that the embedding program implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// `server`.
    Server,
    /// `operator migrate`.
    Migrate,
    /// `operator raft recover`.
    Recover,
}

/// One command.
pub(crate) struct Command {
    /// Its name, one word.
    pub name: &'static str,
    /// Its purpose, for the list of its group.
    pub about: &'static str,
    /// The words after the name in the usage line.
    pub usage: &'static str,
    /// Its help. `{p}` stands for the program's name.
    pub help: &'static str,
    /// The flags it shares with others, by group.
    pub shared: Shared,
    /// Its own flags.
    pub flags: &'static [Flag],
    /// Flags it has in common with some other commands.
    pub more: &'static [Flag],
    /// The fewest and most arguments it takes.
    pub args: (usize, usize),
    /// The values that completion offers for its arguments; the last is that of all further ones.
    pub offers: &'static [Offer],
    /// True if the server of this program does not serve it.
    pub foreign: bool,
    /// Its body.
    pub body: Body,
}

/// The groups of flags that many commands share.
// Four independent choices are four switches.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Shared {
    /// Flags to reach the server.
    pub http: bool,
    /// `-format`.
    pub format: bool,
    /// `-field`.
    pub field: bool,
    /// `-detailed`.
    pub detailed: bool,
}

impl Command {
    const fn new(
        name: &'static str,
        about: &'static str,
        usage: &'static str,
        help: &'static str,
        body: Body,
    ) -> Self {
        let shared = Shared { http: false, format: false, field: false, detailed: false };
        Self {
            name,
            about,
            usage,
            help,
            shared,
            flags: &[],
            more: &[],
            args: (0, usize::MAX),
            offers: &[],
            foreign: false,
            body,
        }
    }

    /// A group of subcommands.
    pub(crate) const fn group(
        name: &'static str,
        about: &'static str,
        help: &'static str,
        children: &'static [&'static Self],
    ) -> Self {
        Self::new(name, about, "<subcommand> [options] [args]", help, Body::Group(children))
    }

    /// A command that talks to the server.
    pub(crate) const fn remote(
        name: &'static str,
        about: &'static str,
        usage: &'static str,
        help: &'static str,
        handler: Handler,
    ) -> Self {
        let mut command = Self::new(name, about, usage, help, Body::Run(handler));
        command.shared.http = true;
        command
    }

    /// A command that needs no server.
    pub(crate) const fn local(
        name: &'static str,
        about: &'static str,
        usage: &'static str,
        help: &'static str,
        handler: Handler,
    ) -> Self {
        Self::new(name, about, usage, help, Body::Run(handler))
    }

    /// A command that the embedding program implements.
    pub(crate) const fn outside(name: &'static str, about: &'static str, which: Outside) -> Self {
        Self::new(name, about, "[options]", "", Body::Outside(which))
    }

    /// Declares the values that completion offers for its arguments.
    pub(crate) const fn offers(mut self, offers: &'static [Offer]) -> Self {
        self.offers = offers;
        self
    }

    /// Declares that this program's own server does not serve it: it is for use with Vault.
    pub(crate) const fn foreign(mut self) -> Self {
        self.foreign = true;
        self
    }

    /// Adds `-format`.
    pub(crate) const fn format(mut self) -> Self {
        self.shared.format = true;
        self
    }

    /// Adds `-field` and `-format`.
    pub(crate) const fn field(mut self) -> Self {
        self.shared.field = true;
        self.shared.format = true;
        self
    }

    /// Adds `-detailed`.
    pub(crate) const fn detailed(mut self) -> Self {
        self.shared.detailed = true;
        self
    }

    /// Declares its own flags.
    pub(crate) const fn flags(mut self, flags: &'static [Flag]) -> Self {
        self.flags = flags;
        self
    }

    /// Declares flags it has in common with some other commands.
    pub(crate) const fn more(mut self, flags: &'static [Flag]) -> Self {
        self.more = flags;
        self
    }

    /// Declares how many arguments it takes.
    pub(crate) const fn args(mut self, least: usize, most: usize) -> Self {
        self.args = (least, most);
        self
    }

    /// Declares that it takes exactly this many arguments.
    pub(crate) const fn takes(self, count: usize) -> Self {
        self.args(count, count)
    }

    /// Its subcommands; none for a command of its own.
    pub(crate) const fn children(&self) -> &'static [&'static Self] {
        match self.body {
            Body::Group(children) => children,
            _ => &[],
        }
    }

    /// The shared groups of flags with the headings help shows them under.
    pub(crate) fn groups(&self) -> Vec<(&'static str, Vec<&'static Flag>)> {
        let mut output: Vec<&'static Flag> = Vec::new();
        if self.shared.detailed {
            output.push(&common::DETAILED);
        }
        if self.shared.field {
            output.push(&common::FIELD);
        }
        if self.shared.format {
            output.push(&common::FORMAT);
        }
        let http = if self.shared.http { common::HTTP.iter().collect() } else { Vec::new() };
        let own = self.flags.iter().chain(self.more).collect();
        [("HTTP Options", http), ("Output Options", output), ("Command Options", own)]
            .into_iter()
            .filter(|(_, flags): &(_, Vec<_>)| !flags.is_empty())
            .collect()
    }

    /// All flags it knows.
    pub(crate) fn all_flags(&self) -> Vec<&'static Flag> {
        self.groups().into_iter().flat_map(|(_, flags)| flags).collect()
    }

    /// Says if there are too few or too many arguments.
    pub(crate) fn check_args(&self, count: usize) -> Result<(), String> {
        let (least, most) = self.args;
        let wanted = if least == most { least.to_string() } else { format!("{least}-{most}") };
        if count < least {
            return Err(format!("Not enough arguments (expected {least}, got {count})"));
        }
        if count > most {
            return Err(format!("Too many arguments (expected {wanted}, got {count})"));
        }
        Ok(())
    }
}

/// Follows words down the tree: the command they name, the names on the way, and the words left.
pub(crate) fn find<'w>(
    root: &'static Command,
    words: &'w [String],
) -> (&'static Command, Vec<&'static str>, &'w [String]) {
    let (mut command, mut path, mut rest) = (root, Vec::new(), words);
    while let Some((word, behind)) = rest.split_first() {
        let Some(child) = command.children().iter().find(|child| child.name == word) else { break };
        path.push(child.name);
        (command, rest) = (child, behind);
    }
    (command, path, rest)
}
