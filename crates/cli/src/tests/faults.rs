//! Calls that went wrong once: fields, wrapping, responses of other shapes, warnings of errors, outputs of other kinds.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use super::{V1, V2, answered};

const WRAPPED: &str = r#"{"wrap_info":{"token":"hvs.wrap","accessor":"a","ttl":60,"creation_time":"2026-11-23T18:14:32Z",
    "creation_path":"p"},"data":null}"#;

#[tokio::test]
async fn a_field_is_the_secrets_own() {
    let v2 = r#"{"renewable":false,"data":{"data":{"renewable":"yes","request_id":"mine","data":"d"},"metadata":{}}}"#;
    for (field, wanted) in [("renewable", "yes"), ("request_id", "mine"), ("data", "d")] {
        let done = answered(&[(200, V2), (200, v2)])
            .run(&["kv", "get", &format!("-field={field}"), "secret/a"])
            .await;
        assert_eq!((done.code, done.out.as_str()), (0, wanted));
    }
    let done = answered(&[(200, V2), (200, v2)]).run(&["kv", "get", "-field=lease_id", "secret/a"]).await;
    assert_eq!((done.code, done.err.as_str()), (1, "Field \"lease_id\" not present in secret\n"));
    let v1 =
        r#"{"lease_duration":2764800,"renewable":false,"data":{"renewable":"yes","lease_duration":"mine"}}"#;
    for (field, wanted) in [("renewable", "yes"), ("lease_duration", "mine"), ("refresh_interval", "2764800")]
    {
        let field = format!("-field={field}");
        let done = answered(&[(200, V1), (200, v1)]).run(&["kv", "get", &field, "kv1/a"]).await;
        assert_eq!((done.code, done.out.as_str()), (0, wanted));
        let done = answered(&[(200, v1)]).run(&["read", &field, "kv1/a"]).await;
        assert_eq!((done.code, done.out.as_str()), (0, wanted));
    }
}

#[tokio::test]
async fn the_field_data_is_the_inner_one() {
    let done = answered(&[(200, r#"{"data":{"data":{"a":"1"},"metadata":{"version":1}}}"#)])
        .run(&["read", "-format=json", "-field=data", "secret/data/a"])
        .await;
    assert_eq!(done.out, "{\n  \"a\": \"1\"\n}");
    let done = answered(&[(200, r#"{"data":{"a":"1"}}"#)]).run(&["read", "-field=data", "cubbyhole/a"]).await;
    assert_eq!(done.out, "map[a:1]");
}

#[tokio::test]
async fn what_is_wrapped_shows_its_wrapping() {
    let calls: [(&[&str], &[&str]); 12] = [
        (&["kv", "get", "secret/a"], &[V2]),
        (&["kv", "put", "secret/a", "b=c"], &[V2]),
        (&["kv", "metadata", "get", "secret/a"], &[V2]),
        (&["kv", "list", "secret/"], &[V2]),
        (&["list", "secret/metadata"], &[]),
        (&["read", "secret/data/a"], &[]),
        (&["policy", "read", "p"], &[]),
        (&["policy", "list"], &[]),
        (&["secrets", "list"], &[]),
        (&["token", "capabilities", "secret/a"], &[]),
        (&["operator", "key-status"], &[]),
        (&["auth", "enable", "userpass"], &[]),
    ];
    for (words, before) in calls {
        let answers: Vec<(u16, &str)> =
            before.iter().map(|body| (200, *body)).chain([(200, WRAPPED)]).collect();
        let done = answered(&answers).env("VAULT_WRAP_TTL", "60s").run(words).await;
        assert_eq!(done.code, 0, "{words:?} {}", done.err);
        assert!(done.out.contains("wrapping_token:                  hvs.wrap\n"), "{words:?} {}", done.out);
    }
    let words = ["kv", "get", "-wrap-ttl=60s", "-field=wrapping_token", "secret/a"];
    let done = answered(&[(200, V2), (200, WRAPPED)]).run(&words).await;
    assert_eq!((done.code, done.out.as_str()), (0, "hvs.wrap"));
}

#[tokio::test]
async fn a_response_without_an_envelope_is_shown() {
    let health = r#"{"initialized":true,"sealed":false,"version":"2.0.0"}"#;
    let done = answered(&[(200, health)]).run(&["read", "sys/health"]).await;
    assert_eq!(done.code, 0);
    assert_eq!(
        done.out,
        "Key            Value\n---            -----\ninitialized    true\nsealed         false\nversion        2.0.0\n"
    );
    let done = answered(&[(200, health)]).run(&["read", "-field=version", "sys/health"]).await;
    assert_eq!(done.out, "2.0.0");
}

#[tokio::test]
async fn members_and_init_status_have_vaults_json() {
    let nodes = r#"{"request_id":"r","nodes":[{"hostname":"h"}],"data":{"nodes":[{"hostname":"h"}]}}"#;
    let done = answered(&[(200, nodes)]).run(&["operator", "members", "-format=json"]).await;
    assert_eq!(done.out, "{\n  \"Nodes\": [\n    {\n      \"hostname\": \"h\"\n    }\n  ]\n}\n");
    let words = ["operator", "init", "-status", "-format=json"];
    let done = answered(&[(200, r#"{"initialized":true}"#)]).run(&words).await;
    assert_eq!((done.code, done.out.as_str()), (0, "{\n  \"Initialized\": true\n}\n"));
    let done = answered(&[(200, r#"{"initialized":false}"#)]).run(&words).await;
    assert_eq!((done.code, done.out.as_str()), (2, "{\n  \"Initialized\": false\n}\n"));
}

/// On version 2 of KV, a path of version 1 is answered with 404 and the warning that says what to do instead.
#[tokio::test]
async fn an_error_comes_with_its_warnings() {
    let body = r#"{"errors":[],"warnings":["Invalid path for a versioned K/V secrets engine."]}"#;
    for (words, what) in [
        (&["delete", "secret/app"][..], "Error deleting secret/app: "),
        (&["write", "secret/app", "a=b"], "Error writing data to secret/app: "),
        (&["patch", "secret/app", "a=b"], "Error writing data to secret/app: "),
    ] {
        let done = answered(&[(404, body)]).run(words).await;
        assert_eq!(done.code, 2, "{words:?}");
        assert!(done.err.starts_with(what), "{}", done.err);
        assert!(done.err.contains("\n\nWARNING! The following warnings"), "{}", done.err);
        assert!(done.err.contains("Invalid path for a versioned K/V secrets engine."), "{}", done.err);
        assert_eq!(done.out, "");
    }
    let done = answered(&[(200, V1), (404, body)]).run(&["kv", "delete", "kv1/a"]).await;
    assert_eq!(done.code, 2);
    let done = answered(&[(200, V2), (404, body)]).run(&["kv", "metadata", "delete", "secret/a"]).await;
    assert_eq!(done.code, 2);
}

#[tokio::test]
async fn flags_before_a_command_are_named() {
    for words in [&["-address=http://h", "kv", "get", "a"][..], &["--format=json", "-field=x", "kv", "get"]] {
        let done = answered(&[]).run(words).await;
        assert_eq!((done.code, done.out.as_str()), (1, ""), "{words:?}");
        assert!(
            done.err.starts_with("Invalid flags before the subcommand. If these flags are for\n"),
            "{}",
            done.err
        );
        assert!(done.err.contains("Usage: vault kv get "), "{}", done.err);
    }
    // Entrypoint scripts of images ask so for a command.
    for (words, wanted) in [
        (&["-h", "kv"][..], "Usage: vault kv <subcommand>"),
        (&["--help", "status"], "Usage: vault status [options]"),
        (&["--help", "server"], "Usage: vault server [options]"),
        (&["--help", "-help", "operator", "init"], "Usage: vault operator init [options]"),
        (&["--help", "cat"], "Usage: vault <command> [args]"),
    ] {
        let done = answered(&[]).run(words).await;
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{words:?}");
        assert!(done.out.starts_with(wanted), "{words:?} {}", done.out);
    }
    assert_eq!(answered(&[]).run(&["-zork"]).await.code, 127);
}

#[tokio::test]
async fn the_server_does_not_steer_the_terminal() {
    let body = r#"{"data":{"a":"\u001b]0;title\u0007","\u202eb":"c"},"warnings":["\u001b[2J"]}"#;
    let done = answered(&[(200, body)]).run(&["read", "cubbyhole/x"]).await;
    let shown = done.out + &done.err;
    assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
    let done = answered(&[(403, r#"{"errors":["\u001b[31mno"]}"#)]).run(&["read", "cubbyhole/x"]).await;
    assert!(done.err.ends_with("* \u{fffd}[31mno\n"), "{:?}", done.err);
    // For programs it is as it came.
    let done = answered(&[(200, body)]).run(&["read", "-field=a", "cubbyhole/x"]).await;
    assert_eq!(done.out, "\u{1b}]0;title\u{7}");
}

#[tokio::test]
async fn a_token_that_cannot_be_kept_is_shown() {
    let home = tempfile::tempdir().unwrap();
    // A directory in the place of the file: nobody can write there, not even root.
    let kept = home.path().join(".vault-token");
    fs::create_dir(&kept).unwrap();
    let login = r#"{"auth":{"client_token":"s.new","accessor":"acc"}}"#;
    let words = ["login", "-no-print", "-method=userpass", "username=bob", "password=pw"];
    let done = answered(&[(200, login)])
        .env("HOME", home.path().to_str().unwrap())
        .env("VAULT_TOKEN", "s.old")
        .run(&words)
        .await;
    assert_eq!(done.code, 2);
    let wanted = format!("Error storing token: Error calling token helper: store: open {}: ", kept.display());
    assert!(done.err.starts_with(&wanted), "{}", done.err);
    assert!(
        done.err.contains("Authentication was successful, but the token was not persisted."),
        "{}",
        done.err
    );
    assert!(done.out.contains("token                s.new\n"), "{}", done.out);
}

#[tokio::test]
async fn a_login_with_a_token_wraps_only_what_it_does_not_keep() {
    let home = tempfile::tempdir().unwrap();
    let found = r#"{"data":{"id":"s.new","accessor":"acc","policies":["default"]}}"#;
    let login = async |words: &[&str], body: &str| {
        let server = answered(&[(200, body)]).env("HOME", home.path().to_str().unwrap());
        server.env("VAULT_WRAP_TTL", "60s").run(words).await
    };
    let done = login(&["login", "s.new"], found).await;
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    assert!(done.out.contains("token                s.new\n"), "{}", done.out);
    assert_eq!(done.wrap_ttls, [None]);
    let done = login(&["login", "-no-store", "s.new"], WRAPPED).await;
    assert_eq!(done.wrap_ttls, [Some("1m0s".to_owned())]);
    assert!(done.out.contains("wrapping_token:                  hvs.wrap\n"), "{}", done.out);
}

#[tokio::test]
async fn nothing_found_is_a_failure_that_shows_its_reason() {
    let body = r#"{"warnings":["Invalid path for a versioned K/V secrets engine."]}"#;
    for words in [&["read", "secret/app"][..], &["list", "secret/"], &["read", "-format=json", "secret/app"]]
    {
        let done = answered(&[(404, body)]).run(words).await;
        assert_eq!(done.code, 2, "{words:?}");
        assert!((done.out + &done.err).contains("Invalid path for a versioned K/V"), "{words:?}");
        assert!(
            done.err
                .ends_with(&format!("No value found at {}\n", words.last().unwrap().trim_end_matches('/'))),
            "{}",
            done.err
        );
    }
}

#[tokio::test]
async fn a_snapshot_goes_where_the_path_leads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let save = async |name: &str| {
        let target = path(name);
        answered(&[(200, "snapshot")]).run(&["operator", "raft", "snapshot", "save", &target]).await
    };
    assert_eq!(save("new").await.code, 0);
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((fs::read_to_string(path("new")).unwrap().as_str(), mode("new")), ("snapshot", 0o600));
    fs::write(path("old"), "a longer text than that").unwrap();
    fs::set_permissions(path("old"), fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink("old", path("link")).unwrap();
    assert_eq!(save("link").await.code, 0);
    assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
    assert_eq!((fs::read_to_string(path("old")).unwrap().as_str(), mode("old")), ("snapshot", 0o644));
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    let pipe = path("pipe");
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(save("pipe").await.code, 0);
    assert_eq!(reading.join().unwrap(), "snapshot");
    assert!(fs::symlink_metadata(path("pipe")).unwrap().file_type().is_fifo());
    // A failure leaves what was there, and nothing beside it.
    let target = path("old");
    let done = answered(&[(500, "{}")]).run(&["operator", "raft", "snapshot", "save", &target]).await;
    assert_eq!(done.code, 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

async fn completed(answers: &[(u16, &str)], line: &str) -> String {
    let done = answered(answers).env("COMP_LINE", line).run(&[]).await;
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    done.out
}

#[tokio::test]
async fn completes_commands_and_flags() {
    assert_eq!(completed(&[], "vault sec").await, "secrets\n");
    assert!(completed(&[], "vault kv ").await.contains("get\n"));
    assert_eq!(completed(&[], "vault kv get -mou").await, "-mount\n");
    assert_eq!(completed(&[], "vault kv get --mou").await, "--mount\n");
    let done = answered(&[]).env("COMP_LINE", "vault sec xyz").env("COMP_POINT", "9").run(&[]).await;
    assert_eq!(done.out, "secrets\n");
    assert!(completed(&[], "vault ").await.contains("status\n"));
    assert_eq!(completed(&[], "vault server -dev").await, "-dev\n-dev-tls\n");
    assert_eq!(completed(&[], "vault secrets zork ").await, "");
}

#[tokio::test]
async fn completes_values() {
    assert_eq!(completed(&[], "vault read -format=j").await, "-format=json\n");
    assert_eq!(completed(&[], "vault read -format ").await, "json\npretty\nraw\ntable\nyaml\n");
    assert_eq!(completed(&[], "vault secrets enable -path=x t").await, "transit\n");
    assert_eq!(completed(&[], "vault auth enable ").await, "approle\nuserpass\n");
    assert_eq!(completed(&[], "vault token create -type=").await, "-type=batch\n-type=service\n");
    assert_eq!(completed(&[], "vault kv patch -method r").await, "rw\n");
    assert_eq!(
        completed(&[], "vault secrets tune -listing-visibility=u").await,
        "-listing-visibility=unauth\n"
    );
    assert_eq!(completed(&[], "vault server -log-level=i").await, "-log-level=info\n");
    assert_eq!(completed(&[], "vault server -log-level ").await, "info\nwarn\n");
    assert_eq!(completed(&[], "vault audit enable f").await, "file\n");
    let mounts =
        r#"{"data":{"secret":{"secret/":{},"kv\u001b/":{},"kv1/":{}},"auth":{"token/":{},"up/":{}}}}"#;
    assert_eq!(completed(&[(200, mounts)], "vault secrets disable ").await, "kv1/\nsecret/\n");
    assert_eq!(completed(&[(200, mounts)], "vault auth tune t").await, "token/\n");
    assert_eq!(completed(&[(200, mounts)], "vault kv get -mount=k").await, "-mount=kv1/\n");
    assert_eq!(completed(&[(200, mounts)], "vault kv put -cas 1 s").await, "secret/\n");
    assert_eq!(completed(&[(200, mounts)], "vault read a").await, "auth/\n");
    assert_eq!(completed(&[(200, mounts)], "vault read auth/u").await, "auth/up/\n");
    let keys = r#"{"data":{"keys":["app","apps/","default"]}}"#;
    assert_eq!(
        completed(&[(200, keys)], "vault read cubbyhole/ap").await,
        "cubbyhole/app\ncubbyhole/apps/\n"
    );
    assert_eq!(completed(&[(200, keys)], "vault policy read d").await, "default\n");
    assert_eq!(completed(&[(200, keys)], "vault token create -policy d").await, "default\n");
    // A server that does not answer, or not that, offers nothing and breaks nothing.
    assert_eq!(completed(&[(403, "{}")], "vault policy read ").await, "");
    assert_eq!(completed(&[], "vault kv get a b ").await, "");
}

/// The length of a pipe is not known before its end: it was taken for empty.
#[tokio::test]
async fn a_snapshot_is_restored_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    let target = pipe.to_str().unwrap().to_owned();
    let writing = std::thread::spawn(move || fs::write(pipe, "snapshot").unwrap());
    let done = answered(&[(204, "")]).run(&["operator", "raft", "snapshot", "restore", &target]).await;
    writing.join().unwrap();
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.asked[0].contains("snapshot"), "{:?}", done.asked);
    assert!(done.asked[0].ends_with("8\r\nsnapshot\r\n0"), "{:?}", done.asked);
}
