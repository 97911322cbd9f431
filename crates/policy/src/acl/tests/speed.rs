//! The time of a decision, which only an optimized build can tell: `cargo test --release -p strongroom-policy --
//! --ignored --nocapture`.

use std::fmt::Write as _;
use std::hint::black_box;

use super::*;

const ROUNDS: u32 = 1_000_000;

/// Five policies of twenty rules each, as a service's token has.
fn typical() -> CompiledAcl {
    let texts: Vec<String> = (0..5)
        .map(|team| {
            (0..20).fold(String::new(), |mut text, app| {
                let path = match app % 4 {
                    0 => format!("secret/data/team-{team}/app-{app}/*"),
                    1 => format!("secret/metadata/team-{team}/app-{app}/config"),
                    2 => format!("database/creds/team-{team}-app-{app}"),
                    _ => format!("pki/+/issue/team-{team}-app-{app}"),
                };
                writeln!(text, "path \"{path}\" {{ capabilities = [\"read\", \"list\"] }}").unwrap();
                text
            })
        })
        .collect();
    deny_wins(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
#[ignore = "measures time"]
#[allow(clippy::disallowed_methods, reason = "measuring needs the real clock")]
fn decisions_are_quick() {
    let acl = typical();
    assert_eq!(acl.rules().len(), 100);
    for path in [
        "secret/data/team-3/app-12/database/password",
        "database/creds/team-4-app-18",
        "pki/int/issue/team-2-app-7",
    ] {
        assert!(allows(&acl, Operation::Read, path));
        let start = std::time::Instant::now();
        for _ in 0..ROUNDS {
            black_box(acl.authorize(black_box(path), Operation::Read, empty(), None).is_allowed());
        }
        let each = start.elapsed() / ROUNDS;
        println!("{path}: {each:?}");
        assert!(each < Duration::from_nanos(300), "{each:?}");
    }
}
