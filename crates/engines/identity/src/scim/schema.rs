//! The attributes of users and groups: one declaration that inputs are read by, filters and paths are resolved by, and `/Schemas`
//! publishes. Source: RFC 7643, sections 2 and 4.

use serde_json::{Map, Value, json};

/// The core schema of users.
pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The core schema of groups.
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// The extension of users in an enterprise.
pub(super) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// The type of an attribute's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Boolean,
    Integer,
    DateTime,
    Reference,
    Complex,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::DateTime => "dateTime",
            Self::Reference => "reference",
            Self::Complex => "complex",
        }
    }
}

/// An attribute.
#[allow(clippy::struct_excessive_bools, reason = "the characteristics of an attribute, each by itself")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) multi: bool,
    pub(super) required: bool,
    pub(super) case_exact: bool,
    pub(super) read_only: bool,
    /// True if it cannot change once it is set.
    pub(super) immutable: bool,
    /// True if it is in every answer.
    pub(super) always: bool,
    /// True if no two resources have the same value.
    pub(super) unique: bool,
    pub(super) description: &'static str,
    /// Values that are usual.
    pub(super) usual: &'static [&'static str],
    /// What a reference leads to.
    pub(super) leads_to: &'static [&'static str],
    pub(super) sub: &'static [Attribute],
}

impl Attribute {
    const fn new(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Self {
            name,
            kind,
            multi: false,
            required: false,
            case_exact: false,
            read_only: false,
            immutable: false,
            always: false,
            unique: false,
            description,
            usual: &[],
            leads_to: &[],
            sub: &[],
        }
    }

    /// A text.
    pub(super) const fn text(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Kind::Text, description)
    }

    /// True or false.
    pub(super) const fn boolean(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Kind::Boolean, description)
    }

    /// A number.
    pub(super) const fn integer(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Kind::Integer, description)
    }

    /// A moment.
    pub(super) const fn moment(name: &'static str, description: &'static str) -> Self {
        Self::new(name, Kind::DateTime, description)
    }

    /// A reference.
    pub(super) const fn reference(
        name: &'static str,
        leads_to: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        Self { leads_to, case_exact: true, ..Self::new(name, Kind::Reference, description) }
    }

    /// An object with these attributes.
    pub(super) const fn complex(
        name: &'static str,
        sub: &'static [Attribute],
        description: &'static str,
    ) -> Self {
        Self { sub, ..Self::new(name, Kind::Complex, description) }
    }

    /// The same with many values.
    pub(super) const fn many(self) -> Self {
        Self { multi: true, ..self }
    }

    /// The same, which every resource has.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same, compared exactly.
    pub(super) const fn exact(self) -> Self {
        Self { case_exact: true, ..self }
    }

    /// The same, set by the server alone.
    pub(super) const fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// The same, which cannot change once it is set.
    pub(super) const fn immutable(self) -> Self {
        Self { immutable: true, ..self }
    }

    /// The same, in every answer.
    pub(super) const fn always(self) -> Self {
        Self { always: true, ..self }
    }

    /// The same, which no two resources share.
    pub(super) const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// The same, with values that are usual.
    pub(super) const fn usual(self, usual: &'static [&'static str]) -> Self {
        Self { usual, ..self }
    }

    /// Its attribute of this name, in any case.
    pub(super) fn part(&self, name: &str) -> Option<&'static Attribute> {
        find(self.sub, name)
    }

    fn document(&self) -> Value {
        let mutability = match (self.read_only, self.immutable) {
            (true, _) => "readOnly",
            (_, true) => "immutable",
            _ => "readWrite",
        };
        let mut told = json!({
            "name": self.name,
            "type": self.kind.name(),
            "multiValued": self.multi,
            "description": self.description,
            "required": self.required,
            "mutability": mutability,
            "returned": if self.always { "always" } else { "default" },
        });
        let Some(members) = told.as_object_mut() else { return told };
        if self.kind == Kind::Complex {
            members.insert("subAttributes".to_owned(), documents(self.sub));
        } else {
            members.insert("caseExact".to_owned(), self.case_exact.into());
            members.insert("uniqueness".to_owned(), if self.unique { "server" } else { "none" }.into());
        }
        if !self.usual.is_empty() {
            members.insert("canonicalValues".to_owned(), json!(self.usual));
        }
        if !self.leads_to.is_empty() {
            members.insert("referenceTypes".to_owned(), json!(self.leads_to));
        }
        told
    }
}

fn documents(attributes: &[Attribute]) -> Value {
    Value::Array(attributes.iter().map(Attribute::document).collect())
}

/// The attribute of this name, in any case.
fn find(attributes: &'static [Attribute], name: &str) -> Option<&'static Attribute> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
}

/// A schema: a name and attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) attributes: &'static [Attribute],
}

impl Schema {
    /// The attribute of this name, in any case.
    pub(super) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        find(self.attributes, name)
    }

    /// The schema as it is published.
    pub(super) fn document(&self, location: &str) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "attributes": documents(self.attributes),
            "meta": { "resourceType": "Schema", "location": location },
        })
    }
}

/// A type of resources: its schema, and an extension of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResourceType {
    pub(super) name: &'static str,
    /// The collection's path below the base.
    pub(super) endpoint: &'static str,
    pub(super) description: &'static str,
    pub(super) schema: &'static Schema,
    pub(super) extension: Option<&'static Schema>,
}

impl ResourceType {
    /// The attribute of this name of the core schema, or one that every resource has.
    pub(super) fn core(&self, name: &str) -> Option<&'static Attribute> {
        self.schema.attribute(name).or_else(|| find(COMMON, name))
    }

    /// The schemas of a resource with these members.
    pub(super) fn schemas_of(&self, members: &Map<String, Value>) -> Value {
        let extension = self.extension.map(|extension| extension.id).filter(|id| members.contains_key(*id));
        json!([self.schema.id].into_iter().chain(extension).collect::<Vec<_>>())
    }
}

/// The attributes of every resource (RFC 7643, section 3.1).
pub(super) static COMMON: &[Attribute] = &[
    Attribute::text("id", "Identifier of the resource, given by the server.")
        .exact()
        .read_only()
        .always()
        .unique(),
    Attribute::text("externalId", "Identifier of the resource, given by the client.").exact(),
    Attribute::complex(
        "meta",
        &[
            Attribute::text("resourceType", "Name of the resource's type.").exact().read_only(),
            Attribute::moment("created", "Time of its creation.").read_only(),
            Attribute::moment("lastModified", "Time of its last change.").read_only(),
            Attribute::reference("location", &["uri"], "Its address.").read_only(),
        ],
        "What the server knows of the resource.",
    )
    .read_only(),
];
