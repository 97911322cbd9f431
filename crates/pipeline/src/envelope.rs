//! The members of an answer, before it is serialized: the form that is wrapped, audited and sent.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strongroom_engine_api::{EngineError, Json};
use strongroom_expiry::HeldLease;
use strongroom_wrapping::WrapGrant;

/// One answer's members.
#[derive(Default, Clone)]
pub struct Envelope {
    /// `data`.
    pub data: Option<Json>,
    /// `auth`.
    pub auth: Option<Json>,
    /// `lease_id`.
    pub lease_id: String,
    /// `lease_duration`, seconds.
    pub lease_duration: u64,
    /// `renewable`.
    pub renewable: bool,
    /// `warnings`.
    pub warnings: Vec<String>,
    /// `wrap_info`; boxed, since few answers have one.
    pub wrap: Option<Box<WrapGrant>>,
    /// `mount_type`.
    pub mount_type: Option<Arc<str>>,
    /// The members of `data` are at the top level, too.
    pub also_at_top: bool,
}

/// The form kept while wrapped.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    auth: Option<&'a RawValue>,
    lease_id: String,
    lease_duration: u64,
    renewable: bool,
    warnings: Vec<String>,
}

fn raw(json: Option<&Json>) -> Result<Option<&RawValue>, serde_json::Error> {
    json.map(|json| serde_json::from_str(json.as_str())).transpose()
}

fn own(raw: Option<&RawValue>) -> Result<Option<Json>, serde_json::Error> {
    raw.map(|raw| Json::checked(raw.get().to_owned())).transpose()
}

/// Appends a text as JSON; most are plain and are not worth a serialiser.
fn text(body: &mut String, text: &str) -> Result<(), serde_json::Error> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\') {
        body.push('"');
        body.push_str(text);
        body.push('"');
    } else {
        body.push_str(&serde_json::to_string(text)?);
    }
    Ok(())
}

impl Envelope {
    /// As a text to keep.
    pub fn to_kept(&self) -> Result<String, EngineError> {
        let kept = Kept {
            data: raw(self.data.as_ref())?,
            auth: raw(self.auth.as_ref())?,
            lease_id: self.lease_id.clone(),
            lease_duration: self.lease_duration,
            renewable: self.renewable,
            warnings: self.warnings.clone(),
        };
        Ok(serde_json::to_string(&kept)?)
    }

    /// From a kept text.
    pub fn from_kept(text: &str) -> Result<Self, EngineError> {
        let kept: Kept<'_> = serde_json::from_str(text)?;
        Ok(Self {
            data: own(kept.data)?,
            auth: own(kept.auth)?,
            lease_id: kept.lease_id,
            lease_duration: kept.lease_duration,
            renewable: kept.renewable,
            warnings: kept.warnings,
            ..Self::default()
        })
    }

    /// Names a lease.
    pub(crate) fn name_lease(&mut self, lease: HeldLease) {
        self.lease_id = lease.id;
        self.lease_duration = lease.ttl.as_secs();
        self.renewable = lease.renewable;
    }

    /// The lease it names; `None` where it names none.
    pub fn held_lease(&self) -> Option<HeldLease> {
        let ttl = Duration::from_secs(self.lease_duration);
        let renewable = self.renewable;
        (!self.lease_id.is_empty()).then(|| HeldLease { id: self.lease_id.clone(), ttl, renewable })
    }

    /// True if there is nothing to say: 204.
    pub fn is_empty(&self) -> bool {
        let says = self.data.is_some() || self.auth.is_some() || self.wrap.is_some();
        !says && self.warnings.is_empty() && self.lease_id.is_empty()
    }

    /// The body as it is sent, in the order Vault writes it.
    pub fn render(&self, request_id: &str) -> Result<String, EngineError> {
        let data = self.data.as_ref().map_or("null", Json::as_str);
        let auth = self.auth.as_ref().map_or("null", Json::as_str);
        let mut body = String::with_capacity(data.len().saturating_add(auth.len()).saturating_add(320));
        body.push_str("{\"request_id\":\"");
        body.push_str(request_id);
        body.push_str("\",\"lease_id\":");
        text(&mut body, &self.lease_id)?;
        body.push_str(if self.renewable { ",\"renewable\":true" } else { ",\"renewable\":false" });
        body.push_str(",\"lease_duration\":");
        body.push_str(&self.lease_duration.to_string());
        body.push_str(",\"data\":");
        body.push_str(data);
        body.push_str(",\"wrap_info\":");
        match &self.wrap {
            Some(wrap) => body.push_str(&serde_json::to_string(wrap)?),
            None => body.push_str("null"),
        }
        body.push_str(",\"warnings\":");
        if self.warnings.is_empty() {
            body.push_str("null");
        } else {
            body.push_str(&serde_json::to_string(&self.warnings)?);
        }
        body.push_str(",\"auth\":");
        body.push_str(auth);
        if let Some(mount_type) = self.mount_type.as_deref() {
            body.push_str(",\"mount_type\":");
            text(&mut body, mount_type)?;
        }
        if let Some(members) = self.data.as_ref().filter(|_| self.also_at_top).map(Json::as_str) {
            // The members of an object's text, without its braces.
            let inner = members.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
            if !inner.is_empty() {
                body.push(',');
                body.push_str(inner);
            }
        }
        body.push_str("}\n");
        Ok(body)
    }
}
