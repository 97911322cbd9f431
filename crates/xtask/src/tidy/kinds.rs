//! Engines are named by themselves and by the catalog, and by nobody else.
//!
//! A part of the server that knows an engine by its type is a special case that the next engine does not get. A fact that the
//! server needs is declared on the engine. The types are read from the sources of the engines: the names that they are made with,
//! and their aliases. Tests may name whatever they need.
//!
//! Only literals are seen: a name that is put together escapes. An engine whose type cannot be read is an error.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::Report;
use super::sources::{collect, is_test, production};

/// The directories of engines.
const ENGINES: [&str; 2] = ["crates/engines", "crates/auth"];

/// Files and folders that may name any engine, and why.
const EXEMPT: [(&str, &str); 4] = [
    ("crates/catalog/", "the one list of engines"),
    ("crates/cli/", "a client of any server, with Vault's commands and methods of logging in"),
    ("crates/xtask/", "a tool, which names what it looks for"),
    ("crates/wire/", "names of members of requests and answers"),
];

/// Types that have another meaning, or that are parts of the server, and why they may be named anywhere.
const ANYWHERE: [(&str, &str); 5] = [
    ("token", "the method is built in, and the word is a member's name all over the API"),
    ("system", "the system engine is built in, at the same place in every namespace"),
    ("cubbyhole", "the cubbyhole is built in, at the same place in every namespace"),
    (
        "identity",
        "identity is built in, at the same place in every namespace, and the word has other meanings",
    ),
    ("generic", "an alias of an engine, and an English word"),
];

/// An engine's types and the folder of its crate.
struct Engine {
    folder: String,
    kinds: Vec<String>,
}

/// Holds all files against the rule.
pub(crate) fn check(root: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut engines = Vec::new();
    for family in ENGINES {
        for entry in fs::read_dir(root.join(family)).with_context(|| family.to_owned())? {
            let name = entry?.file_name();
            engines.push(read(root, format!("{family}/{}/", name.display()))?);
        }
    }
    for engine in engines.iter().filter(|engine| engine.kinds.is_empty()) {
        report.error(format!("{}: makes no engine whose type can be read", engine.folder));
    }
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files)?;
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        let text = fs::read_to_string(file).with_context(|| name.clone())?;
        of_file(&name, &text, &engines, report);
    }
    Ok(())
}

fn read(root: &Path, folder: String) -> anyhow::Result<Engine> {
    let mut files = Vec::new();
    collect(&root.join(&folder), &mut files)?;
    let mut kinds = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        if !is_test(&name) {
            kinds.extend(kinds_of(production(&text)));
        }
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok(Engine { folder, kinds })
}

/// The types that a source makes engines of: the first argument of what makes one, or the constant that stands for it.
fn kinds_of(text: &str) -> Vec<String> {
    let makers = ["Engine::new(", "Engine::auth(", "Engine::system(", ".alias(", "const KIND: &str ="];
    let after =
        |maker: &&str| text.match_indices(*maker).map(|(at, found)| at.saturating_add(found.len())).collect();
    let places: Vec<usize> = makers.iter().flat_map(|maker| -> Vec<usize> { after(maker) }).collect();
    let literal = |at: usize| {
        let (kind, _) = text.get(at..)?.trim_start().strip_prefix('"')?.split_once('"')?;
        Some(kind.to_owned())
    };
    places.into_iter().filter_map(literal).collect()
}

fn of_file(name: &str, text: &str, engines: &[Engine], report: &mut Report) {
    if is_test(name) || EXEMPT.iter().any(|(exempt, _)| name.starts_with(exempt)) {
        return;
    }
    let foreign = engines.iter().filter(|engine| !name.starts_with(&engine.folder));
    let kinds: Vec<&String> = foreign.flat_map(|engine| &engine.kinds).collect();
    for (number, line) in (1_usize..).zip(production(text).lines()) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for kind in &kinds {
            let anywhere = ANYWHERE.iter().any(|(other, _)| other == kind);
            if !anywhere && line.contains(&format!("\"{kind}\"")) {
                report.error(format!(
                    "{name}:{number}: names the engine {kind:?}: let it be a fact on the engine (crates/engine-api/src/facts.rs)"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engines() -> Vec<Engine> {
        let kinds = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
        vec![
            Engine { folder: "crates/engines/kv/".to_owned(), kinds: kinds(&["kv", "kv-v2", "generic"]) },
            Engine { folder: "crates/auth/token/".to_owned(), kinds: kinds(&["token"]) },
        ]
    }

    fn found(name: &str, text: &str) -> Vec<String> {
        let mut report = Report::default();
        of_file(name, text, &engines(), &mut report);
        report.errors
    }

    #[test]
    fn types_are_read_from_the_engines() {
        let text = "Engine::new(\n        \"one\",\n x) Engine::auth(\"two\", .alias(\"three\", VERSION, \"1\")\n\
                    const KIND: &str = \"four\";\nEngine::new(crate::KIND, \"help\") Engine::system(\"five\", \"six\")";
        let mut kinds = kinds_of(text);
        kinds.sort_unstable();
        assert_eq!(kinds, ["five", "four", "one", "three", "two"]);
    }

    #[test]
    fn the_frame_names_no_engine() {
        let text = "fn f(kind: &str) -> bool {\n    kind == \"kv-v2\"\n}\n";
        let errors = found("crates/sys/src/mounts.rs", text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].starts_with("crates/sys/src/mounts.rs:2: names the engine \"kv-v2\""),
            "{errors:?}"
        );
        assert_eq!(found("crates/auth/token/src/lib.rs", text).len(), 1, "nor does another engine");
    }

    #[test]
    fn those_who_may_do() {
        let text = "let kind = \"kv\"; let member = \"token\"; let word = \"generic\";\n";
        for name in ["crates/engines/kv/src/lib.rs", "crates/catalog/src/lib.rs", "crates/cli/src/a.rs"] {
            assert_eq!(found(name, text), [""; 0], "{name}");
        }
        assert_eq!(found("crates/sys/src/tests.rs", text), [""; 0]);
        assert_eq!(found("crates/sys/src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}}}\n")), [""; 0]);
        assert_eq!(found("crates/sys/src/a.rs", "let member = \"token\"; // \"x\"\n// \"kv\"\n"), [""; 0]);
    }
}
