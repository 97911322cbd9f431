//! The schemas that are served. Source: RFC 7643, sections 4 to 8.7; the attributes are those of the RFC that say something of an
//! entity or a group here. Passwords, certificates, photos, entitlements and roles are not among them.

use super::schema::{Attribute, ENTERPRISE, GROUP, ResourceType, Schema, USER};

/// An address, a number: with a kind, and one of them the first to take.
macro_rules! values {
    ($what:literal, $($usual:literal),*) => {
        &[
            Attribute::text("value", $what),
            Attribute::text("display", "Name for people."),
            Attribute::text("type", "Kind of the value.").usual(&[$($usual),*]),
            Attribute::boolean("primary", "True for the one to be preferred."),
        ]
    };
}

/// Users.
pub(super) static USER_SCHEMA: Schema = Schema {
    id: USER,
    name: "User",
    description: "A user: an entity.",
    attributes: &[
        Attribute::text("userName", "Name of the user: that of the entity, and of its alias.")
            .required()
            .unique(),
        Attribute::complex(
            "name",
            &[
                Attribute::text("formatted", "The whole name."),
                Attribute::text("familyName", "The family name."),
                Attribute::text("givenName", "The given name."),
                Attribute::text("middleName", "The middle names."),
                Attribute::text("honorificPrefix", "The title before the name."),
                Attribute::text("honorificSuffix", "The title after the name."),
            ],
            "The parts of the user's name.",
        ),
        Attribute::text("displayName", "Name for people."),
        Attribute::text("nickName", "Casual name."),
        Attribute::reference("profileUrl", &["external"], "Address of the user's profile."),
        Attribute::text("title", "Title, such as \"Vice President\"."),
        Attribute::text("userType", "Relation to the organization, such as \"Employee\"."),
        Attribute::text("preferredLanguage", "Preferred language, as in Accept-Language."),
        Attribute::text("locale", "Locale."),
        Attribute::text("timezone", "Time zone."),
        Attribute::boolean("active", "False: the tokens of the user are refused.").required(),
        Attribute::complex("emails", values!("The address.", "work", "home", "other"), "Email addresses.")
            .many(),
        Attribute::complex(
            "phoneNumbers",
            values!("The number.", "work", "home", "mobile", "fax", "pager", "other"),
            "Phone numbers.",
        )
        .many(),
        Attribute::complex(
            "addresses",
            &[
                Attribute::text("formatted", "The whole address."),
                Attribute::text("streetAddress", "Street and number."),
                Attribute::text("locality", "City."),
                Attribute::text("region", "State or region."),
                Attribute::text("postalCode", "Postal code."),
                Attribute::text("country", "Country."),
                Attribute::text("type", "Kind of the address.").usual(&["work", "home", "other"]),
                Attribute::boolean("primary", "True for the one to be preferred."),
            ],
            "Postal addresses.",
        )
        .many(),
        Attribute::complex(
            "groups",
            &[
                Attribute::text("value", "Identifier of the group.").exact().read_only(),
                Attribute::reference("$ref", &["Group"], "Address of the group.").read_only(),
                Attribute::text("display", "Name of the group.").read_only(),
                Attribute::text("type", "Always \"direct\".").usual(&["direct"]).read_only(),
            ],
            "The client's groups that the user is in.",
        )
        .many()
        .read_only(),
    ],
};

/// The extension of users.
pub(super) static ENTERPRISE_SCHEMA: Schema = Schema {
    id: ENTERPRISE,
    name: "EnterpriseUser",
    description: "A user in an enterprise.",
    attributes: &[
        Attribute::text("employeeNumber", "Number of the employee."),
        Attribute::text("costCenter", "Cost center."),
        Attribute::text("organization", "Organization."),
        Attribute::text("division", "Division."),
        Attribute::text("department", "Department."),
        Attribute::complex(
            "manager",
            &[
                Attribute::text("value", "Identifier of the manager.").exact(),
                Attribute::reference("$ref", &["User"], "Address of the manager."),
                Attribute::text("displayName", "Name of the manager.").read_only(),
            ],
            "The user's manager.",
        ),
    ],
};

/// Groups.
pub(super) static GROUP_SCHEMA: Schema = Schema {
    id: GROUP,
    name: "Group",
    description: "A group: an internal group.",
    attributes: &[
        Attribute::text("displayName", "Name of the group.").required().unique(),
        Attribute::complex(
            "members",
            &[
                Attribute::text("value", "Identifier of the user.").exact().immutable(),
                Attribute::reference("$ref", &["User"], "Address of the user.").immutable(),
                Attribute::text("type", "Always \"User\".").usual(&["User"]).immutable(),
            ],
            "The users in the group.",
        )
        .many(),
    ],
};

/// What is said of a feature.
const SUPPORTED: &[Attribute] =
    &[Attribute::boolean("supported", "True if it is there.").required().read_only()];

/// The configuration of the server.
static CONFIGURATION_SCHEMA: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig",
    name: "ServiceProviderConfig",
    description: "What the server does.",
    attributes: &[
        Attribute::reference("documentationUri", &["external"], "Address of the documentation.").read_only(),
        Attribute::complex("patch", SUPPORTED, "PATCH.").required().read_only(),
        Attribute::complex(
            "bulk",
            &[
                Attribute::boolean("supported", "True if it is there.").required().read_only(),
                Attribute::integer("maxOperations", "Most operations of a request.").required().read_only(),
                Attribute::integer("maxPayloadSize", "Most bytes of a request.").required().read_only(),
            ],
            "Requests of many operations.",
        )
        .required()
        .read_only(),
        Attribute::complex(
            "filter",
            &[
                Attribute::boolean("supported", "True if it is there.").required().read_only(),
                Attribute::integer("maxResults", "Most resources of an answer.").required().read_only(),
            ],
            "Filters.",
        )
        .required()
        .read_only(),
        Attribute::complex("changePassword", SUPPORTED, "Changes of passwords.").required().read_only(),
        Attribute::complex("sort", SUPPORTED, "Sorted lists.").required().read_only(),
        Attribute::complex("etag", SUPPORTED, "Versions of resources.").required().read_only(),
        Attribute::complex(
            "authenticationSchemes",
            &[
                Attribute::text("type", "Kind of the scheme.").required().read_only(),
                Attribute::text("name", "Name of the scheme.").required().read_only(),
                Attribute::text("description", "What it is.").required().read_only(),
                Attribute::reference("specUri", &["external"], "Address of its specification.").read_only(),
                Attribute::reference("documentationUri", &["external"], "Address of its documentation.")
                    .read_only(),
                Attribute::boolean("primary", "True for the one to be preferred.").read_only(),
            ],
            "The ways to authenticate.",
        )
        .many()
        .required()
        .read_only(),
    ],
};

/// Types of resources.
static RESOURCE_TYPE_SCHEMA: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:ResourceType",
    name: "ResourceType",
    description: "A type of resources.",
    attributes: &[
        Attribute::text("id", "Identifier of the type.").read_only(),
        Attribute::text("name", "Name of the type.").required().read_only(),
        Attribute::text("description", "What it is.").read_only(),
        Attribute::reference("endpoint", &["uri"], "Path of its resources.").required().read_only(),
        Attribute::reference("schema", &["uri"], "Its schema.").required().read_only(),
        Attribute::complex(
            "schemaExtensions",
            &[
                Attribute::reference("schema", &["uri"], "The extension.").required().read_only(),
                Attribute::boolean("required", "True if every resource has it.").required().read_only(),
            ],
            "Extensions of the schema.",
        )
        .many()
        .read_only(),
    ],
};

/// Schemas themselves.
static SCHEMA_SCHEMA: Schema = Schema {
    id: "urn:ietf:params:scim:schemas:core:2.0:Schema",
    name: "Schema",
    description: "A schema.",
    attributes: &[
        Attribute::text("id", "Identifier of the schema.").required().read_only(),
        Attribute::text("name", "Name of the schema.").required().read_only(),
        Attribute::text("description", "What it describes.").read_only(),
        Attribute::complex("attributes", OF_ATTRIBUTES, "Its attributes.").many().required().read_only(),
    ],
};

/// What a schema says of an attribute and of the attributes in it.
macro_rules! of_an_attribute {
    ($($more:expr),*) => {
        &[
            Attribute::text("name", "Name of the attribute.").exact().required().read_only(),
            Attribute::text("type", "Type of its values.").required().read_only().usual(&[
                "string", "complex", "boolean", "decimal", "integer", "dateTime", "reference", "binary",
            ]),
            Attribute::boolean("multiValued", "True if it has many values.").required().read_only(),
            Attribute::text("description", "What it is.").read_only(),
            Attribute::boolean("required", "True if every resource has it.").read_only(),
            Attribute::text("canonicalValues", "Values that are usual.").exact().many().read_only(),
            Attribute::boolean("caseExact", "True if its texts are compared exactly.").read_only(),
            Attribute::text("mutability", "Who may change it.").exact().read_only().usual(&[
                "readOnly", "readWrite", "immutable", "writeOnly",
            ]),
            Attribute::text("returned", "When it is answered.").exact().read_only().usual(&[
                "always", "never", "default", "request",
            ]),
            Attribute::text("uniqueness", "Where no two values are equal.").exact().read_only().usual(&[
                "none", "server", "global",
            ]),
            Attribute::text("referenceTypes", "What it leads to.").exact().many().read_only(),
            $($more),*
        ]
    };
}

const OF_ATTRIBUTES: &[Attribute] = of_an_attribute!(
    Attribute::complex("subAttributes", of_an_attribute!(), "The attributes in it.").many().read_only()
);

/// All schemas.
pub(super) static SCHEMAS: [&Schema; 6] = [
    &USER_SCHEMA,
    &ENTERPRISE_SCHEMA,
    &GROUP_SCHEMA,
    &CONFIGURATION_SCHEMA,
    &RESOURCE_TYPE_SCHEMA,
    &SCHEMA_SCHEMA,
];

/// The type of users.
pub(super) static USERS: ResourceType = ResourceType {
    name: "User",
    endpoint: "Users",
    description: "Users: entities.",
    schema: &USER_SCHEMA,
    extension: Some(&ENTERPRISE_SCHEMA),
};

/// The type of groups.
pub(super) static GROUPS: ResourceType = ResourceType {
    name: "Group",
    endpoint: "Groups",
    description: "Groups: internal groups.",
    schema: &GROUP_SCHEMA,
    extension: None,
};
