//! Command-line flags in the grammar Vault documents: `-x=y`, `-x y`, `--x`, options before arguments.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use strongroom_stdx::parse_duration;

use crate::complete::Offer;

/// The kind of value that a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// A text.
    Text,
    /// A whole number.
    Int,
    /// A duration: `30s`, `5m`, or seconds.
    Span,
    /// A text; the flag can be repeated.
    List,
    /// `key=value`; the flag can be repeated.
    Map,
}

/// A flag as a command declares it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Its name, without the dash.
    pub name: &'static str,
    /// Another name for it.
    pub alias: Option<&'static str>,
    /// Its kind of value.
    pub kind: Kind,
    /// The value without the flag and the variable; empty for none.
    pub default: &'static str,
    /// The variable behind `VAULT_` and `STRONGROOM_` that stands in for the flag; empty for none.
    pub env: &'static str,
    /// The values that completion offers.
    pub offers: Offer,
    /// Its purpose, a sentence or more.
    pub about: &'static str,
}

impl Flag {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, alias: None, kind, default: "", env: "", offers: Offer::Nothing, about }
    }

    /// A flag that is on or off.
    pub(crate) const fn switch(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Switch, about)
    }

    /// A flag with a text.
    pub(crate) const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Text, about)
    }

    /// A flag with a whole number.
    pub(crate) const fn int(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Int, about)
    }

    /// A flag with a duration.
    pub(crate) const fn span(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Span, about)
    }

    /// A flag that can be given several times.
    pub(crate) const fn list(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::List, about)
    }

    /// A flag with a `key=value` pair that can be given several times.
    pub(crate) const fn map(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Map, about)
    }

    /// Gives it another name.
    pub(crate) const fn or(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// Gives it a default.
    pub(crate) const fn default(mut self, value: &'static str) -> Self {
        self.default = value;
        self
    }

    /// Names the variable (without prefix) that stands in for it.
    pub(crate) const fn env(mut self, name: &'static str) -> Self {
        self.env = name;
        self
    }

    /// Names the values that completion offers.
    pub(crate) const fn offers(mut self, offers: Offer) -> Self {
        self.offers = offers;
        self
    }

    /// The value as help shows it.
    pub(crate) const fn takes(&self) -> &'static str {
        match self.kind {
            Kind::Switch => "",
            Kind::Text | Kind::List => "=<string>",
            Kind::Int => "=<int>",
            Kind::Span => "=<duration>",
            Kind::Map => "=<key=value>",
        }
    }

    /// Checks a value; the message is Go's for the same mistake.
    fn check(&self, given: &str, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Text | Kind::List => Ok(()),
            Kind::Switch if parse_bool(value).is_some() => Ok(()),
            Kind::Switch => Err(format!(
                "invalid boolean value {value:?} for -{given}: strconv.ParseBool: parsing {value:?}: invalid syntax"
            )),
            Kind::Int if value.trim().parse::<i64>().is_ok() => Ok(()),
            Kind::Int => Err(format!(
                "invalid value {value:?} for flag -{given}: strconv.ParseInt: parsing {value:?}: invalid syntax"
            )),
            Kind::Span => parse_duration(value)
                .map(|_| ())
                .map_err(|error| format!("invalid value {value:?} for flag -{given}: {error}")),
            Kind::Map if value.contains('=') => Ok(()),
            Kind::Map => {
                Err(format!("invalid value {value:?} for flag -{given}: missing = in KV pair: {value:?}"))
            }
        }
    }
}

/// The flags and arguments of one call. Values have been checked, so that the getters need no errors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    values: HashMap<&'static str, Vec<String>>,
    defaults: HashMap<&'static str, String>,
}

/// A command line, once read.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    /// The flags.
    pub flags: Flags,
    /// The arguments after them.
    pub args: Vec<String>,
}

/// Reads a command line. `env` answers for variables by their name without prefix.
pub(crate) fn parse(
    declared: &[&Flag],
    words: &[String],
    env: impl Fn(&str) -> Option<String>,
) -> Result<Parsed, String> {
    let mut flags = Flags::default();
    for flag in declared {
        if !flag.default.is_empty() {
            flags.defaults.insert(flag.name, flag.default.to_owned());
        }
        if let Some(value) = Some(flag.env).filter(|name| !name.is_empty()).and_then(&env) {
            flag.check(flag.name, &value)?;
            flags.defaults.insert(flag.name, value);
        }
    }
    let mut words = words.iter();
    let mut args = Vec::new();
    while let Some(word) = words.next() {
        let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            args.push(word.clone());
            break;
        };
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        if rest.is_empty() {
            break;
        }
        if rest.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {word}"));
        }
        let (name, inline) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        let flag = declared
            .iter()
            .find(|flag| flag.name == name || flag.alias == Some(name))
            .ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let value = match (inline, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Switch) => "true".to_owned(),
            (None, _) => words.next().cloned().ok_or_else(|| format!("flag needs an argument: -{name}"))?,
        };
        flag.check(name, &value)?;
        let values = flags.values.entry(flag.name).or_default();
        if !matches!(flag.kind, Kind::List | Kind::Map) {
            values.clear();
        }
        values.push(value);
    }
    args.extend(words.cloned());
    Ok(Parsed { flags, args })
}

impl Flags {
    /// True if the flag itself was given.
    pub(crate) fn given(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of a flag, of its variable or its default.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let given = self.values.get(name).and_then(|values| values.last());
        given.or_else(|| self.defaults.get(name)).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a flag as it was given, even if empty.
    pub(crate) fn given_text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// True if a switch is on.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.text(name).and_then(parse_bool).unwrap_or(false)
    }

    /// A switch where off differs from not given.
    pub(crate) fn choice(&self, name: &str) -> Option<bool> {
        self.text(name).and_then(parse_bool)
    }

    /// A number.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// A duration.
    pub(crate) fn span(&self, name: &str) -> Option<Duration> {
        parse_duration(self.text(name)?).ok()
    }

    /// All values of a repeatable flag.
    pub(crate) fn list(&self, name: &str) -> &[String] {
        self.values.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// All pairs of a repeatable flag; the last of a key counts.
    pub(crate) fn map(&self, name: &str) -> BTreeMap<String, String> {
        let pair =
            |text: &String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.list(name).iter().filter_map(pair).collect()
    }
}

/// The words Go's `strconv.ParseBool` accepts.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: [Flag; 7] = [
        Flag::text("mount", ""),
        Flag::switch("force", "").or("f"),
        Flag::int("cas", "").default("-1"),
        Flag::span("ttl", "").env("TTL"),
        Flag::list("policy", ""),
        Flag::map("metadata", ""),
        Flag::switch("renewable", "").default("true"),
    ];

    fn parse(words: &[&str]) -> Result<Parsed, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        super::parse(&FLAGS.each_ref(), &words, |name| (name == "TTL").then(|| "5m".to_owned()))
    }

    #[test]
    fn all_spellings_mean_the_same() {
        for words in
            [&["-mount=a", "b"][..], &["-mount", "a", "b"], &["--mount=a", "b"], &["--mount", "a", "b"]]
        {
            let parsed = parse(words).unwrap();
            assert_eq!(parsed.flags.text("mount"), Some("a"));
            assert_eq!(parsed.args, ["b"]);
        }
        assert!(parse(&["-f"]).unwrap().flags.on("force"));
        assert!(!parse(&["-f", "-force=false"]).unwrap().flags.on("force"));
    }

    #[test]
    fn flags_end_at_the_first_argument() {
        assert_eq!(parse(&["a", "-mount=b"]).unwrap().args, ["a", "-mount=b"]);
        assert_eq!(parse(&["--", "-mount=b"]).unwrap().args, ["-mount=b"]);
        assert_eq!(parse(&["-", "x"]).unwrap().args, ["-", "x"]);
    }

    #[test]
    fn values_have_types() {
        let words = [
            "-ttl=90",
            "-cas=0",
            "-policy=a",
            "-policy=b,c",
            "-metadata=k=v=w",
            "-metadata",
            "x=y",
            "-mount=",
        ];
        let flags = parse(&words).unwrap().flags;
        assert_eq!(flags.span("ttl"), Some(Duration::from_secs(90)));
        assert_eq!(flags.int("cas"), Some(0));
        assert_eq!(flags.list("policy"), ["a", "b,c"]);
        assert_eq!(flags.map("metadata").get("k").map(String::as_str), Some("v=w"));
        assert_eq!((flags.text("mount"), flags.given_text("mount")), (None, Some("")));
    }

    #[test]
    fn defaults_and_variables_stand_in() {
        let flags = parse(&[]).unwrap().flags;
        assert_eq!(flags.int("cas"), Some(-1));
        assert_eq!(flags.span("ttl"), Some(Duration::from_mins(5)));
        assert!(flags.on("renewable") && !flags.given("renewable"));
        assert_eq!(flags.choice("force"), None);
    }

    #[test]
    fn mistakes_are_told_in_gos_words() {
        for (words, message) in [
            (&["-zork"][..], "flag provided but not defined: -zork"),
            (&["-mount"], "flag needs an argument: -mount"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["---x"], "bad flag syntax: ---x"),
            (&["-ttl=1x"], "invalid value \"1x\" for flag -ttl: time: unknown unit \"x\" in duration \"1x\""),
            (
                &["-cas=x"],
                "invalid value \"x\" for flag -cas: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (
                &["-f=zork"],
                "invalid boolean value \"zork\" for -f: strconv.ParseBool: parsing \"zork\": invalid syntax",
            ),
            (&["-metadata=ab"], "invalid value \"ab\" for flag -metadata: missing = in KV pair: \"ab\""),
        ] {
            assert_eq!(parse(words).unwrap_err(), message);
        }
    }
}
