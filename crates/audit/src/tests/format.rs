use serde_json::{Map, Value, json};
use strongroom_stdx::Secret;

use super::*;
use crate::record::RawJson;

fn formatter(options: FormatOptions) -> Formatter {
    Formatter::new(options, Salt::new(&Secret::new(b"salt".to_vec())))
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("not an object: {other}"),
    }
}

const TIME: Moment = Moment::from_nanos(1_795_457_649_894_683_131);
const ISSUED: Moment = Moment::from_nanos(1_795_457_649_000_000_001);

/// The parts that the records of one read of a KV secret are made of.
struct Read {
    policies: Vec<String>,
    metadata: BTreeMap<String, String>,
    granting: [GrantingPolicy<'static>; 1],
    data: Map<String, Value>,
    clear: Vec<String>,
}

impl Read {
    fn new() -> Self {
        Self {
            policies: strings(&["default", "p1"]),
            metadata: BTreeMap::from([("username".to_owned(), "bob".to_owned())]),
            granting: [GrantingPolicy {
                name: "p1",
                namespace_id: "root",
                policy_type: "acl",
                ..Default::default()
            }],
            data: members(json!({"version": "1"})),
            clear: strings(&["user"]),
        }
    }

    fn auth(&self) -> Auth<'_> {
        Auth {
            client_token: "hvs.token",
            accessor: "the-accessor",
            display_name: "userpass-bob",
            policies: &self.policies,
            token_policies: &self.policies,
            policy_results: Some(PolicyResults { allowed: true, granting_policies: &self.granting }),
            metadata: Some(&self.metadata),
            remaining_uses: 9,
            entity_id: "21c8fc9b",
            token_type: "service",
            token_ttl: 2_764_800,
            token_issue_time: Some(ISSUED),
            ..Auth::default()
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            id: "76eb77b4",
            client_id: "21c8fc9b",
            operation: "read",
            mount: mount(),
            client_token: "hvs.token",
            client_token_accessor: "the-accessor",
            namespace: Namespace { id: "root", path: "" },
            path: "secret/data/foo",
            data: Some(&self.data),
            remote_address: "127.0.0.1",
            remote_port: 49672,
            ..Request::default()
        }
    }

    fn line(&self, options: FormatOptions, response: &Response<'_>) -> String {
        self.line_of(options, &self.request(), response)
    }

    fn line_of(&self, options: FormatOptions, request: &Request<'_>, response: &Response<'_>) -> String {
        let auth = self.auth();
        let asked = RequestRecord { time: ISSUED, auth: &auth, request, error: "", forwarded_from: "" };
        let record = ResponseRecord { time: TIME, auth: None, response, error: "", forwarded_from: "" };
        let formatter = formatter(options);
        String::from_utf8(formatter.response(&record, &formatter.request(&asked)).unwrap()).unwrap()
    }
}

fn mount() -> Mount<'static> {
    Mount {
        point: "secret/",
        mount_type: "kv",
        accessor: "kv_330ef3b5",
        running_version: "v0.1.0+builtin",
        class: "secret",
        ..Mount::default()
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// Puts the salted hash in place of each `#text#`.
fn with_hashes(text: &str) -> String {
    let salt = Salt::new(&Secret::new(b"salt".to_vec()));
    let hash = |(index, part): (usize, &str)| if index % 2 == 1 { salt.hash(part) } else { part.to_owned() };
    text.split('#').enumerate().map(hash).collect()
}

const READ_AUTH: &str = concat!(
    r##""auth":{"client_token":"#hvs.token#","accessor":"#the-accessor#","display_name":"userpass-bob","##,
    r#""policies":["default","p1"],"token_policies":["default","p1"],"#,
    r#""policy_results":{"allowed":true,"granting_policies":[{"name":"p1","namespace_id":"root","type":"acl"}]},"#,
    r#""metadata":{"username":"bob"},"remaining_uses":9,"entity_id":"21c8fc9b","token_type":"service","#,
    r#""token_ttl":2764800,"token_issue_time":"2026-11-23T18:14:09Z"},"#,
);

const READ_REQUEST: &str = concat!(
    r#""request":{"id":"76eb77b4","client_id":"21c8fc9b","operation":"read","mount_point":"secret/","#,
    r#""mount_type":"kv","mount_accessor":"kv_330ef3b5","mount_running_version":"v0.1.0+builtin","#,
    r##""mount_class":"secret","client_token":"#hvs.token#","client_token_accessor":"#the-accessor#","##,
    r##""namespace":{"id":"root"},"path":"secret/data/foo","data":{"version":"#1#"},"##,
    r#""remote_address":"127.0.0.1","remote_port":49672}"#,
);

#[test]
fn a_request_record() {
    let read = Read::new();
    let (auth, request) = (read.auth(), read.request());
    let record = RequestRecord { time: TIME, auth: &auth, request: &request, error: "", forwarded_from: "" };
    let line = formatter(FormatOptions::default()).request(&record).text().to_vec();
    let expected = format!(
        "{{\"time\":\"2026-11-23T18:14:09.894683131Z\",\"type\":\"request\",{READ_AUTH}{READ_REQUEST}}}\n"
    );
    assert_eq!(String::from_utf8(line).unwrap(), with_hashes(&expected));
}

#[test]
fn a_response_record() {
    let read = Read::new();
    let data = r#"{"data":{"password":"s3cret","user":"root"},"metadata":{"destroyed":false,"version":1}}"#;
    let response = Response {
        mount: mount(),
        data: Some(RawJson::new(data)),
        non_hmac_keys: &read.clear,
        ..Response::default()
    };
    let expected = [
        r#"{"time":"2026-11-23T18:14:09.894683131Z","type":"response","#,
        READ_AUTH,
        READ_REQUEST,
        r#","response":{"mount_point":"secret/","mount_type":"kv","mount_accessor":"kv_330ef3b5","#,
        r#""mount_running_plugin_version":"v0.1.0+builtin","mount_class":"secret","#,
        r##""data":{"data":{"password":"#s3cret#","user":"root"},"metadata":{"destroyed":false,"version":1}}}}"##,
        "\n",
    ];
    assert_eq!(read.line(FormatOptions::default(), &response), with_hashes(&expected.concat()));
}

#[test]
fn a_refused_request() {
    let auth = Auth { policy_results: Some(PolicyResults::default()), ..Auth::default() };
    let request = Request {
        id: "r",
        operation: "delete",
        namespace: Namespace { id: "w79gP2", path: "team/" },
        path: "nosuch/foo",
        request_uri: "/v1/team/nosuch/foo",
        ..Request::default()
    };
    let error = "1 error occurred:\n\t* permission denied\n\n";
    let record =
        RequestRecord { time: TIME, auth: &auth, request: &request, error, forwarded_from: "node2:8201" };
    let line =
        String::from_utf8(formatter(FormatOptions::default()).request(&record).text().to_vec()).unwrap();
    let expected = concat!(
        r#"{"time":"2026-11-23T18:14:09.894683131Z","type":"request","#,
        r#""auth":{"policy_results":{"allowed":false},"token_type":"default"},"#,
        r#""request":{"id":"r","operation":"delete","namespace":{"id":"w79gP2","path":"team/"},"#,
        r#""path":"nosuch/foo","request_uri":"/v1/team/nosuch/foo"},"#,
        r#""forwarded_from":"node2:8201","error":"1 error occurred:\n\t* permission denied\n\n"}"#,
        "\n",
    );
    assert_eq!(line, expected);
}

#[test]
fn every_field_there_is() {
    let policies = strings(&["a"]);
    let identity = strings(&["b"]);
    let external = BTreeMap::from([("ns1".to_owned(), strings(&["c"]))]);
    let warnings = strings(&["careful \"now\""]);
    let issued = Auth {
        client_token: "hvs.issued",
        accessor: "issued-accessor",
        policies: &policies,
        identity_policies: &identity,
        external_namespace_policies: Some(&external),
        no_default_policy: true,
        is_root: true,
        num_uses: 3,
        entity_created: true,
        token_type: "batch",
        ..Auth::default()
    };
    let plugin = Mount { running_sha256: "abc123", is_external_plugin: true, ..mount() };
    let (plain, hidden) = (["v1", "v2"], ["h"]);
    let headers = [
        Header { name: "X-Test-Hmac", values: &hidden, hmac: true },
        Header { name: "x-test-plain", values: &plain, hmac: false },
    ];
    let request = Request {
        mount: plugin,
        policy_override: true,
        wrap_ttl: 60,
        headers: &headers,
        client_certificate_serial_number: "4711",
        ..Request::default()
    };
    let response = Response {
        auth: Some(issued),
        mount: plugin,
        lease_id: Some("database/creds/x/1"),
        data: Some(RawJson::new(" { } ")),
        non_hmac_keys: &[],
        warnings: &warnings,
        redirect: "https://idp.example/auth",
        wrap_info: Some(WrapInfo {
            ttl: 60,
            token: "hvs.wrap",
            accessor: "wrap-accessor",
            creation_time: TIME,
            creation_path: "auth/token/create",
            wrapped_accessor: "issued-accessor",
        }),
        headers: &headers,
    };
    let auth = Auth::default();
    let asked =
        RequestRecord { time: ISSUED, auth: &auth, request: &request, error: "no", forwarded_from: "" };
    let record =
        ResponseRecord { time: TIME, auth: None, response: &response, error: "", forwarded_from: "" };
    let formatter = formatter(FormatOptions::default());
    let asked = formatter.request(&asked);
    let line = String::from_utf8(formatter.response(&record, &asked).unwrap()).unwrap();
    let expected = [
        r#"{"time":"2026-11-23T18:14:09.894683131Z","type":"response","auth":{"token_type":"default"},"#,
        r#""request":{"mount_point":"secret/","mount_type":"kv","mount_accessor":"kv_330ef3b5","#,
        r#""mount_running_version":"v0.1.0+builtin","mount_running_sha256":"abc123","mount_class":"secret","#,
        r#""mount_is_external_plugin":true,"namespace":{},"policy_override":true,"wrap_ttl":60,"#,
        r##""headers":{"x-test-hmac":["#h#"],"x-test-plain":["v1","v2"]},"##,
        r#""client_certificate_serial_number":"4711"},"#,
        r##""response":{"auth":{"client_token":"#hvs.issued#","accessor":"#issued-accessor#","##,
        r#""policies":["a"],"identity_policies":["b"],"external_namespace_policies":{"ns1":["c"]},"#,
        r#""no_default_policy":true,"is_root":true,"num_uses":3,"entity_created":true,"token_type":"batch"},"#,
        r#""mount_point":"secret/","mount_type":"kv","mount_accessor":"kv_330ef3b5","#,
        r#""mount_running_plugin_version":"v0.1.0+builtin","mount_running_sha256":"abc123","#,
        r#""mount_class":"secret","mount_is_external_plugin":true,"secret":{"lease_id":"database/creds/x/1"},"#,
        r#""warnings":["careful \"now\""],"redirect":"https://idp.example/auth","#,
        r##""wrap_info":{"ttl":60,"token":"#hvs.wrap#","accessor":"#wrap-accessor#","##,
        r#""creation_time":"2026-11-23T18:14:09.894683131Z","creation_path":"auth/token/create","#,
        r##""wrapped_accessor":"#issued-accessor#"},"headers":{"x-test-hmac":["#h#"],"x-test-plain":["v1","v2"]}}}"##,
        "\n",
    ];
    assert_eq!(line, with_hashes(&expected.concat()));
}

#[test]
fn a_login_shows_who_the_caller_now_is() {
    let read = Read::new();
    let nobody = Auth::default();
    let request = read.request();
    let asked = RequestRecord { time: TIME, auth: &nobody, request: &request, error: "", forwarded_from: "" };
    let response = Response::default();
    let auth = read.auth();
    let record =
        ResponseRecord { time: TIME, auth: Some(&auth), response: &response, error: "", forwarded_from: "" };
    let formatter = formatter(FormatOptions::default());
    let line = formatter.response(&record, &formatter.request(&asked)).unwrap();
    let expected = [
        r#"{"time":"2026-11-23T18:14:09.894683131Z","type":"response","#,
        READ_AUTH,
        READ_REQUEST,
        ",\"response\":{}}\n",
    ];
    assert_eq!(String::from_utf8(line).unwrap(), with_hashes(&expected.concat()));
}

#[test]
fn raw_shows_all_but_the_headers_that_say_otherwise() {
    let read = Read::new();
    let values = ["h"];
    let headers = [Header { name: "x-test", values: &values, hmac: true }];
    let request = Request { headers: &headers, ..read.request() };
    let wrap_info = Some(WrapInfo { token: "hvs.wrap", accessor: "wrap-accessor", ..WrapInfo::default() });
    let response =
        Response { data: Some(RawJson::new(r#"{"password":"s3cret"}"#)), wrap_info, ..Response::default() };
    let options = FormatOptions { log_raw: true, ..FormatOptions::default() };
    let record = parse(&read.line_of(options, &request, &response));
    assert_eq!(record["auth"]["client_token"], "hvs.token");
    assert_eq!(record["auth"]["accessor"], "the-accessor");
    assert_eq!(record["request"]["client_token"], "hvs.token");
    assert_eq!(record["request"]["data"]["version"], "1");
    assert_eq!(record["response"]["data"]["password"], "s3cret");
    assert_eq!(record["response"]["wrap_info"]["token"], "hvs.wrap");
    assert_eq!(record["response"]["wrap_info"]["accessor"], "wrap-accessor");
    assert_eq!(record["request"]["headers"]["x-test"][0], with_hashes("#h#"));
}

#[test]
fn accessors_can_be_shown_while_all_else_is_hidden() {
    let read = Read::new();
    let wrap_info = Some(WrapInfo {
        token: "hvs.wrap",
        accessor: "wrap-accessor",
        wrapped_accessor: "inner",
        ..WrapInfo::default()
    });
    let response =
        Response { data: Some(RawJson::new(r#"{"accessor":"another"}"#)), wrap_info, ..Response::default() };
    let options = FormatOptions { hmac_accessor: false, ..FormatOptions::default() };
    let record = parse(&read.line(options, &response));
    assert_eq!(record["auth"]["client_token"], with_hashes("#hvs.token#"));
    assert_eq!(record["auth"]["accessor"], "the-accessor");
    assert_eq!(record["request"]["client_token_accessor"], "the-accessor");
    assert_eq!(record["response"]["wrap_info"]["token"], with_hashes("#hvs.wrap#"));
    assert_eq!(record["response"]["wrap_info"]["accessor"], "wrap-accessor");
    assert_eq!(record["response"]["wrap_info"]["wrapped_accessor"], "inner");
    assert_eq!(record["response"]["data"]["accessor"], with_hashes("#another#"), "data is data");
}

#[test]
fn only_responses_to_lists_are_elided_and_only_on_request() {
    let read = Read::new();
    let data = RawJson::new(r#"{"key_info":{"a":{}},"keys":["a","b"]}"#);
    let response = Response { data: Some(data), ..Response::default() };
    let eliding = FormatOptions { elide_list_responses: true, ..FormatOptions::default() };
    let keys = |options: &FormatOptions, operation| {
        let request = Request { operation, ..read.request() };
        parse(&read.line_of(options.clone(), &request, &response))["response"]["data"].take()
    };
    assert_eq!(keys(&eliding, "list"), json!({"key_info": 1, "keys": 2}));
    let whole = json!({"key_info": {"a": {}}, "keys": [with_hashes("#a#"), with_hashes("#b#")]});
    assert_eq!(keys(&eliding, "read"), whole);
    assert_eq!(keys(&FormatOptions::default(), "list"), whole);
}

#[test]
fn request_keys_in_clear_are_the_requests_own() {
    let mut read = Read::new();
    read.data =
        members(json!({"user": "root", "password": "s3cret", "nested": {"user": ["x"], "more": 1.50}}));
    let request = Request { non_hmac_keys: &read.clear, ..read.request() };
    let response = Response { data: Some(RawJson::new(r#"{"user":"root"}"#)), ..Response::default() };
    let record = parse(&read.line_of(FormatOptions::default(), &request, &response));
    let expected = json!({
        "user": "root", "password": with_hashes("#s3cret#"), "nested": {"user": ["x"], "more": 1.50},
    });
    assert_eq!(record["request"]["data"], expected);
    assert_eq!(record["response"]["data"]["user"], with_hashes("#root#"));
}

#[test]
fn a_prefix_comes_before_each_line() {
    let options = FormatOptions { prefix: "@cee: ".to_owned(), ..FormatOptions::default() };
    let line = Read::new().line(options, &Response::default());
    assert!(line.starts_with("@cee: {\"time\":"), "{line}");
    assert!(line.ends_with("\"response\":{}}\n"), "{line}");
}

#[test]
fn nothing_a_client_sends_breaks_the_line() {
    let read = Read::new();
    let values = ["a\nb"];
    let headers = [Header { name: "X-\n", values: &values, hmac: false }];
    let request = Request {
        path: "a\n{\"type\":\"request\"}",
        remote_address: "\r\n",
        headers: &headers,
        ..read.request()
    };
    let options = FormatOptions { log_raw: true, ..FormatOptions::default() };
    let line = read.line_of(options, &request, &Response::default());
    assert_eq!(line.matches('\n').count(), 1);
    assert_eq!(parse(&line)["request"]["path"], request.path);
}

#[test]
fn tokens_are_hashed_whatever_is_to_be_shown() {
    let read = Read::new();
    let values = ["h"];
    let headers =
        ["X-Vault-Token", "authorization"].map(|name| Header { name, values: &values, hmac: false });
    let data = members(json!({"id": "t", "password": "t", "secret_id": ["t"], "name": "web"}));
    let clear = strings(&["id", "password", "secret_id", "client_token", "name"]);
    let request = Request { headers: &headers, data: Some(&data), non_hmac_keys: &clear, ..read.request() };
    let told = r#"{"client_token":"t","data":{"id":"t"},"name":"web"}"#;
    let response = Response { data: Some(RawJson::new(told)), non_hmac_keys: &clear, ..Response::default() };
    let record = parse(&read.line_of(FormatOptions::default(), &request, &response));
    let (asked, told) = (&record["request"], &record["response"]["data"]);
    let hashed = json!(with_hashes("#t#"));
    for shown in [&asked["data"]["id"], &asked["data"]["password"], &asked["data"]["secret_id"][0]] {
        assert_eq!(*shown, hashed);
    }
    assert_eq!((&told["client_token"], &told["data"]["id"]), (&hashed, &hashed));
    assert_eq!((&asked["data"]["name"], &told["name"]), (&json!("web"), &json!("web")));
    for name in ["x-vault-token", "authorization"] {
        assert_eq!(asked["headers"][name][0], json!(with_hashes("#h#")));
    }
}
