//! Renders a record into the line that a device writes.

use std::collections::BTreeMap;
use std::ops::Range;

use strongroom_stdx::Moment;

use crate::error::AuditError;
use crate::line::{Line, push_array, push_string, push_strings};
use crate::options::FormatOptions;
use crate::record::{
    Auth, GrantingPolicy, Header, Mount, Namespace, PolicyResults, Request, RequestRecord, Response,
    ResponseRecord, WrapInfo,
};
use crate::redact::{Redaction, is_secret_header, push_hashed};
use crate::salt::{HASHED_LEN, Salt};

/// Room for a record without much data, so that its line is rarely moved while it grows.
const LINE_CAPACITY: usize = 4096;

/// Renders records as one device shows them.
pub struct Formatter {
    options: FormatOptions,
    salt: Salt,
}

impl Formatter {
    /// With a device's options and salt.
    pub const fn new(options: FormatOptions, salt: Salt) -> Self {
        Self { options, salt }
    }

    /// The device's salt.
    pub const fn salt(&self) -> &Salt {
        &self.salt
    }

    /// The line of a request's record: prefix, JSON object, line feed.
    pub fn request(&self, record: &RequestRecord<'_>) -> RequestLine {
        let mut render = Render::start(self, record.time, "request");
        let start = render.line.out.len();
        render.object("auth", |render| render.auth(record.auth));
        let middle = render.line.out.len();
        render.object("request", |render| render.request(record.request));
        let end = render.line.out.len();
        RequestLine {
            text: render.finish(record.forwarded_from, record.error),
            auth: start..middle,
            request: middle..end,
            lists: record.request.operation == "list",
        }
    }

    /// The line of the record of a response to the request with this line. Fails with [`AuditError::MalformedData`] if
    /// the response's data is not the JSON object it should be.
    pub fn response(
        &self,
        record: &ResponseRecord<'_>,
        request: &RequestLine,
    ) -> Result<Vec<u8>, AuditError> {
        let mut render = Render::start(self, record.time, "response");
        match record.auth {
            Some(auth) => render.object("auth", |render| render.auth(auth)),
            None => render.line.out.extend_from_slice(request.part(&request.auth)),
        }
        render.line.out.extend_from_slice(request.part(&request.request));
        render.response(record.response, self.options.elide_list_responses && request.lists)?;
        Ok(render.finish(record.forwarded_from, record.error))
    }
}

/// The line of a request's record, of which the response's record repeats the most: what is hashed in it is hashed once.
pub struct RequestLine {
    text: Vec<u8>,
    /// The member `auth`, with the comma before it.
    auth: Range<usize>,
    /// The member `request`, with the comma before it.
    request: Range<usize>,
    /// True for a list, whose response may be elided.
    lists: bool,
}

impl RequestLine {
    /// The line itself.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    fn part(&self, part: &Range<usize>) -> &[u8] {
        self.text.get(part.clone()).unwrap_or_default()
    }
}

/// A record on its way into its line.
struct Render<'f, 'a> {
    format: &'f Formatter,
    line: Line,
    /// Tokens and accessors hashed so far, and where their hashes lie in the line: most appear twice.
    hashed: Vec<(&'a str, usize)>,
}

impl<'f, 'a> Render<'f, 'a> {
    fn start(format: &'f Formatter, time: Moment, kind: &str) -> Self {
        let mut line = Line { out: Vec::with_capacity(LINE_CAPACITY) };
        line.out.extend_from_slice(format.options.prefix.as_bytes());
        line.out.push(b'{');
        line.text("time", &time.rfc3339());
        line.text("type", kind);
        Self { format, line, hashed: Vec::with_capacity(4) }
    }

    fn finish(mut self, forwarded_from: &str, error: &str) -> Vec<u8> {
        self.line.text("forwarded_from", forwarded_from);
        self.line.text("error", error);
        self.line.out.extend_from_slice(b"}\n");
        self.line.out
    }

    /// An object with whatever `members` adds.
    fn object(&mut self, name: &'static str, members: impl FnOnce(&mut Self)) {
        self.line.key(name);
        self.line.out.push(b'{');
        members(self);
        self.line.out.push(b'}');
    }

    fn auth(&mut self, auth: &Auth<'a>) {
        self.token("client_token", auth.client_token);
        self.accessor("accessor", auth.accessor);
        let line = &mut self.line;
        line.text("display_name", auth.display_name);
        line.list("policies", auth.policies);
        line.list("token_policies", auth.token_policies);
        line.list("identity_policies", auth.identity_policies);
        if let Some(policies) = auth.external_namespace_policies.filter(|policies| !policies.is_empty()) {
            line.object("external_namespace_policies", |line| {
                for (namespace, names) in policies {
                    line.foreign_key(namespace);
                    push_strings(&mut line.out, names);
                }
            });
        }
        line.flag("no_default_policy", auth.no_default_policy);
        line.flag("is_root", auth.is_root);
        if let Some(results) = &auth.policy_results {
            line.object("policy_results", |line| policy_results(line, results));
        }
        if let Some(metadata) = auth.metadata.filter(|metadata| !metadata.is_empty()) {
            line.object("metadata", |line| metadata_members(line, metadata));
        }
        line.number("num_uses", auth.num_uses);
        line.number("remaining_uses", auth.remaining_uses);
        line.text("entity_id", auth.entity_id);
        line.flag("entity_created", auth.entity_created);
        line.text("token_type", if auth.token_type.is_empty() { "default" } else { auth.token_type });
        line.number("token_ttl", auth.token_ttl);
        if let Some(issued) = auth.token_issue_time {
            line.text("token_issue_time", &issued.rfc3339_secs());
        }
    }

    fn request(&mut self, request: &Request<'a>) {
        self.line.text("id", request.id);
        self.line.text("client_id", request.client_id);
        self.line.text("operation", request.operation);
        mount(&mut self.line, &request.mount, "mount_running_version");
        self.token("client_token", request.client_token);
        self.accessor("client_token_accessor", request.client_token_accessor);
        self.line.object("namespace", |line| namespace(line, &request.namespace));
        self.line.text("path", request.path);
        if let Some(data) = request.data.filter(|data| !data.is_empty()) {
            self.line.key("data");
            self.redaction(request.non_hmac_keys, false).push_map(&mut self.line.out, data);
        }
        self.line.flag("policy_override", request.policy_override);
        self.line.text("remote_address", request.remote_address);
        self.line.number("remote_port", u64::from(request.remote_port));
        self.line.number("wrap_ttl", request.wrap_ttl);
        self.headers(request.headers);
        self.line.text("client_certificate_serial_number", request.client_certificate_serial_number);
        self.line.text("request_uri", request.request_uri);
    }

    fn response(&mut self, response: &Response<'a>, elide: bool) -> Result<(), AuditError> {
        self.line.key("response");
        self.line.out.push(b'{');
        if let Some(auth) = &response.auth {
            self.object("auth", |render| render.auth(auth));
        }
        mount(&mut self.line, &response.mount, "mount_running_plugin_version");
        if let Some(lease_id) = response.lease_id {
            self.line.object("secret", |line| line.text("lease_id", lease_id));
        }
        self.response_data(response, elide)?;
        self.line.list("warnings", response.warnings);
        self.line.text("redirect", response.redirect);
        if let Some(wrap) = &response.wrap_info {
            self.object("wrap_info", |render| render.wrap_info(wrap));
        }
        self.headers(response.headers);
        self.line.out.push(b'}');
        Ok(())
    }

    fn response_data(&mut self, response: &Response<'_>, elide: bool) -> Result<(), AuditError> {
        let Some(data) = response.data else { return Ok(()) };
        let before = self.line.out.len();
        self.line.key("data");
        self.redaction(response.non_hmac_keys, elide).push_text(&mut self.line.out, data)?;
        if self.line.out.ends_with(b":{}") {
            self.line.out.truncate(before);
        }
        Ok(())
    }

    fn wrap_info(&mut self, wrap: &WrapInfo<'a>) {
        self.line.number("ttl", wrap.ttl);
        self.token("token", wrap.token);
        self.accessor("accessor", wrap.accessor);
        self.line.text("creation_time", &wrap.creation_time.rfc3339());
        self.line.text("creation_path", wrap.creation_path);
        self.accessor("wrapped_accessor", wrap.wrapped_accessor);
    }

    fn headers(&mut self, headers: &[Header<'_>]) {
        if headers.is_empty() {
            return;
        }
        let (salt, hides) = (&self.format.salt, !self.format.options.log_raw);
        self.line.object("headers", |line| {
            for header in headers {
                line.foreign_key(&header.name.to_ascii_lowercase());
                push_array(&mut line.out, header.values, |out, value| {
                    if header.hmac || (hides && is_secret_header(header.name)) {
                        push_hashed(out, salt, value.as_bytes());
                    } else {
                        push_string(out, value);
                    }
                });
            }
        });
    }

    fn redaction<'k>(&self, clear_keys: &'k [String], elide_lists: bool) -> Redaction<'k>
    where
        'f: 'k,
    {
        let salt = (!self.format.options.log_raw).then_some(&self.format.salt);
        Redaction { salt, clear_keys, elide_lists }
    }

    fn token(&mut self, name: &'static str, token: &'a str) {
        self.hidden(name, token, !self.format.options.log_raw);
    }

    fn accessor(&mut self, name: &'static str, accessor: &'a str) {
        self.hidden(name, accessor, self.format.options.hmac_accessor && !self.format.options.log_raw);
    }

    fn hidden(&mut self, name: &'static str, value: &'a str, hash: bool) {
        if !hash || value.is_empty() {
            return self.line.text(name, value);
        }
        self.line.key(name);
        let out = &mut self.line.out;
        out.push(b'"');
        if let Some((_, at)) = self.hashed.iter().find(|(known, _)| *known == value) {
            out.extend_from_within(*at..at.saturating_add(HASHED_LEN));
        } else {
            self.hashed.push((value, out.len()));
            self.format.salt.push_hash(value.as_bytes(), out);
        }
        out.push(b'"');
    }
}

fn policy_results(line: &mut Line, results: &PolicyResults<'_>) {
    line.key("allowed");
    line.out.extend_from_slice(if results.allowed { b"true" } else { b"false" });
    if !results.granting_policies.is_empty() {
        line.key("granting_policies");
        push_array(&mut line.out, results.granting_policies, granting_policy);
    }
}

fn granting_policy(out: &mut Vec<u8>, policy: &GrantingPolicy<'_>) {
    let mut line = Line { out: std::mem::take(out) };
    line.out.push(b'{');
    line.text("name", policy.name);
    line.text("namespace_id", policy.namespace_id);
    line.text("namespace_path", policy.namespace_path);
    line.text("type", policy.policy_type);
    line.out.push(b'}');
    *out = line.out;
}

fn metadata_members(line: &mut Line, metadata: &BTreeMap<String, String>) {
    for (key, value) in metadata {
        line.foreign_key(key);
        push_string(&mut line.out, value);
    }
}

fn mount(line: &mut Line, mount: &Mount<'_>, version_name: &'static str) {
    line.text("mount_point", mount.point);
    line.text("mount_type", mount.mount_type);
    line.text("mount_accessor", mount.accessor);
    line.text(version_name, mount.running_version);
    line.text("mount_running_sha256", mount.running_sha256);
    line.text("mount_class", mount.class);
    line.flag("mount_is_external_plugin", mount.is_external_plugin);
}

fn namespace(line: &mut Line, namespace: &Namespace<'_>) {
    line.text("id", namespace.id);
    line.text("path", namespace.path);
}

#[cfg(test)]
#[path = "tests/format.rs"]
mod tests;
