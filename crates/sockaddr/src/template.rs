//! Reads and evaluates a template.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use regex::Regex;

use crate::Interface;
use crate::address::{Network, attribute, has_flag, is_of_rfc};
use crate::math::math;

/// A value between two parts of a pipeline.
#[derive(Clone)]
enum Value {
    Interfaces(Vec<Interface>),
    Text(String),
}

/// The variables of a template: those of a text are shared by all its pairs of braces.
type Variables = BTreeMap<String, Value>;

/// Replaces each `{{ … }}` of a text by what it evaluates to.
pub(crate) fn expand(text: &str, all: &[Interface]) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    let mut variables = Variables::new();
    while let Some((before, behind)) = rest.split_once("{{") {
        let (inner, after) =
            behind.split_once("}}").ok_or_else(|| format!("template {text:?} lacks \"}}}}\""))?;
        // Dashes are Go's marks for trimming the space around.
        let (inner, trims_before) = inner.strip_prefix('-').map_or((inner, false), |inner| (inner, true));
        let (inner, trims_after) = inner.strip_suffix('-').map_or((inner, false), |inner| (inner, true));
        let inner = inner.trim();
        out.push_str(before);
        if trims_before {
            out.truncate(out.trim_end().len());
        }
        let value = evaluate(inner, all, &mut variables);
        if let Some(value) = value.map_err(|reason| format!("template {inner:?}: {reason}"))? {
            if value.trim().is_empty() {
                return Err(format!("template {inner:?} finds no address on this machine"));
            }
            out.push_str(value.trim());
        }
        rest = if trims_after { after.trim_start() } else { after };
    }
    out.push_str(rest);
    Ok(out)
}

/// What stands between braces; `None` for what sets a variable.
fn evaluate(inner: &str, all: &[Interface], variables: &mut Variables) -> Result<Option<String>, String> {
    let (name, pipeline) = assignment(inner, variables)?;
    let mut value = None;
    for words in commands(pipeline)? {
        let (first, args) = words.split_first().ok_or("an empty part of a pipeline")?;
        let args = args.iter().map(|word| word.argument(variables)).collect::<Result<Vec<_>, _>>()?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        value = Some(match (value.take(), first) {
            (None, first) if first.is_operand() => first.operand(&args, all, variables)?,
            (None, Word { text, .. }) => source(text, &args, all)?,
            (Some(Value::Interfaces(found)), Word { text, .. }) => step(text, &args, found)?,
            (Some(Value::Text(_)), Word { text, .. }) => {
                return Err(format!("{text} takes interfaces, and there is a text before it"));
            }
        });
    }
    let value = value.ok_or("is empty")?;
    if let Some(name) = name {
        variables.insert(name.to_owned(), value);
        return Ok(None);
    }
    match value {
        Value::Text(text) => Ok(Some(text)),
        Value::Interfaces(_) => Err("ends with interfaces; end it with attr \"address\"".to_owned()),
    }
}

/// The variable that is set, `$name := …` or `$name = …`, and the pipeline.
fn assignment<'t>(inner: &'t str, variables: &Variables) -> Result<(Option<&'t str>, &'t str), String> {
    let action = inner.split_whitespace().next().unwrap_or_default();
    if matches!(action, "with" | "range" | "if" | "else" | "end" | "template" | "block" | "define") {
        return Err(format!(
            "{action:?} is not supported; of Go's templates there are pipelines and variables"
        ));
    }
    let Some((name, pipeline)) = inner.split_once('=').filter(|_| inner.starts_with('$')) else {
        return Ok((None, inner));
    };
    let (name, is_new) = name.strip_suffix(':').map_or((name, false), |name| (name, true));
    let name = name.trim();
    // An equals sign may also stand in a string further on.
    if name.contains(|letter: char| letter.is_whitespace() || matches!(letter, '|' | '"' | '`')) {
        return Ok((None, inner));
    }
    if !is_new && !variables.contains_key(name) {
        return Err(format!("the variable {name} is not set; set it with :="));
    }
    Ok((Some(name), pipeline))
}

/// A word of a command.
struct Word {
    text: String,
    /// It is a string.
    quoted: bool,
}

impl Word {
    fn is_variable(&self) -> bool {
        !self.quoted && self.text.starts_with('$')
    }

    /// True if it is a value by itself: a string, a variable, or the dot, which is all interfaces.
    fn is_operand(&self) -> bool {
        self.quoted || self.is_variable() || self.text == "."
    }

    fn operand(&self, args: &[&str], all: &[Interface], variables: &Variables) -> Result<Value, String> {
        if !args.is_empty() {
            return Err(format!("{} takes no argument", self.text));
        }
        match (self.quoted, self.text.as_str()) {
            (true, text) => Ok(Value::Text(text.to_owned())),
            (false, ".") => Ok(Value::Interfaces(all.to_vec())),
            (false, name) => {
                variables.get(name).cloned().ok_or_else(|| format!("the variable {name} is not set"))
            }
        }
    }

    /// The text that it is as an argument.
    fn argument(&self, variables: &Variables) -> Result<String, String> {
        if !self.is_variable() {
            return Ok(self.text.clone());
        }
        match variables.get(&self.text) {
            Some(Value::Text(text)) => Ok(text.clone()),
            Some(Value::Interfaces(_)) => Err(format!("the variable {} is no text", self.text)),
            None => Err(format!("the variable {} is not set", self.text)),
        }
    }
}

/// The words of each command of a pipeline, quotes removed.
fn commands(inner: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut commands = vec![Vec::new()];
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '|' => commands.push(Vec::new()),
            quote @ ('"' | '`') => {
                let mut text = String::new();
                loop {
                    match letters.next().ok_or("a string is not closed")? {
                        end if end == quote => break,
                        '\\' if quote == '"' => text.push(letters.next().ok_or("a string is not closed")?),
                        other => text.push(other),
                    }
                }
                push(&mut commands, Word { text, quoted: true });
            }
            space if space.is_whitespace() => {}
            '(' | ')' | ':' | '=' | ',' => {
                return Err(format!(
                    "{letter:?}: nested expressions and lists of variables are not supported"
                ));
            }
            other => {
                let mut text = other.to_string();
                while let Some(next) = letters
                    .next_if(|next| !next.is_whitespace() && !matches!(next, '|' | '"' | '`' | '(' | ')'))
                {
                    text.push(next);
                }
                push(&mut commands, Word { text, quoted: false });
            }
        }
    }
    Ok(commands)
}

fn push(commands: &mut [Vec<Word>], word: Word) {
    if let Some(last) = commands.last_mut() {
        last.push(word);
    }
}

fn one<'a>(name: &str, args: &[&'a str]) -> Result<&'a str, String> {
    match args {
        [only] => Ok(only),
        _ => Err(format!("{name} takes one argument, not {}", args.len())),
    }
}

fn two<'a>(name: &str, args: &[&'a str]) -> Result<(&'a str, &'a str), String> {
    match args {
        [first, second] => Ok((first, second)),
        _ => Err(format!("{name} takes two arguments, not {}", args.len())),
    }
}

/// The beginning of a pipeline.
fn source(name: &str, args: &[&str], all: &[Interface]) -> Result<Value, String> {
    let interfaces = |found: Vec<Interface>| Ok(Value::Interfaces(found));
    if !name.starts_with("GetInterfaceIP") && !args.is_empty() {
        return Err(format!("{name} takes no argument"));
    }
    match name {
        "GetAllInterfaces" => interfaces(all.to_vec()),
        "GetDefaultInterfaces" => interfaces(defaults(all)),
        "GetPrivateInterfaces" => interfaces(by_reach(all, true)?),
        "GetPublicInterfaces" => interfaces(by_reach(all, false)?),
        "GetPrivateIP" => Ok(first_address(&by_reach(all, true)?)),
        "GetPublicIP" => Ok(first_address(&by_reach(all, false)?)),
        "GetPrivateIPs" => Ok(addresses(&by_reach(all, true)?)),
        "GetPublicIPs" => Ok(addresses(&by_reach(all, false)?)),
        "GetInterfaceIP" => Ok(first_address(&named(all, one(name, args)?)?)),
        "GetInterfaceIPs" => Ok(addresses(&named(all, one(name, args)?)?)),
        _ => Err(format!("unknown function {name:?}")),
    }
}

fn first_address(found: &[Interface]) -> Value {
    Value::Text(found.first().map(|one| one.ip.to_string()).unwrap_or_default())
}

fn addresses(found: &[Interface]) -> Value {
    Value::Text(found.iter().map(|one| one.ip.to_string()).collect::<Vec<_>>().join(" "))
}

fn defaults(all: &[Interface]) -> Vec<Interface> {
    all.iter().filter(|one| one.default_route).cloned().collect()
}

/// The addresses with a default route that are private (RFC 6890), or those that are not: IPv4 first, then the smaller
/// networks.
fn by_reach(all: &[Interface], private: bool) -> Result<Vec<Interface>, String> {
    let mut found = Vec::new();
    for one in defaults(all) {
        let usable = has_flag(&one, "up")? && has_flag(&one, "forwardable")?;
        if usable && is_of_rfc(one.ip, "6890")? == private {
            found.push(one);
        }
    }
    sort(&mut found, "type,size")?;
    Ok(found)
}

/// The addresses of the interfaces whose names match a regular expression.
fn named(all: &[Interface], pattern: &str) -> Result<Vec<Interface>, String> {
    let pattern = regex(pattern)?;
    let mut found = Vec::new();
    for one in all {
        if pattern.is_match(&one.name) && has_flag(one, "forwardable")? {
            found.push(one.clone());
        }
    }
    sort(&mut found, "type,size")?;
    Ok(found)
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|_malformed| format!("{pattern:?} is not a regular expression"))
}

/// A further part of a pipeline.
fn step(name: &str, args: &[&str], mut found: Vec<Interface>) -> Result<Value, String> {
    match name {
        "include" | "exclude" => {
            let (by, wanted) = two(name, args)?;
            let include = name == "include";
            let mut kept = Vec::new();
            for one in found {
                if matches(&one, by, wanted)? == include {
                    kept.push(one);
                }
            }
            Ok(Value::Interfaces(kept))
        }
        "sort" => {
            sort(&mut found, one(name, args)?)?;
            Ok(Value::Interfaces(found))
        }
        "unique" => {
            let by = one(name, args)?;
            let mut seen = std::collections::BTreeSet::new();
            let mut kept = Vec::new();
            for one in found {
                if seen.insert(attribute(&one, by)?) {
                    kept.push(one);
                }
            }
            Ok(Value::Interfaces(kept))
        }
        "limit" | "offset" => {
            let count: i64 =
                one(name, args)?.parse().map_err(|_malformed| format!("{name} takes a number"))?;
            Ok(Value::Interfaces(portion(found, name == "limit", count)?))
        }
        "attr" => {
            let by = one(name, args)?;
            let first = found.first().ok_or("finds no address on this machine")?;
            attribute(first, by).map(Value::Text)
        }
        "join" => {
            let (by, between) = two(name, args)?;
            let texts = found.iter().map(|one| attribute(one, by)).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Text(texts.join(between)))
        }
        "math" => {
            let (operation, value) = two(name, args)?;
            let changed = found.into_iter().map(|one| math(one, operation, value));
            Ok(Value::Interfaces(changed.collect::<Result<_, _>>()?))
        }
        _ => Err(format!("unknown function {name:?}")),
    }
}

/// The first `count`, or those behind them; counted from the end below zero.
fn portion(found: Vec<Interface>, limit: bool, count: i64) -> Result<Vec<Interface>, String> {
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    match (limit, count) {
        (true, ..0) => Err("limit must be greater than or equal to zero".to_owned()),
        (true, _) => Ok(found.into_iter().take(size).collect()),
        (false, 0..) => Ok(found.into_iter().skip(size).collect()),
        (false, _) => {
            let skipped = found.len().saturating_sub(size);
            Ok(found.into_iter().skip(skipped).collect())
        }
    }
}

/// True if an address is what a filter asks for. Several flags, names or networks stand beside each other with a bar
/// between them: all of the flags, any of the others.
fn matches(one: &Interface, by: &str, wanted: &str) -> Result<bool, String> {
    let mut options = wanted.split('|').map(str::trim);
    match by.to_ascii_lowercase().as_str() {
        "address" => Ok(regex(wanted)?.is_match(&one.ip.to_string())),
        "name" => Ok(regex(wanted)?.is_match(&one.name)),
        "flag" | "flags" => all_of(options, |flag| has_flag(one, flag)),
        "network" => {
            any_of(options, |network| Network::parse(network).map(|network| network.contains(one.ip)))
        }
        "port" => Ok(regex(wanted)?.is_match("0")),
        "rfc" | "rfcs" => any_of(options, |number| is_of_rfc(one.ip, number)),
        "size" => {
            let bits = wanted.trim().trim_start_matches('/');
            bits.parse()
                .map(|bits: u8| bits == one.prefix)
                .map_err(|_malformed| format!("{wanted:?} is not a network size"))
        }
        "type" => Ok(options.any(|kind| match kind.to_ascii_lowercase().as_str() {
            "ip" => true,
            "ipv4" => one.ip.is_ipv4(),
            "ipv6" => one.ip.is_ipv6(),
            _ => false,
        })),
        _ => Err(format!("unknown filter {by:?}")),
    }
}

fn all_of<'a>(
    options: impl Iterator<Item = &'a str>,
    is_so: impl Fn(&str) -> Result<bool, String>,
) -> Result<bool, String> {
    let answers = options.map(is_so).collect::<Result<Vec<_>, _>>()?;
    Ok(answers.into_iter().all(|answer| answer))
}

fn any_of<'a>(
    options: impl Iterator<Item = &'a str>,
    is_so: impl Fn(&str) -> Result<bool, String>,
) -> Result<bool, String> {
    let answers = options.map(is_so).collect::<Result<Vec<_>, _>>()?;
    Ok(answers.into_iter().any(|answer| answer))
}

/// Sorts by several criteria, each ascending, or descending behind a minus.
fn sort(found: &mut [Interface], criteria: &str) -> Result<(), String> {
    let mut by: Vec<(bool, &str)> = Vec::new();
    for criterion in criteria.split(',').map(str::trim) {
        let (descending, name) = match criterion.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, criterion.trim_start_matches('+')),
        };
        if !matches!(name, "address" | "default" | "name" | "port" | "private" | "size" | "type") {
            return Err(format!("unknown sort criterion {name:?}"));
        }
        by.push((descending, name));
    }
    found.sort_by(|a, b| {
        by.iter().fold(Ordering::Equal, |sofar, (descending, name)| {
            sofar.then_with(|| {
                let order = compare(a, b, name);
                if *descending { order.reverse() } else { order }
            })
        })
    });
    Ok(())
}

/// Ascending: addresses with a default route and private ones come first, as do smaller networks.
fn compare(a: &Interface, b: &Interface, name: &str) -> Ordering {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let host_bits = |one: &Interface| {
        let most: u8 = if one.ip.is_ipv4() { 32 } else { 128 };
        most.saturating_sub(one.prefix)
    };
    let private = |one: &Interface| is_of_rfc(one.ip, "6890") == Ok(true);
    match name {
        "address" => a.ip.is_ipv6().cmp(&b.ip.is_ipv6()).then(bits(a.ip).cmp(&bits(b.ip))),
        "default" => b.default_route.cmp(&a.default_route),
        "name" => a.name.cmp(&b.name),
        "private" => private(b).cmp(&private(a)),
        "size" => host_bits(a).cmp(&host_bits(b)),
        "type" => a.ip.is_ipv6().cmp(&b.ip.is_ipv6()),
        _ => Ordering::Equal,
    }
}
