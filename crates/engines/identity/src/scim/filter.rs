//! Filters: `userName eq "ann" and (active eq true or not (emails[type eq "work"] pr))`. Source: RFC 7644, section 3.4.2.2.
//!
//! A filter is read against the schema, so that a name that means nothing and a comparison that cannot be made are refused and never
//! taken for "no". `ne` is the contrary of `eq`: of an attribute with many values, no value is equal.

use serde_json::{Map, Value};
use strongroom_engine_api::Moment;
use strongroom_identity::fold;

use super::failing::Failure;
use super::path::{AttributePath, resolve};
use super::schema::{Attribute, Kind, ResourceType};

/// Bytes of a filter.
const MAX_LENGTH: usize = 16 << 10;
/// Parentheses within each other.
const MAX_DEPTH: usize = 32;

/// An operator that compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// The value that an attribute is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// A text as given, and in the form in which the attribute's are compared.
    Text {
        given: String,
        compared: String,
    },
    Boolean(bool),
    Moment(Moment),
    Null,
}

/// A filter.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Present(AttributePath),
    Compare(AttributePath, Comparison, Literal),
    /// One value of an attribute for which all of this is so.
    Within(AttributePath, Box<Filter>),
}

impl Filter {
    /// Reads a filter of resources.
    ///
    /// # Errors
    ///
    /// `invalidFilter` where it cannot be read, or names what is not there.
    pub(super) fn parse(of: &ResourceType, text: &str) -> Result<Self, Failure> {
        let mut parser = Parser { of: *of, within: None, text, depth: 0 };
        if text.len() > MAX_LENGTH {
            return Err(Failure::filter(format!("a filter is {MAX_LENGTH} bytes long at most")));
        }
        let filter = parser.filter()?;
        parser.skip_spaces();
        if parser.text.is_empty() { Ok(filter) } else { Err(parser.unexpected()) }
    }

    /// True if a resource, or a value of an attribute, is one that is looked for.
    pub(super) fn matches(&self, members: &Map<String, Value>) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.matches(members)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(members)),
            Self::Not(filter) => !filter.matches(members),
            Self::Present(path) => values(members, path).into_iter().any(is_present),
            Self::Compare(path, comparison, literal) => {
                compare(&values(members, path), main(path), *comparison, literal)
            }
            Self::Within(path, filter) => {
                let found = whole_values(members, path);
                found.into_iter().filter_map(Value::as_object).any(|value| filter.matches(value))
            }
        }
    }

    /// What has to be equal, whatever else has to be so: the comparisons that all results satisfy.
    pub(super) fn equalities(&self) -> Vec<(&AttributePath, Option<&AttributePath>, &str)> {
        match self {
            Self::And(all) => all.iter().flat_map(Self::equalities).collect(),
            Self::Compare(path, Comparison::Equal, Literal::Text { given, .. }) => vec![(path, None, given)],
            Self::Within(path, filter) => {
                let inner = filter.equalities().into_iter();
                inner.map(|(part, _, given)| (path, Some(part), given)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The attributes that it looks at, with the comparison and the value where there is one.
    pub(super) fn visit<'a>(
        &'a self,
        see: &mut dyn FnMut(&'a AttributePath, Option<(Comparison, &'a Literal)>),
    ) {
        match self {
            Self::And(all) | Self::Or(all) => all.iter().for_each(|filter| filter.visit(see)),
            Self::Not(filter) => filter.visit(see),
            Self::Present(path) => see(path, None),
            Self::Compare(path, comparison, literal) => see(path, Some((*comparison, literal))),
            // The names within are those of its parts.
            Self::Within(path, filter) => filter.visit(&mut |part, compared| {
                let is_value = part.attribute.name == "value";
                see(path, compared.filter(|_| is_value));
            }),
        }
    }

    /// The texts of a value that it would choose, where it only asks for equal texts; `None` for any other filter.
    pub(super) fn asked_for(&self) -> Option<Map<String, Value>> {
        match self {
            Self::And(all) => {
                let parts: Option<Vec<_>> = all.iter().map(Self::asked_for).collect();
                Some(parts?.into_iter().flatten().collect())
            }
            Self::Compare(path, Comparison::Equal, Literal::Text { given, .. }) => {
                Some(Map::from_iter([(path.attribute.name.to_owned(), Value::from(given.as_str()))]))
            }
            Self::Compare(path, Comparison::Equal, Literal::Boolean(given)) => {
                Some(Map::from_iter([(path.attribute.name.to_owned(), Value::from(*given))]))
            }
            _ => None,
        }
    }
}

/// The values of an attribute, each by itself.
fn whole_values<'a>(members: &'a Map<String, Value>, path: &AttributePath) -> Vec<&'a Value> {
    let members = match path.extension {
        Some(extension) => members.get(extension.id).and_then(Value::as_object),
        None => Some(members),
    };
    match members.and_then(|members| members.get(path.attribute.name)) {
        Some(Value::Array(values)) => values.iter().collect(),
        Some(value) => vec![value],
        None => Vec::new(),
    }
}

/// The values that a filter compares: those of the part that it names, else the main part of an object.
fn values<'a>(members: &'a Map<String, Value>, path: &AttributePath) -> Vec<&'a Value> {
    let found = whole_values(members, path);
    if path.attribute.kind != Kind::Complex {
        return found;
    }
    let part = path.part.map(|part| part.name);
    let of = |value: &'a Value| match part {
        Some(part) => value.get(part),
        None => value.get("value").or(Some(value)),
    };
    found.into_iter().filter_map(of).collect()
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

fn compare(found: &[&Value], of: &Attribute, comparison: Comparison, literal: &Literal) -> bool {
    if comparison == Comparison::NotEqual {
        return !compare(found, of, Comparison::Equal, literal);
    }
    if *literal == Literal::Null {
        return !found.iter().any(|value| is_present(value));
    }
    found.iter().any(|value| match literal {
        Literal::Text { compared, .. } => value.as_str().is_some_and(|text| {
            let text = if of.case_exact { text.to_owned() } else { fold(text) };
            holds(comparison, text.as_str(), compared.as_str())
        }),
        Literal::Boolean(wanted) => value.as_bool() == Some(*wanted),
        Literal::Moment(wanted) => {
            let moment = value.as_str().and_then(Moment::parse_rfc3339);
            moment.is_some_and(|moment| ordered(comparison, moment.cmp(wanted)))
        }
        Literal::Null => false,
    })
}

fn holds(comparison: Comparison, text: &str, wanted: &str) -> bool {
    match comparison {
        Comparison::Contains => text.contains(wanted),
        Comparison::StartsWith => text.starts_with(wanted),
        Comparison::EndsWith => text.ends_with(wanted),
        _ => ordered(comparison, text.cmp(wanted)),
    }
}

const fn ordered(comparison: Comparison, order: std::cmp::Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        _ => false,
    }
}

/// A reader of filters.
pub(super) struct Parser<'a> {
    of: ResourceType,
    /// The attribute whose parts are named, within brackets.
    within: Option<&'static Attribute>,
    /// The rest of the text.
    text: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// A reader of what stands in brackets after an attribute.
    pub(super) fn within(of: &ResourceType, attribute: &'static Attribute, text: &'a str) -> Self {
        Self { of: *of, within: Some(attribute), text, depth: 0 }
    }

    /// The text after the bracket that closes.
    pub(super) fn rest_after_bracket(&mut self) -> Result<&'a str, Failure> {
        self.expect("]")?;
        Ok(self.text)
    }

    /// A filter, up to where it ends.
    pub(super) fn filter(&mut self) -> Result<Filter, Failure> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(Failure::filter("the filter has too many parentheses"));
        }
        let mut any = vec![self.conjunction()?];
        while self.take_word("or") {
            any.push(self.conjunction()?);
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(only(any, Filter::Or))
    }

    fn conjunction(&mut self) -> Result<Filter, Failure> {
        let mut all = vec![self.term()?];
        while self.take_word("and") {
            all.push(self.term()?);
        }
        Ok(only(all, Filter::And))
    }

    fn term(&mut self) -> Result<Filter, Failure> {
        self.skip_spaces();
        let before = self.text;
        if self.take_word("not") {
            self.skip_spaces();
            if self.text.starts_with('(') {
                return Ok(Filter::Not(Box::new(self.in_parentheses()?)));
            }
            self.text = before;
        }
        if self.text.starts_with('(') {
            return self.in_parentheses();
        }
        self.expression()
    }

    fn in_parentheses(&mut self) -> Result<Filter, Failure> {
        self.expect("(")?;
        let filter = self.filter()?;
        self.expect(")")?;
        Ok(filter)
    }

    fn expression(&mut self) -> Result<Filter, Failure> {
        let name = self.word();
        let path = self.path(name)?;
        if self.text.starts_with('[') && self.within.is_none() && path.part.is_none() {
            if path.attribute.kind != Kind::Complex {
                return Err(Failure::filter(format!("{name:?} has no parts")));
            }
            self.expect("[")?;
            self.within = Some(path.attribute);
            let filter = self.filter()?;
            self.within = None;
            self.expect("]")?;
            return Ok(Filter::Within(path, Box::new(filter)));
        }
        self.skip_spaces();
        let operator = self.word().to_ascii_lowercase();
        if operator == "pr" {
            return Ok(Filter::Present(path));
        }
        let comparison = match operator.as_str() {
            "eq" => Comparison::Equal,
            "ne" => Comparison::NotEqual,
            "co" => Comparison::Contains,
            "sw" => Comparison::StartsWith,
            "ew" => Comparison::EndsWith,
            "gt" => Comparison::Greater,
            "ge" => Comparison::GreaterOrEqual,
            "lt" => Comparison::Less,
            "le" => Comparison::LessOrEqual,
            _ => return Err(Failure::filter(format!("{operator:?} is no operator"))),
        };
        let given = self.value()?;
        Ok(Filter::Compare(path, comparison, literal(&path, comparison, &given)?))
    }

    fn path(&self, name: &str) -> Result<AttributePath, Failure> {
        let found = match self.within {
            Some(attribute) => attribute.part(name).map(|part| AttributePath {
                extension: None,
                attribute: part,
                part: None,
            }),
            None => resolve(&self.of, name),
        };
        found.ok_or_else(|| {
            if name.is_empty() {
                self.unexpected()
            } else {
                Failure::filter(format!("{name:?} is no attribute"))
            }
        })
    }

    /// A JSON value: a text, or what stands up to the next space or bracket.
    fn value(&mut self) -> Result<Value, Failure> {
        self.skip_spaces();
        let (found, length) = if self.text.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(self.text).into_iter::<Value>();
            let found = values.next().and_then(Result::ok);
            (found, values.byte_offset())
        } else {
            let is_end = |c: char| c.is_whitespace() || matches!(c, ')' | ']');
            let length = self.text.find(is_end).unwrap_or(self.text.len());
            (self.text.get(..length).and_then(|text| serde_json::from_str(text).ok()), length)
        };
        match found {
            Some(value @ (Value::String(_) | Value::Bool(_) | Value::Null | Value::Number(_))) => {
                self.text = self.text.get(length..).unwrap_or_default();
                Ok(value)
            }
            _ => Err(Failure::filter("a value is a text in double quotes, true, false or null")),
        }
    }

    fn word(&mut self) -> &'a str {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '$' | '-' | '_');
        let end = self.text.find(|c| !is_part(c)).unwrap_or(self.text.len());
        let (word, rest) = self.text.split_at_checked(end).unwrap_or_default();
        self.text = rest;
        word
    }

    /// Takes a word that joins, in any case.
    fn take_word(&mut self, wanted: &str) -> bool {
        let before = self.text;
        self.skip_spaces();
        if self.word().eq_ignore_ascii_case(wanted) {
            return true;
        }
        self.text = before;
        false
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Failure> {
        self.skip_spaces();
        self.text = self.text.strip_prefix(wanted).ok_or_else(|| self.unexpected())?;
        Ok(())
    }

    fn skip_spaces(&mut self) {
        self.text = self.text.trim_start();
    }

    /// Values are not repeated: they may be private.
    fn unexpected(&self) -> Failure {
        Failure::filter(match self.text.len() {
            0 => "the filter ends too early".to_owned(),
            left => format!("the filter cannot be read, {left} bytes before its end"),
        })
    }
}

fn only(mut filters: Vec<Filter>, several: fn(Vec<Filter>) -> Filter) -> Filter {
    match filters.pop() {
        Some(filter) if filters.is_empty() => filter,
        Some(filter) => {
            filters.push(filter);
            several(filters)
        }
        None => several(filters),
    }
}

/// The attribute whose values are compared: of an object, its main part.
fn main(path: &AttributePath) -> &'static Attribute {
    let last = path.last();
    if last.kind == Kind::Complex { last.part("value").unwrap_or(last) } else { last }
}

/// The value in the form in which the attribute is compared with it.
fn literal(path: &AttributePath, comparison: Comparison, given: &Value) -> Result<Literal, Failure> {
    let attribute = main(path);
    let name = path.last().name;
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let is_order =
        !matches!(comparison, Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith);
    let wrong = || Failure::filter(format!("{name:?} is not compared with such a value, or not in this way"));
    match (attribute.kind, given) {
        (_, Value::Null) if is_equality => Ok(Literal::Null),
        (Kind::Text | Kind::Reference, Value::String(text)) => {
            let compared = if attribute.case_exact { text.clone() } else { fold(text) };
            Ok(Literal::Text { given: text.clone(), compared })
        }
        (Kind::Boolean, Value::Bool(value)) if is_equality => Ok(Literal::Boolean(*value)),
        (Kind::Boolean, Value::String(text)) if is_equality => {
            super::document::boolean(text).map(Literal::Boolean).ok_or_else(wrong)
        }
        (Kind::DateTime, Value::String(text)) if is_order => {
            Moment::parse_rfc3339(text).map(Literal::Moment).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schemas::{GROUPS, USERS};
    use super::*;

    fn ann() -> Map<String, Value> {
        let ann = json!({
            "id": "1", "userName": "Ann@Example.com", "active": true, "externalId": "X-7", "title": "",
            "name": { "givenName": "Ann", "familyName": "O'Hara \"x\"" },
            "emails": [
                { "value": "ann@work.example", "type": "work", "primary": true },
                { "value": "ann@home.example", "type": "home" },
            ],
            "meta": { "lastModified": "2024-05-01T10:00:00Z" },
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "Sales", "manager": { "value": "9" } },
        });
        ann.as_object().unwrap().clone()
    }

    #[test]
    fn filters_choose() {
        let ann = ann();
        for (filter, chosen) in [
            (r#"userName eq "ann@example.COM""#, true),
            (r#"USERNAME Eq "ann@example.com""#, true),
            (r#"externalId eq "x-7""#, false),
            (r#"externalId eq "X-7""#, true),
            (r#"userName ne "bob""#, true),
            (r#"userName co "EXAMPLE" and userName sw "ann" and userName ew ".com""#, true),
            (r#"userName gt "ann" and userName lt "b" and userName ge "a" and userName le "z""#, true),
            ("active eq true", true),
            (r#"active eq "False""#, false),
            ("nickName pr", false),
            ("nickName eq null", true),
            (r#"nickName ne "x""#, true),
            ("emails pr and name pr", true),
            (r#"emails co "@home""#, true),
            (r#"emails.type eq "other""#, false),
            (r#"emails.type ne "work""#, false),
            (r#"emails[type eq "work" and value ew "home.example"]"#, false),
            (r#"emails[type eq "work" and (value co "@work" or not (primary eq true))]"#, true),
            (r#"name.familyName eq "o'hara \"X\"""#, true),
            (r#"not (userName eq "bob") and (title pr or active eq false)"#, true),
            (r#"userName eq "bob" or active eq true and nickName pr"#, false),
            (r#"meta.lastModified gt "2024-05-01T11:59:59+02:00""#, true),
            (r#"meta.lastModified lt "2024-05-01T10:00:00Z""#, false),
            (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ann""#, true),
            (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "sales""#, true),
            (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager eq "9""#, true),
            (r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "8""#, false),
            ("(((userName pr)))", true),
        ] {
            let read = Filter::parse(&USERS, filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
            assert_eq!(read.matches(&ann), chosen, "{filter}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let deep = format!("{}userName pr{}", "(".repeat(40), ")".repeat(40));
        let long = format!("userName eq \"{}\"", "x".repeat(MAX_LENGTH));
        for filter in [
            "",
            " ",
            "userName",
            "userName eq",
            "userName eq ann",
            "userName xx \"a\"",
            "password eq \"x\"",
            "userName eq \"a",
            "userName eq \"a\" and",
            "(userName pr",
            "userName pr)",
            "not userName pr",
            "userName eq {}",
            "userName eq [1]",
            "userName eq 1",
            "active eq 7",
            "active gt true",
            "active co \"t\"",
            "meta.lastModified co \"2024\"",
            "meta.lastModified gt \"today\"",
            "emails[type eq \"work\"",
            "emails[kind eq \"work\"]",
            "emails[type eq \"a\"].value eq \"b\"",
            "userName[value eq \"a\"]",
            "userName gt null",
            "userName.x eq \"a\"",
            "urn:x:y eq \"a\"",
            "emails[emails[type pr]]",
            "\u{1f600}",
            "userName eq \"a\" xor active eq true",
            deep.as_str(),
            long.as_str(),
        ] {
            assert!(Filter::parse(&USERS, filter).is_err(), "{filter}");
        }
    }

    #[test]
    fn what_must_be_equal_is_known() {
        let told = |text: &str| {
            let filter = Filter::parse(&GROUPS, text).unwrap();
            let found = filter.equalities().into_iter().map(|(path, part, given)| {
                (path.attribute.name, part.or(None).map(|part| part.attribute.name), given.to_owned())
            });
            found.collect::<Vec<_>>()
        };
        assert_eq!(told(r#"displayName eq "A" and externalId pr"#), [("displayName", None, "A".to_owned())]);
        assert_eq!(told(r#"members[value eq "1"]"#), [("members", Some("value"), "1".to_owned())]);
        assert!(told(r#"displayName eq "A" or externalId eq "B""#).is_empty());
        assert!(told(r#"not (displayName eq "A")"#).is_empty());
    }
}
