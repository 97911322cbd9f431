//! Renders help from the command table. Writing to a string cannot fail, so that its results are dropped.

use std::fmt::Write;

use crate::command::{Body, Command};
use crate::flags::Flag;
use crate::output::text::{WIDTH, wrap_indented};

/// The remark about a command that this program's own server does not serve.
const FOREIGN: &str = "Vault only: the Strongroom server does not serve this. The command is for use with a Vault \
                       server.";

/// The help of a command: usage, what it does, its subcommands or flags.
pub(crate) fn text(program: &str, path: &[&str], command: &Command) -> String {
    if path.is_empty() {
        return overview(program, command);
    }
    let usage = format!("Usage: {program} {} {}", path.join(" "), command.usage);
    let mut out = usage.trim_end().to_owned() + "\n";
    let help = if command.help.is_empty() { command.about } else { command.help };
    out.push('\n');
    out.push_str(&body(&help.replace("{p}", program)));
    if command.foreign {
        let _ = write!(out, "\n{}\n", wrap_indented(FOREIGN, WIDTH, "  ", "  "));
    }
    if let Body::Group(children) = command.body {
        out.push_str("\nSubcommands:\n");
        out.push_str(&list(children));
    }
    for (heading, flags) in command.groups() {
        let _ = write!(out, "\n{heading}:\n");
        let mut flags = flags;
        flags.sort_by_key(|flag| flag.name);
        for flag in flags {
            let _ = write!(out, "\n  -{}{}\n{}\n", flag.name, flag.takes(), about(flag));
        }
    }
    out
}

/// Help text, indented. Paragraphs are wrapped; lines that are indented already, which are examples, stay as they are.
fn body(help: &str) -> String {
    let mut out = String::new();
    let mut paragraph = String::new();
    for line in help.trim_matches('\n').lines().chain([""]) {
        if !line.is_empty() && !line.starts_with(' ') {
            paragraph.push_str(line);
            paragraph.push(' ');
            continue;
        }
        if !paragraph.is_empty() {
            out.push_str(&wrap_indented(&std::mem::take(&mut paragraph), WIDTH, "  ", "  "));
            out.push('\n');
        }
        if !line.is_empty() {
            out.push_str("  ");
            out.push_str(line);
        }
        out.push('\n');
    }
    out.trim_end_matches('\n').to_owned() + "\n"
}

fn about(flag: &Flag) -> String {
    let mut text = flag.about.to_owned();
    if let Some(alias) = flag.alias {
        let _ = write!(text, " This is aliased as \"-{alias}\".");
    }
    if !flag.default.is_empty() {
        let _ = write!(text, " The default is {}.", flag.default);
    }
    if !flag.env.is_empty() {
        let _ = write!(text, " This can also be specified via the VAULT_{} environment variable.", flag.env);
    }
    wrap_indented(&text, WIDTH, "      ", "      ")
}

fn list(children: &[&Command]) -> String {
    let width = children.iter().map(|child| child.name.len()).max().unwrap_or(0);
    let line = |child: &&Command| {
        let mark = if child.foreign { " (Vault only)" } else { "" };
        format!("    {:width$}    {}{mark}\n", child.name, child.about)
    };
    children.iter().map(line).collect()
}

/// The help of the program itself: the commands most people need first.
fn overview(program: &str, root: &Command) -> String {
    const COMMON: [&str; 8] = ["read", "write", "delete", "list", "login", "server", "status", "unwrap"];
    let (common, other): (Vec<_>, Vec<_>) =
        root.children().iter().copied().partition(|child| COMMON.contains(&child.name));
    let ordered: Vec<_> =
        COMMON.iter().filter_map(|name| common.iter().copied().find(|child| child.name == *name)).collect();
    format!(
        "Usage: {program} <command> [args]\n\nCommon commands:\n{}\nOther commands:\n{}",
        list(&ordered),
        list(&other)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::find;
    use crate::tree::ROOT;

    fn help(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (command, path, _) = find(&ROOT, &words);
        text("vault", &path, command)
    }

    #[test]
    fn a_command_shows_its_flags() {
        let help = help(&["kv", "get"]);
        assert!(help.starts_with("Usage: vault kv get [options] KEY\n\n  "), "{help}");
        assert!(help.contains("\nHTTP Options:\n\n  -address=<string>\n      Address of "), "{help}");
        assert!(help.contains("specified via the VAULT_ADDR"), "{help}");
        assert!(help.contains("\nCommand Options:\n\n  -mount=<string>\n"), "{help}");
        assert!(!help.contains("{p}"));
    }

    #[test]
    fn commands_that_the_server_lacks_are_marked() {
        let operator = help(&["operator"]);
        for name in ["rekey", "generate-root", "rotate", "unseal"] {
            let line =
                operator.lines().find(|line| line.trim_start().starts_with(&format!("{name} "))).unwrap();
            assert!(!line.ends_with("(Vault only)"), "{line}");
        }
        assert!(!help(&["operator", "rekey"]).contains("does not serve this"));
        assert!(help(&["plugin", "list"]).contains("does not serve this"));
        assert!(!help(&["namespace", "lock"]).contains("does not serve this"));
        assert!(help(&[]).lines().any(|line| line.contains("monitor") && line.ends_with("(Vault only)")));
        assert!(!help(&["operator", "init"]).contains("does not serve this"));
    }

    #[test]
    fn a_group_shows_its_commands() {
        assert!(help(&["kv"]).contains("\nSubcommands:\n"));
        assert!(help(&[]).contains("\nOther commands:\n"));
    }

    /// Every command of the tree has a name, a summary, and flags that do not clash.
    #[test]
    fn the_whole_tree_is_well_formed() {
        fn walk(command: &Command, path: &[&str]) {
            assert!(!command.about.is_empty(), "{path:?}");
            let shown = text("vault", path, command);
            assert!(shown.lines().all(|line| line.chars().count() <= 110), "{path:?}\n{shown}");
            let mut names: Vec<&str> = command
                .all_flags()
                .iter()
                .flat_map(|flag| std::iter::once(flag.name).chain(flag.alias))
                .collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{path:?}");
            for child in command.children() {
                let mut path = path.to_vec();
                path.push(child.name);
                walk(child, &path);
            }
        }
        for child in ROOT.children() {
            walk(child, &[child.name]);
        }
    }
}
