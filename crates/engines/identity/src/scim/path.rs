//! Paths of attributes: `name.givenName`, `emails[type eq "work"].value`, `urn:…:User:department`. Source: RFC 7644, section 3.10.

use super::failing::Failure;
use super::filter::{Filter, Parser};
use super::schema::{Attribute, ResourceType, Schema};

/// An attribute of a resource, or of one of its attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttributePath {
    /// The extension that it is of; `None`: the core schema.
    pub(super) extension: Option<&'static Schema>,
    pub(super) attribute: &'static Attribute,
    pub(super) part: Option<&'static Attribute>,
}

impl AttributePath {
    /// The attribute that is meant.
    pub(super) fn last(&self) -> &'static Attribute {
        self.part.unwrap_or(self.attribute)
    }
}

/// The target of a change.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// All of an extension.
    Extension(&'static Schema),
    /// An attribute, or those of its values that a filter chooses.
    Attribute { path: AttributePath, chosen: Option<Filter> },
}

/// The attribute that a name leads to: `None` where it leads to none.
pub(super) fn resolve(of: &ResourceType, name: &str) -> Option<AttributePath> {
    let (extension, rest) = split_schema(of, name)?;
    let (name, part) = rest.split_once('.').map_or((rest, None), |(name, part)| (name, Some(part)));
    let attribute = match extension {
        Some(extension) => extension.attribute(name)?,
        None => of.core(name)?,
    };
    let part = match part {
        Some(part) => Some(attribute.part(part)?),
        None => None,
    };
    Some(AttributePath { extension, attribute, part })
}

/// The schema that a name begins with, and the rest of it.
fn split_schema<'a>(of: &ResourceType, name: &'a str) -> Option<(Option<&'static Schema>, &'a str)> {
    if !name.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("urn:")) {
        return Some((None, name));
    }
    let after = |schema: &'static Schema| {
        let head = name.get(..schema.id.len()).filter(|head| head.eq_ignore_ascii_case(schema.id))?;
        name.get(head.len()..)?.strip_prefix(':')
    };
    if let Some(rest) = after(of.schema) {
        return Some((None, rest));
    }
    let extension = of.extension?;
    after(extension).map(|rest| (Some(extension), rest))
}

impl Target {
    /// Reads the path of a change.
    ///
    /// # Errors
    ///
    /// `invalidPath` where it leads to no attribute.
    pub(super) fn parse(of: &ResourceType, text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        let shown = text.split('[').next().unwrap_or_default();
        let unknown = || Failure::path(format!("{shown:?} leads to no attribute of {}", of.name));
        if let Some(extension) = of.extension.filter(|extension| extension.id.eq_ignore_ascii_case(text)) {
            return Ok(Self::Extension(extension));
        }
        let Some((name, rest)) = text.split_once('[') else {
            let path = resolve(of, text).ok_or_else(unknown)?;
            return Ok(Self::Attribute { path, chosen: None });
        };
        let path = resolve(of, name).filter(|path| path.part.is_none()).ok_or_else(unknown)?;
        if !path.attribute.multi {
            return Err(Failure::path(format!("{name:?} has no values to choose from")));
        }
        let mut parser = Parser::within(of, path.attribute, rest);
        let chosen = parser.filter()?;
        let rest = parser.rest_after_bracket()?;
        let part = match rest.strip_prefix('.') {
            Some(part) => Some(path.attribute.part(part).ok_or_else(unknown)?),
            None if rest.is_empty() => None,
            None => return Err(unknown()),
        };
        Ok(Self::Attribute { path: AttributePath { part, ..path }, chosen: Some(chosen) })
    }
}
