//! The cost of the audit records of a request: `cargo run -p strongroom-audit --release --example record_cost`.
//!
//! Renders both records of a KV read whose data has ten strings, then logs them to a file from one task and from 32.
#![allow(clippy::print_stdout, reason = "an example that measures has to say what it found")]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use strongroom_audit::{
    Auth, Broker, EnabledDevice, FormatOptions, Formatter, GrantingPolicy, Mount, Namespace, Origin,
    PolicyResults, RawJson, Request, RequestRecord, Response, ResponseRecord, Salt, open_device,
};
use strongroom_stdx::{Clock, Moment, Secret};

const RENDERED: u32 = 200_000;
const LOGGED: u32 = 100_000;
const DATA: &str = r#"{"data":{"host":"db1.example.com","user":"app","password":"correct horse battery staple",
"port":5432,"database":"orders","sslmode":"verify-full","ca":"-----BEGIN CERTIFICATE-----\nMIIB\n","note":"rotated
 weekly","owner":"team-orders"},"metadata":{"created_time":"2026-11-23T18:14:57.947815764Z","custom_metadata":null,
"deletion_time":"","destroyed":false,"version":7}}"#;

fn report(what: &str, count: u32, total: Duration) {
    println!("{what:<20} {:>10.2?}", total.checked_div(count).unwrap_or_default());
}

fn salt() -> Salt {
    Salt::new(&Secret::new(b"5d2a5bd0-6ad5-4b3b-a2b8-e1d1c0b3f1f4".to_vec()))
}

/// Calls `with` with the record. All of it is borrowed, as a server's would be.
async fn with_record<T>(
    policies: &[String],
    data: &str,
    with: impl AsyncFnOnce(&RequestRecord<'_>, &ResponseRecord<'_>) -> T,
) -> T {
    let granting =
        [GrantingPolicy { name: "app", namespace_id: "root", policy_type: "acl", ..Default::default() }];
    let auth = Auth {
        client_token: "hvs.CAESIJT2KM9n2KJqgE267EHJSY0c4NWtTRnBsNWhzUDkQZQ",
        accessor: "bwMAYYBByYBMYs6YbWggfXdA",
        display_name: "approle",
        policies,
        token_policies: policies,
        policy_results: Some(PolicyResults { allowed: true, granting_policies: &granting }),
        entity_id: "21c8fc9b-8867-7425-cabd-3bad0721f7d7",
        token_type: "service",
        token_ttl: 2_764_800,
        token_issue_time: Some(Moment::from_secs(1_795_457_649)),
        ..Auth::default()
    };
    let mount = Mount {
        point: "secret/",
        mount_type: "kv",
        accessor: "kv_330ef3b5",
        running_version: "v0.1.0+builtin",
        class: "secret",
        ..Mount::default()
    };
    let request = Request {
        id: "76eb77b4-f30e-28ee-29e1-86f6ee1290d4",
        client_id: "21c8fc9b-8867-7425-cabd-3bad0721f7d7",
        operation: "read",
        mount,
        client_token: auth.client_token,
        client_token_accessor: auth.accessor,
        namespace: Namespace { id: "root", path: "" },
        path: "secret/data/app/database",
        remote_address: "127.0.0.1",
        remote_port: 49672,
        ..Request::default()
    };
    let response = Response { mount, data: Some(RawJson::new(data)), ..Response::default() };
    let time = Moment::from_nanos(1_795_457_649_894_683_131);
    let asked = RequestRecord { time, auth: &auth, request: &request, error: "", forwarded_from: "" };
    let record = ResponseRecord { time, auth: None, response: &response, error: "", forwarded_from: "" };
    with(&asked, &record).await
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = Clock::system();
    let policies: Arc<[String]> = ["app".to_owned(), "default".to_owned()].into();
    // The text of a compact object, as a server writes it.
    let data: Arc<str> = DATA.replace('\n', "").into();

    let key = salt();
    let start = clock.now();
    for _ in 0..RENDERED {
        black_box(key.hash(black_box("correct horse battery staple")));
    }
    report("hash one string", RENDERED, clock.now().since(start));

    let formatter = Formatter::new(FormatOptions::default(), salt());
    let start = clock.now();
    let size = with_record(&policies, &data, async |asked, record| {
        for _ in 1..RENDERED {
            let asked = formatter.request(black_box(asked));
            black_box(formatter.response(black_box(record), &asked)).ok();
        }
        let asked = formatter.request(asked);
        formatter.response(record, &asked).map(|line| asked.text().len().saturating_add(line.len()))
    })
    .await?;
    report(&format!("render {size} bytes"), RENDERED, clock.now().since(start));

    let file = std::env::temp_dir().join(format!("record_cost.{}.log", std::process::id()));
    let options = BTreeMap::from([("file_path".to_owned(), file.display().to_string())]);
    for tasks in [1_u32, 32] {
        let opened = open_device("file", &options, false, Origin::Declared)?;
        let device = EnabledDevice::new("file/", Formatter::new(opened.format, salt()), opened.device);
        let broker = Broker::new(vec![Arc::new(device)]);
        let start = clock.now();
        let logging = (0..tasks).map(|_| {
            let (broker, policies, data) = (broker.clone(), Arc::clone(&policies), Arc::clone(&data));
            tokio::spawn(async move {
                for _ in 0..LOGGED.div_euclid(tasks) {
                    let log = async |asked: &RequestRecord<'_>, record: &ResponseRecord<'_>| {
                        let audited = broker.audit(asked);
                        audited.log_request().await?;
                        audited.log_response(record).await
                    };
                    with_record(&policies, &data, log).await?;
                    // A task alone would only wake the scheduler for nothing.
                    if tasks > 1 {
                        tokio::task::yield_now().await;
                    }
                }
                Ok::<(), strongroom_audit::AuditError>(())
            })
        });
        for task in join_all(logging).await {
            task??;
        }
        report(&format!("log from {tasks} tasks"), LOGGED, clock.now().since(start));
        std::fs::remove_file(&file)?;
    }
    Ok(())
}
