//! `sys/internal/counters/root-tokens`: how often root tokens were made and used. Vault has no such endpoint.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_barrier::View;
use strongroom_engine_api::{Data, Engine, EngineError, Extension};
use strongroom_pipeline::Started;
use strongroom_tokens::{RootTokenCounts, TokenStore};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("internal/counters/root-tokens", |r| {
        r.read("Count the root tokens that were made and the requests with one.", counts)
    })
}

/// The counts of the node that answers.
#[derive(Serialize, JsonSchema)]
struct Counts {
    /// Root tokens that were made.
    created: u64,
    /// Requests with a root token; this one counts if it has one.
    requests: u64,
    /// The time since which it is counted (RFC 3339): the start of this node.
    since: String,
}

async fn counts(
    Extension(tokens): Extension<TokenStore>,
    Extension(started): Extension<Started>,
    _view: View,
) -> Result<Data<Counts>, EngineError> {
    let RootTokenCounts { made, requests } = tokens.root_token_counts();
    Ok(Data(Counts { created: made, requests, since: started.0.rfc3339() }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use std::time::Duration;
    use strongroom_pipeline::Verb;
    use strongroom_testkit::LogLines;
    use strongroom_tokens::{NewToken, TokenEntry};

    use crate::testing::Server;

    fn root() -> TokenEntry {
        TokenEntry {
            policies: vec!["root".to_owned()],
            display_name: "token-ann".to_owned(),
            ..TokenEntry::default()
        }
    }

    #[tokio::test]
    async fn root_tokens_are_counted_as_they_are_made_and_used() {
        let server = Server::new().await;
        let counts = async || {
            let told = server.read("sys/internal/counters/root-tokens").await;
            (told.data()["created"].as_u64().unwrap(), told.data()["requests"].as_u64().unwrap())
        };
        assert_eq!(counts().await, (1, 1), "initialization has made one");
        let other = server.token_of(root()).await;
        for path in ["sys/mounts", "sys/nowhere"] {
            server.ask_as(&other, Verb::Read, path, json!({})).await;
        }
        let plain = server.token(&["default"]).await;
        server.ask_as(&plain, Verb::Read, "sys/mounts", json!({})).await;
        server.ask_as("", Verb::Read, "sys/health", json!({})).await;
        assert_eq!(counts().await, (2, 4));
        let since = server.read("sys/internal/counters/root-tokens").await.data()["since"].clone();
        assert_eq!(since, "2023-11-14T22:13:20Z");
        let refused = server.ask_as(&plain, Verb::Read, "sys/internal/counters/root-tokens", json!({})).await;
        assert_eq!(refused.status, 403);
    }

    #[tokio::test]
    async fn the_log_tells_of_new_ones_and_of_their_use_once_an_hour() {
        let server = Server::new().await;
        let log = LogLines::capture();
        let told = |what: &str| log.take().iter().filter(|line| line.contains(what)).count();
        let (other, _) =
            server.make_token(NewToken { entry: root(), without_end: true, ..NewToken::default() }).await;
        let lines = log.take();
        let made: Vec<_> = lines.iter().filter(|line| line.contains("root token created")).collect();
        assert!(made.len() == 1 && made[0].contains("token-ann") && !made[0].contains("hvs."), "{lines:?}");
        let use_it = async || server.ask_as(&other, Verb::Read, "sys/mounts", json!({})).await;
        use_it().await;
        assert_eq!(told("root token used"), 0, "it was told of a moment ago");
        server.clock.advance(Duration::from_hours(1));
        use_it().await;
        let lines = log.take();
        let used: Vec<_> = lines.iter().filter(|line| line.contains("root token used")).collect();
        assert!(
            used.len() == 1 && used[0].contains("sys/mounts") && used[0].contains("127.0.0.1"),
            "{lines:?}"
        );
        use_it().await;
        assert_eq!(told("root token used"), 0, "it is known");
        server.clock.advance(Duration::from_hours(1));
        use_it().await;
        assert_eq!(told("root token used"), 1);
        let plain = server.token(&["default"]).await;
        server.ask_as(&plain, Verb::Read, "sys/mounts", json!({})).await;
        assert_eq!(told("root token"), 0);
    }

    #[tokio::test]
    async fn records_are_marked() {
        let server = Server::new().await;
        let path = std::env::temp_dir().join(format!("strongroom-root-use-{}.log", std::process::id()));
        let options = json!({"type": "file", "options": {"file_path": path}});
        assert_eq!(server.write("sys/audit/file", options).await.status, 204);
        server.read("sys/mounts").await;
        let plain = server.token(&["default"]).await;
        server.ask_as(&plain, Verb::Read, "sys/mounts", json!({})).await;
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of_mounts: Vec<_> = records.iter().filter(|r| r["request"]["path"] == "sys/mounts").collect();
        let marks: Vec<_> = of_mounts.iter().map(|record| record["auth"].get("is_root").cloned()).collect();
        assert_eq!(marks, [Some(json!(true)), Some(json!(true)), None, None]);
    }
}
