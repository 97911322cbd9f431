//! `operator raft autopilot`.

use serde_json::{Value, json};

use super::answered;

const STATE: &str = r#"{"request_id":"r","data":{"healthy":true,"failure_tolerance":1,"leader":"n1","voters":["n1","n2","n3"],"non_voters":["n4"],
"servers":{"n1":{"id":"n1","name":"n1","address":"127.0.0.1:8201","node_status":"alive","last_contact":"0s","last_term":3,"last_index":61,
"healthy":true,"stable_since":"2024-08-29T16:02:45Z","status":"leader","node_type":"voter","version":"2.0.0"},
"n4":{"id":"n4","name":"n4","address":"127.0.0.1:8207","node_status":"alive","last_contact":"12.5s","last_term":0,"last_index":0,
"healthy":false,"stable_since":"2024-08-29T16:02:45Z","status":"non-voter","node_type":"voter"}}}}"#;

#[tokio::test]
async fn the_state_is_told_as_vault_tells_it() {
    let done = answered(&[(200, STATE)]).run(&["operator", "raft", "autopilot", "state"]).await;
    assert_eq!(done.asked, ["GET sys/storage/raft/autopilot/state"]);
    let expected = "\
Healthy:                         true
Failure Tolerance:               1
Leader:                          n1
Voters:
   n1
   n2
   n3
Non Voters:
   n4
Servers:
   n1
      Name:              n1
      Address:           127.0.0.1:8201
      Status:            leader
      Node Status:       alive
      Healthy:           true
      Last Contact:      0s
      Last Term:         3
      Last Index:        61
      Version:           2.0.0
      Node Type:         voter
   n4
      Name:              n4
      Address:           127.0.0.1:8207
      Status:            non-voter
      Node Status:       alive
      Healthy:           false
      Last Contact:      12.5s
      Last Term:         0
      Last Index:        0
      Node Type:         voter
";
    assert_eq!((done.code, done.out.as_str()), (0, expected), "{}", done.err);
    let done =
        answered(&[(200, STATE)]).run(&["operator", "raft", "autopilot", "state", "-format=json"]).await;
    let told: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(told["servers"]["n4"]["last_contact"], "12.5s");
}

#[tokio::test]
async fn the_configuration_is_shown_and_changed() {
    let config = r#"{"data":{"cleanup_dead_servers":false,"dead_server_last_contact_threshold":"24h0m0s",
"disable_upgrade_migration":false,"last_contact_threshold":"10s","max_trailing_logs":1000,"min_quorum":0,"server_stabilization_time":"10s"}}"#;
    let done = answered(&[(200, config)]).run(&["operator", "raft", "autopilot", "get-config"]).await;
    let expected = "\
Key                                   Value
---                                   -----
Cleanup Dead Servers                  false
Last Contact Threshold                10s
Dead Server Last Contact Threshold    24h0m0s
Server Stabilization Time             10s
Min Quorum                            0
Max Trailing Logs                     1000
Disable Upgrade Migration             false
";
    assert_eq!((done.code, done.out.as_str()), (0, expected), "{}", done.err);
    let words = [
        "operator",
        "raft",
        "autopilot",
        "set-config",
        "-cleanup-dead-servers=true",
        "-min-quorum=3",
        "-dead-server-last-contact-threshold=1h",
        "-server-stabilization-time",
        "20s",
    ];
    let done = answered(&[(204, "")]).run(&words).await;
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{}", done.err);
    let (asked, body) = done.asked[0].split_once('\n').unwrap();
    assert!(asked == "PUT sys/storage/raft/autopilot/configuration" || asked.starts_with("POST "), "{asked}");
    let sent: Value = serde_json::from_str(body).unwrap();
    let expected = json!({
        "cleanup_dead_servers": true, "min_quorum": 3, "dead_server_last_contact_threshold": "1h0m0s",
        "server_stabilization_time": "20s",
    });
    assert_eq!(sent, expected, "what no flag names is not sent");
}
