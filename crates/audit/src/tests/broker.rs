use std::io;
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::Value;
use strongroom_stdx::Secret;

use super::*;
use crate::options::FormatOptions;
use crate::record::{RawJson, Response};
use crate::salt::Salt;

/// Keeps its lines, or fails.
#[derive(Default)]
struct Memory {
    lines: Mutex<Vec<Vec<u8>>>,
    broken: bool,
}

#[async_trait]
impl Device for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn write(&self, line: &[u8]) -> Result<(), AuditError> {
        self.reload().await?;
        self.lines.lock().unwrap().push(line.to_vec());
        Ok(())
    }

    async fn reload(&self) -> Result<(), AuditError> {
        if !self.broken {
            return Ok(());
        }
        let source = Arc::new(io::ErrorKind::StorageFull.into());
        Err(AuditError::Write { device: "memory".to_owned(), source })
    }
}

fn device(path: &str, broken: bool) -> (Arc<EnabledDevice>, Arc<Memory>) {
    let memory = Arc::new(Memory { broken, ..Memory::default() });
    let salt = Salt::new(&Secret::new(path.as_bytes().to_vec()));
    let formatter = Formatter::new(FormatOptions::default(), salt);
    (Arc::new(EnabledDevice::new(path, formatter, memory.clone())), memory)
}

async fn log_both(broker: &Broker, data: &str) -> [Result<(), AuditError>; 2] {
    let auth = Auth { client_token: "hvs.x", ..Auth::default() };
    let request = Request { id: "r", operation: "read", ..Request::default() };
    let response = Response { data: Some(RawJson::new(data)), ..Response::default() };
    let (auth, request, time) = (&auth, &request, Moment::from_secs(1));
    let audited = broker.audit(&RequestRecord { time, auth, request, error: "", forwarded_from: "" });
    let record = ResponseRecord { time, auth: None, response: &response, error: "", forwarded_from: "" };
    [audited.log_request().await, audited.log_response(&record).await]
}

fn only_line(memory: &Memory) -> Value {
    let lines = memory.lines.lock().unwrap();
    assert_eq!(lines.len(), 1);
    serde_json::from_slice(&lines[0]).unwrap()
}

#[tokio::test]
async fn without_devices_everything_passes() {
    let broker = Broker::default();
    assert!(!broker.is_enabled());
    assert!(log_both(&broker, "never looked at").await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn each_device_gets_its_own_line() {
    let (one, one_memory) = device("one/", false);
    let (two, two_memory) = device("two/", false);
    let broker = Broker::new(vec![Arc::clone(&one), Arc::clone(&two)]);
    assert!(broker.is_enabled());
    assert!(log_both(&broker, "{}").await.iter().all(Result::is_ok));
    for (device, memory) in [(&one, one_memory), (&two, two_memory)] {
        let lines = memory.lines.lock().unwrap();
        let records: Vec<Value> = lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!(records.iter().map(|record| &record["type"]).collect::<Vec<_>>(), ["request", "response"]);
        assert_eq!(records[1]["auth"]["client_token"], device.hash("hvs.x"));
    }
    assert_ne!(one.hash("hvs.x"), two.hash("hvs.x"));
    assert_eq!(broker.get("two/").unwrap().path(), "two/");
    assert!(broker.get("three/").is_none());
    assert_eq!(broker.devices().len(), 2);
}

#[tokio::test]
async fn one_device_that_works_is_enough() {
    let (fails, _) = device("broken/", true);
    let (works, memory) = device("works/", false);
    let broker = Broker::new(vec![Arc::clone(&fails), Arc::clone(&works)]);
    assert!(log_both(&broker, "{}").await.iter().all(Result::is_ok));
    assert_eq!(memory.lines.lock().unwrap().len(), 2);
    let failed = DeviceCounters { request_failures: 1, response_failures: 1, ..DeviceCounters::default() };
    assert_eq!(fails.counters(), failed);
    let taken = DeviceCounters { requests: 1, responses: 1, ..DeviceCounters::default() };
    assert_eq!(works.counters(), taken);
}

#[tokio::test]
async fn a_record_no_device_takes_stops_the_request() {
    for count in 1..=2 {
        let devices = (0..count).map(|_| device("broken/", true).0).collect();
        let [request, response] = log_both(&Broker::new(devices), "{}").await;
        assert_eq!(request.unwrap_err().to_string(), "no audit backend succeeded in logging the request");
        assert_eq!(response.unwrap_err().to_string(), "no audit backend succeeded in logging the response");
    }
}

#[tokio::test]
async fn data_that_cannot_be_rendered_stops_the_response() {
    let (device, memory) = device("file/", false);
    let [request, response] = log_both(&Broker::new(vec![Arc::clone(&device)]), "{\"a\":\n").await;
    assert!(request.is_ok());
    assert!(matches!(response, Err(AuditError::Unlogged(RecordKind::Response))));
    assert_eq!(only_line(&memory)["type"], "request");
    assert_eq!(device.counters().response_failures, 1);
}

#[tokio::test]
async fn a_device_is_tested_with_a_record_of_its_own() {
    let (device, memory) = self::device("file/", false);
    device.test(Moment::from_nanos(1_500_000_000), "an-id").await.unwrap();
    let expected = serde_json::json!({
        "time": "1970-01-01T00:00:01.5Z",
        "type": "request",
        "auth": {"token_type": "default"},
        "request": {
            "id": "an-id", "operation": "update", "namespace": {"id": "root"}, "path": "sys/audit/test",
        },
    });
    assert_eq!(only_line(&memory), expected);
    assert_eq!(device.counters(), DeviceCounters::default());

    let (broken, _) = self::device("file/", true);
    let error = broken.test(Moment::from_secs(1), "an-id").await.unwrap_err();
    assert!(error.to_string().starts_with("audit backend failed test message: write memory: "), "{error}");
}

#[tokio::test]
async fn reload_reaches_all_and_reports_the_first_failure() {
    let (broken, _) = device("broken/", true);
    let (works, _) = device("works/", false);
    assert!(Broker::new(vec![Arc::clone(&works)]).reload().await.is_ok());
    assert!(Broker::new(vec![broken, works]).reload().await.is_err());
}
