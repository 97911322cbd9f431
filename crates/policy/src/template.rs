//! Templated paths: `secret/data/{{identity.entity.id}}/*`.

use crate::pattern::{Pattern, Piece};

/// A value of the token's identity that a templated path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateReference {
    /// `identity.entity.id`
    EntityId,
    /// `identity.entity.name`
    EntityName,
    /// `identity.entity.metadata.<key>`
    EntityMetadata {
        /// The metadata key.
        key: String,
    },
    /// `identity.entity.aliases.<mount accessor>.id`
    AliasId {
        /// The accessor of the alias's mount.
        accessor: String,
    },
    /// `identity.entity.aliases.<mount accessor>.name`
    AliasName {
        /// The accessor of the alias's mount.
        accessor: String,
    },
    /// `identity.entity.aliases.<mount accessor>.metadata.<key>`
    AliasMetadata {
        /// The accessor of the alias's mount.
        accessor: String,
        /// The metadata key.
        key: String,
    },
    /// `identity.entity.aliases.<mount accessor>.custom_metadata.<key>`
    AliasCustomMetadata {
        /// The accessor of the alias's mount.
        accessor: String,
        /// The custom metadata key.
        key: String,
    },
    /// `identity.groups.ids.<group id>.name`
    GroupName {
        /// The group's ID.
        id: String,
    },
    /// `identity.groups.names.<group name>.id`
    GroupId {
        /// The group's name.
        name: String,
    },
    /// `identity.groups.ids.<group id>.metadata.<key>`
    GroupMetadataById {
        /// The group's ID.
        id: String,
        /// The metadata key.
        key: String,
    },
    /// `identity.groups.names.<group name>.metadata.<key>`
    GroupMetadataByName {
        /// The group's name.
        name: String,
        /// The metadata key.
        key: String,
    },
}

/// The source of the values for templated paths: the identity of one token.
pub trait TemplateValues {
    /// The value, or `None` if the token has none: no entity, not a member of
    /// the group, no such metadata.
    fn value(&self, reference: &TemplateReference) -> Option<String>;
}

/// The fate of a rule when a value put into its path holds a slash and thus reaches deeper than its author may have
/// meant (`deny_slash_in_templated_paths` in the server's configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SlashesInValues {
    /// The slash is part of the path.
    #[default]
    Allow,
    /// The rule grants nothing.
    Deny,
}

/// A path with gaps for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Written(String),
    /// `None` for a name that means nothing, which never has a value.
    Gap(Option<TemplateReference>),
}

/// A path with its values.
pub(crate) struct Rendered {
    /// The pattern that the path now matches. Values count literally.
    pub(crate) pattern: Pattern,
    /// True if a value holds a wildcard, or a slash where that is not allowed.
    pub(crate) suspicious: bool,
}

/// The braces of a template do not pair up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unbalanced;

impl Template {
    /// Reads a path; `None` if it has no gaps.
    pub(crate) fn parse(path: &str) -> Result<Option<Template>, Unbalanced> {
        let mut parts = Vec::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once("{{") {
            let (gap, tail) = after.split_once("}}").ok_or(Unbalanced)?;
            if before.contains("}}") || gap.contains("{{") {
                return Err(Unbalanced);
            }
            parts.push(Part::Written(before.to_owned()));
            parts.push(Part::Gap(TemplateReference::parse(gap.trim())));
            rest = tail;
        }
        if rest.contains("}}") {
            return Err(Unbalanced);
        }
        if parts.is_empty() {
            return Ok(None);
        }
        parts.push(Part::Written(rest.to_owned()));
        Ok(Some(Template { parts }))
    }

    /// The text with which all paths that it can match begin: up to its first gap, wildcard, or character that has another
    /// form in another case than ASCII knows of.
    pub(crate) fn opening(&self, namespace: &str) -> String {
        let written = match self.parts.first() {
            Some(Part::Written(text)) => text.as_str(),
            _ => "",
        };
        let whole = format!("{namespace}{written}");
        let end = whole.find(|c: char| matches!(c, '+' | '*') || !c.is_ascii()).unwrap_or(whole.len());
        whole.get(..end).unwrap_or_default().to_owned()
    }

    /// Fills the gaps; `None` if a value is missing.
    pub(crate) fn render(
        &self,
        namespace: &str,
        values: &dyn TemplateValues,
        slashes: SlashesInValues,
    ) -> Option<Rendered> {
        let values = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Written(_) => Some(None),
                Part::Gap(reference) => values.value(reference.as_ref()?).map(Some),
            })
            .collect::<Option<Vec<_>>>()?;
        let suspicious = values.iter().flatten().any(|value| {
            value.contains(['+', '*']) || (slashes == SlashesInValues::Deny && value.contains('/'))
        });
        let pieces: Vec<Piece<'_>> = self
            .parts
            .iter()
            .zip(&values)
            .map(|(part, value)| match (part, value) {
                (Part::Written(text), _) => Piece::Written(text),
                (Part::Gap(_), value) => Piece::Value(value.as_deref().unwrap_or_default()),
            })
            .collect();
        Some(Rendered { pattern: Pattern::new(namespace, &pieces), suspicious })
    }
}

impl TemplateReference {
    /// The value that a dotted name stands for; `None` if Vault knows no such name.
    pub fn parse(name: &str) -> Option<TemplateReference> {
        let identity = name.strip_prefix("identity.")?;
        if let Some(entity) = identity.strip_prefix("entity.") {
            return Self::parse_entity(entity);
        }
        let groups = identity.strip_prefix("groups.")?;
        if let Some(group) = groups.strip_prefix("ids.") {
            if let Some((id, key)) = split_at_word(group, ".metadata.") {
                return Some(TemplateReference::GroupMetadataById { id, key });
            }
            return Some(TemplateReference::GroupName { id: before_word(group, ".name")? });
        }
        let group = groups.strip_prefix("names.")?;
        if let Some((name, key)) = split_at_word(group, ".metadata.") {
            return Some(TemplateReference::GroupMetadataByName { name, key });
        }
        Some(TemplateReference::GroupId { name: before_word(group, ".id")? })
    }

    fn parse_entity(field: &str) -> Option<TemplateReference> {
        match field {
            "id" => return Some(TemplateReference::EntityId),
            "name" => return Some(TemplateReference::EntityName),
            _ => {}
        }
        if let Some(key) = field.strip_prefix("metadata.").filter(|key| !key.is_empty()) {
            return Some(TemplateReference::EntityMetadata { key: key.to_owned() });
        }
        let (accessor, field) = field.strip_prefix("aliases.")?.split_once('.')?;
        let accessor = Some(accessor.to_owned()).filter(|accessor| !accessor.is_empty())?;
        match field.split_once('.') {
            None if field == "id" => Some(TemplateReference::AliasId { accessor }),
            None if field == "name" => Some(TemplateReference::AliasName { accessor }),
            Some(("metadata", key)) if !key.is_empty() => {
                Some(TemplateReference::AliasMetadata { accessor, key: key.to_owned() })
            }
            Some(("custom_metadata", key)) if !key.is_empty() => {
                Some(TemplateReference::AliasCustomMetadata { accessor, key: key.to_owned() })
            }
            _ => None,
        }
    }
}

/// The text on either side of `word`, if there is any.
fn split_at_word(text: &str, word: &str) -> Option<(String, String)> {
    let (before, after) = text.split_once(word)?;
    (!before.is_empty() && !after.is_empty()).then(|| (before.to_owned(), after.to_owned()))
}

/// The text before the closing `word`, if there is any.
fn before_word(text: &str, word: &str) -> Option<String> {
    text.strip_suffix(word).filter(|before| !before.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_name_is_understood() {
        use TemplateReference as T;
        let s = str::to_owned;
        for (name, reference) in [
            ("identity.entity.id", T::EntityId),
            ("identity.entity.name", T::EntityName),
            ("identity.entity.metadata.team", T::EntityMetadata { key: s("team") }),
            ("identity.entity.aliases.auth_k8s_1.id", T::AliasId { accessor: s("auth_k8s_1") }),
            ("identity.entity.aliases.auth_k8s_1.name", T::AliasName { accessor: s("auth_k8s_1") }),
            (
                "identity.entity.aliases.auth_k8s_1.metadata.service_account_namespace",
                T::AliasMetadata { accessor: s("auth_k8s_1"), key: s("service_account_namespace") },
            ),
            (
                "identity.entity.aliases.a.custom_metadata.k",
                T::AliasCustomMetadata { accessor: s("a"), key: s("k") },
            ),
            ("identity.groups.ids.fb03-6e.name", T::GroupName { id: s("fb03-6e") }),
            ("identity.groups.names.my.team.id", T::GroupId { name: s("my.team") }),
            ("identity.groups.ids.x.metadata.k", T::GroupMetadataById { id: s("x"), key: s("k") }),
            ("identity.groups.names.x.y.metadata.k", T::GroupMetadataByName { name: s("x.y"), key: s("k") }),
        ] {
            assert_eq!(T::parse(name), Some(reference), "{name}");
        }
        for name in [
            "",
            "foo",
            "identity.entity",
            "identity.entity.metadata.",
            "identity.entity.aliases.a",
            "identity.entity.aliases..id",
            "identity.entity.aliases.a.metadata",
            "identity.groups.ids.x",
            "identity.groups.ids..name",
            "identity.groups.names.x.name",
        ] {
            assert_eq!(T::parse(name), None, "{name}");
        }
    }

    #[test]
    fn braces_must_pair_up() {
        for path in ["a/{{x", "a/x}}", "a/}}x{{", "a/{{x}}/{{", "{{a{{b}}"] {
            assert_eq!(Template::parse(path), Err(Unbalanced), "{path}");
        }
        assert_eq!(Template::parse("a/{b}/c"), Ok(None));
    }
}
