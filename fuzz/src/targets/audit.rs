//! Audit records of what a stranger sends.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use strongroom_audit::{
    Auth, FormatOptions, Formatter, Header, RawJson, Request, RequestRecord, Response, ResponseRecord, Salt,
    WrapInfo,
};
use strongroom_stdx::{Moment, Secret};

use super::{parts, text};
use crate::Target;

pub(super) const RECORD: Target = Target {
    name: "audit",
    run: record,
    made: crate::no_inputs,
    seeds: &[
        b"\0secret/data/a\0update\0{\"data\": {\"a\": \"b\", \"c\": [1, \"x\", null]}}\0X-Header",
        b"\x01sys/mounts\0list\0{\"keys\": [\"a\", \"b\"], \"key_info\": {\"a\": {}}}\0\r\n",
        b"\x07\"\\\0\xff\0{\"a\":\"\\u2028\\n\\ud83d\\ude00\"}\0\x1b[0m",
    ],
    words: &[
        "\n", "\r\n", "\"", "\\", "{", "}", "[", "]", ":", ",", "\0", "\u{2028}", "\\u000a", "\\ud800",
        "1e5", "null", "\u{1b}", "\u{7f}",
    ],
};

/// No string of a request may contain it, so that a line that does has leaked a secret.
const MARK: &str = "5ecre7-f00d";

/// Options, path, operation, data, other text: a record is one line that is one JSON object, and no secret stands in it.
fn record(input: &[u8]) {
    let [first, operation, data, other] = parts(input);
    let (switches, path) = first.split_first().map_or((0, first), |(switches, path)| (*switches, path));
    let (path, operation, data, other) = (text(path), text(operation), text(data), text(other));
    if [&path, &operation, &data, &other].iter().any(|text| text.contains(MARK)) {
        return;
    }
    let options = FormatOptions {
        log_raw: false,
        hmac_accessor: switches & 1 == 0,
        elide_list_responses: switches & 2 == 0,
        prefix: String::new(),
    };
    let formatter = Formatter::new(options, Salt::new(&Secret::new(b"a salt".to_vec())));
    let token = format!("hvs.{MARK}{other}");
    let policies = [other.to_string(), path.to_string()];
    let metadata = BTreeMap::from([(other.to_string(), path.to_string())]);
    let auth = Auth {
        client_token: &token,
        accessor: &other,
        display_name: &other,
        policies: &policies,
        metadata: Some(&metadata),
        entity_id: &path,
        ..Auth::default()
    };
    let mut secrets: Map<String, Value> = serde_json::from_str(&data).unwrap_or_default();
    secrets.values_mut().for_each(conceal);
    let headers = [Header { name: &other, values: &[&other, &path], hmac: switches & 4 == 0 }];
    let request = Request {
        id: &other,
        operation: &operation,
        path: &path,
        client_token: &token,
        data: Some(&secrets),
        headers: &headers,
        remote_address: &other,
        request_uri: &path,
        ..Request::default()
    };
    let time = Moment::from_nanos(1_700_000_000_123_456_789);
    let asked = RequestRecord { time, auth: &auth, request: &request, error: &other, forwarded_from: "" };
    let asked = formatter.request(&asked);
    check(asked.text());
    let wrap =
        WrapInfo { ttl: 60, token: &token, accessor: &other, creation_path: &path, ..WrapInfo::default() };
    for answer in [Value::Object(secrets.clone()).to_string().as_str(), &data] {
        let response = Response {
            auth: Some(auth),
            data: Some(RawJson::new(answer)),
            warnings: &policies,
            wrap_info: Some(wrap),
            lease_id: Some(&other),
            ..Response::default()
        };
        for auth in [None, Some(&auth)] {
            let record = ResponseRecord { time, auth, response: &response, error: "", forwarded_from: "" };
            match formatter.response(&record, &asked) {
                // The server gives its own JSON; of other text it is enough that it forges no second line.
                Ok(line) if serde_json::from_str::<Map<String, Value>>(answer).is_ok() => check(&line),
                Ok(line) => one_line(&line),
                Err(_) => {
                    let object = serde_json::from_str::<Map<String, Value>>(answer);
                    assert!(object.is_err(), "an object is refused");
                }
            }
        }
    }
}

/// Makes every string of a value a secret.
fn conceal(value: &mut Value) {
    match value {
        Value::String(text) => text.insert_str(0, MARK),
        Value::Array(items) => items.iter_mut().for_each(conceal),
        Value::Object(members) => members.values_mut().for_each(conceal),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check(line: &[u8]) {
    one_line(line);
    let line = std::str::from_utf8(line).expect("a record is UTF-8");
    serde_json::from_str::<Map<String, Value>>(line).expect("a record is a JSON object");
    assert!(!line.contains(MARK), "a secret in {line}");
}

fn one_line(line: &[u8]) {
    let end = line.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    assert_eq!(end, Some(line.len()), "a line ends at its end");
}
