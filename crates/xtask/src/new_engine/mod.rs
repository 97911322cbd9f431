//! `cargo xtask new-engine NAME [--auth]`: a folder that compiles, passes its tests and is served, fuzzed and documented, to be
//! filled with what the engine is for.
//!
//! Everything is worked out before anything is written: where a file is not as it is expected to be, nothing has changed. The
//! command does not know what an engine does; what it makes keeps a configuration and roles, which nearly all of them have, and
//! claims no more than that. [`scratch`] makes engines in a copy of the workspace and runs their tests.

pub(crate) mod scratch;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

pub(crate) const HELP: &str = "\
Usage: cargo xtask new-engine NAME [--auth]
       cargo xtask new-engine --check

    NAME       The engine's type, as mounts are enabled by it: a letter, then letters and digits, all small, 20 at most
    --auth     An auth method (crates/auth/NAME) and not a secrets engine (crates/engines/NAME)
    --check    Make one of each in a copy of the workspace, and run their tests there
";

/// The kind of engine that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Secrets,
    Auth,
}

/// The files of a folder below `crates/`, and the text that each begins as.
type Template = [(&'static str, &'static str); 5];

const SECRETS: Template = [
    ("Cargo.toml", include_str!("template/secrets/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/secrets/lib.rs.txt")),
    ("src/config.rs", include_str!("template/secrets/config.rs.txt")),
    ("src/role.rs", include_str!("template/secrets/role.rs.txt")),
    ("src/tests.rs", include_str!("template/secrets/tests.rs.txt")),
];

const AUTH: Template = [
    ("Cargo.toml", include_str!("template/auth/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("template/auth/lib.rs.txt")),
    ("src/config.rs", include_str!("template/auth/config.rs.txt")),
    ("src/role.rs", include_str!("template/auth/role.rs.txt")),
    ("src/tests.rs", include_str!("template/auth/tests.rs.txt")),
];

/// The registry of table formats.
const TABLES: &str = "crates/server/tests/formats/tables.txt";

/// The list of what the end-to-end suite `coverage` asks for.
const OPERATIONS: &str = "tests/coverage/operations.txt";

impl Class {
    fn template(self) -> &'static Template {
        match self {
            Self::Secrets => &SECRETS,
            Self::Auth => &AUTH,
        }
    }

    /// The folder of an engine of this name.
    fn folder(self, name: &str) -> String {
        match self {
            Self::Secrets => format!("crates/engines/{name}"),
            Self::Auth => format!("crates/auth/{name}"),
        }
    }

    fn page(self) -> &'static str {
        match self {
            Self::Secrets => include_str!("template/secrets/docs.md.txt"),
            Self::Auth => include_str!("template/auth/docs.md.txt"),
        }
    }

    fn operations(self) -> &'static str {
        match self {
            Self::Secrets => include_str!("template/secrets/operations.txt"),
            Self::Auth => include_str!("template/auth/operations.txt"),
        }
    }

    /// The section of the book's contents.
    fn section(self) -> &'static str {
        match self {
            Self::Secrets => "## Secrets",
            Self::Auth => "## Access",
        }
    }
}

/// Makes an engine; tells what there is now and what is left to do.
pub(crate) fn run(words: &[&str], root: &Path) -> anyhow::Result<String> {
    let (name, class) = match words {
        [name] => (*name, Class::Secrets),
        [name, "--auth"] | ["--auth", name] => (*name, Class::Auth),
        _ => bail!("{HELP}"),
    };
    let files = make(root, name, class)?;
    for (path, text) in &files {
        let path = root.join(path);
        let folder = path.parent().context("every file has a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    let paths: Vec<String> = files.iter().map(|(path, _)| format!("    {}\n", path.display())).collect();
    Ok(format!(
        "Written:\n{}Next: cargo test -p strongroom-{name}; then name it in ARCHITECTURE.md and CHANGELOG.md. Its tables are frozen\n\
         in {TABLES} once they are released.\n",
        paths.concat()
    ))
}

/// The files that are new or change, with their texts, by their paths in the workspace.
fn make(root: &Path, name: &str, class: Class) -> anyhow::Result<Vec<(PathBuf, String)>> {
    check_name(name)?;
    let folder = class.folder(name);
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    let workspace = read("Cargo.toml")?;
    let package = format!("strongroom-{name}");
    ensure!(!root.join(&folder).exists(), "{folder} is there already");
    ensure!(!workspace.contains(&format!("\n{package} = ")), "there is a crate {package} already");
    let page = format!("docs/{name}.md");
    ensure!(!root.join(&page).exists(), "{page} is there already");

    let filled = |text: &str| text.replace("@NAME@", name).replace("@Name@", &capitalized(name));
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for (path, text) in class.template() {
        files.push((Path::new(&folder).join(path), filled(text)));
    }
    files.push((page.into(), filled(class.page())));
    let mut change = |path: &str, text: Option<String>| {
        let text = text.with_context(|| format!("{path}: there is no place for another engine"))?;
        files.push((path.into(), text));
        anyhow::Ok(())
    };
    let dependency = format!("{package} = {{ path = \"{folder}\" }}");
    change("Cargo.toml", after_last(&workspace, |line| line.starts_with("strongroom-"), &dependency))?;
    let path = "crates/catalog/Cargo.toml";
    change(path, in_order(&read(path)?, "strongroom-", &format!("{package}.workspace = true")))?;
    let path = "crates/catalog/src/lib.rs";
    let line = format!("        .with(strongroom_{name}::engine())");
    change(path, after_last(&read(path)?, |line| line.starts_with("        .with(strongroom_"), &line))?;
    let line = format!("- [{}]({name}.md)", capitalized(name));
    change("docs/README.md", in_section(&read("docs/README.md")?, class.section(), &line))?;
    change(OPERATIONS, Some(format!("{}\n{}", read(OPERATIONS)?.trim_end(), filled(class.operations()))))?;
    change(TABLES, Some(with_tables(&read(TABLES)?, name)))?;
    Ok(files)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    /// Words of the language, and crates of the server that are no engines.
    const TAKEN: [&str; 22] = [
        "as", "async", "await", "box", "catalog", "const", "crate", "dyn", "else", "enum", "extern", "final",
        "fn", "generic", "impl", "macro", "move", "plugin", "ref", "server", "system", "type",
    ];
    let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 20
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ensure!(well_formed && !TAKEN.contains(&name), "{name:?} cannot be the name of an engine\n\n{HELP}");
    Ok(())
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// The text with a line after the last one that `is_one` holds of.
fn after_last(text: &str, is_one: impl Fn(&str) -> bool, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().rposition(|other| is_one(other))?;
    lines.insert(at.saturating_add(1), line);
    Some(joined(&lines))
}

/// The text with a line among the first that begin so, in alphabetical order.
fn in_order(text: &str, prefix: &str, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|other| other.starts_with("[dependencies]"))?.saturating_add(1);
    let several = lines.iter().skip(first).take_while(|other| other.starts_with(prefix));
    // By the name before the first dot: `seal` comes before `seal-shamir`.
    let name = |line: &str| line.split('.').next().unwrap_or_default().to_owned();
    let before = several.take_while(|other| name(other) < name(line)).count();
    lines.insert(first.saturating_add(before), line);
    Some(joined(&lines))
}

/// The text with a line at the end of a section's list.
fn in_section(text: &str, section: &str, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|other| *other == section)?;
    let inside = lines.iter().skip(head.saturating_add(1)).take_while(|other| !other.starts_with('#'));
    let last = inside.enumerate().filter(|(_, other)| other.starts_with("- ")).last()?.0;
    lines.insert(head.saturating_add(last).saturating_add(2), line);
    Some(joined(&lines))
}

/// The registry of formats with the tables of the templates: those of the server first, then engine by engine.
fn with_tables(text: &str, name: &str) -> String {
    let (one, two) = (
        format!("{name} space 2 table   1 CONFIG Table<(),Config>"),
        format!("{name} space 2 table   2 ROLES Table<str,Role>"),
    );
    let owner = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let mut lines: Vec<&str> = text.lines().collect();
    let later = |line: &&str| owner(line) != "server" && owner(line).as_str() > name;
    let at = lines.iter().position(later).unwrap_or(lines.len());
    lines.splice(at..at, [one.as_str(), two.as_str()]);
    joined(&lines)
}

fn joined(lines: &[&str]) -> String {
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
    }

    fn text<'a>(files: &'a [(PathBuf, String)], path: &str) -> &'a str {
        &files.iter().find(|(other, _)| other == Path::new(path)).unwrap_or_else(|| panic!("{path}")).1
    }

    /// The text below a heading, up to the next.
    fn section<'a>(text: &'a str, head: &str) -> &'a str {
        let inside = text.split_once(head).unwrap().1;
        inside.split_once("## ").map_or(inside, |(inside, _)| inside)
    }

    #[test]
    fn every_place_that_knows_engines_gets_its_line() {
        let files = make(&repository(), "trialengine", Class::Secrets).unwrap();
        assert!(
            text(&files, "crates/engines/trialengine/src/lib.rs").contains("Engine::new(\"trialengine\", ")
        );
        let workspace = text(&files, "Cargo.toml");
        assert!(workspace.contains("\nstrongroom-trialengine = { path = \"crates/engines/trialengine\" }\n"));
        let catalog = text(&files, "crates/catalog/src/lib.rs");
        assert!(
            catalog.contains("::engine())\n        .with(strongroom_trialengine::engine())\n}"),
            "{catalog}"
        );
        let manifest = text(&files, "crates/catalog/Cargo.toml");
        let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap();
        let ours = dependencies.lines().take_while(|line| line.starts_with("strongroom-"));
        let ours: Vec<&str> = ours.map(|line| line.split_once('.').unwrap().0).collect();
        assert!(ours.is_sorted() && ours.contains(&"strongroom-trialengine"), "{manifest}");
        let contents = text(&files, "docs/README.md");
        assert!(
            section(contents, "## Secrets").ends_with("\n- [Trialengine](trialengine.md)\n\n"),
            "{contents}"
        );
        let tables = text(&files, TABLES);
        assert!(tables.contains("\ntrialengine space 2 table   1 CONFIG Table<(),Config>\n"), "{tables}");
        let owners = tables.lines().map(|line| line.split(' ').next().unwrap());
        assert!(owners.skip_while(|owner| *owner == "server").is_sorted(), "{tables}");
        assert!(text(&files, OPERATIONS).ends_with("DELETE /{trialengine_mount_path}/roles/{name}\n"));
        for (path, text) in &files {
            assert!(!text.contains("@NAME@") && !text.contains("@Name@"), "{}", path.display());
        }
    }

    #[test]
    fn a_method_stands_under_auth() {
        let files = make(&repository(), "trialmethod", Class::Auth).unwrap();
        assert!(
            text(&files, "crates/auth/trialmethod/src/lib.rs").contains("Engine::auth(\"trialmethod\", ")
        );
        let contents = text(&files, "docs/README.md");
        assert!(
            section(contents, "## Access").ends_with("\n- [Trialmethod](trialmethod.md)\n\n"),
            "{contents}"
        );
        assert!(
            text(&files, OPERATIONS)
                .contains("\n# auth/trialmethod\nGET    /auth/{trialmethod_mount_path}/config\n")
        );
    }

    #[test]
    fn names_that_are_taken_or_make_no_crate_are_refused() {
        for name in [
            "kv",
            "userpass",
            "core",
            "sys",
            "type",
            "Trialengine",
            "a-b",
            "a_b",
            "1a",
            "",
            "../x",
            "toolongtobeatypeofours",
        ] {
            assert!(make(&repository(), name, Class::Secrets).is_err(), "{name}");
        }
        assert!(run(&["one", "two"], &repository()).is_err());
    }
}
