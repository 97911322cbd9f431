//! Laws that hold for every text.

use std::fmt::Write;

use proptest::prelude::*;

use crate::{Object, Value, format, parse};

/// The tree without positions, labels and repeated keys kept.
fn shape(object: &Object) -> String {
    fn print(value: &Value, out: &mut String) {
        match value {
            Value::List(elements) => {
                out.push('[');
                for element in elements {
                    print(&element.value, out);
                    out.push(',');
                }
                out.push(']');
            }
            Value::Object(object) => out.push_str(&shape(object)),
            other => write!(out, "{other:?}").unwrap(),
        }
    }
    let mut out = String::from("{");
    for item in &object.items {
        write!(out, "{:?}{:?}{}", item.key, item.labels, item.assigned).unwrap();
        print(&item.value, &mut out);
        out.push(';');
    }
    out.push('}');
    out
}

/// Words of the language, some of them wrong, that chance then puts in a row.
fn word() -> impl Strategy<Value = String> {
    let fixed = [
        "a",
        "bb",
        "true",
        "false",
        "{",
        "}",
        "[",
        "]",
        "=",
        ",",
        "\n",
        " ",
        "# c\n",
        "// c\n",
        "/* c */",
        "/* c\n */",
        "\"x\"",
        "\"${\"",
        "\"",
        "\\",
        "<<E\nx\nE\n",
        "<<-E\n x\n E\n",
        "<<",
        "1",
        "-1",
        "0x1F",
        "08",
        "1e",
        ".",
        "/",
        "*",
        "é",
        "\r\n",
        "\u{0}",
        "{\"a\":",
        "null",
        ":",
    ];
    prop_oneof![9 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// A comment or a line end, where the language allows either.
fn gap() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\n",
        "\n",
        "\n\n",
        " # c\n",
        "\n# c\n",
        "\n// c\n\n",
        " /* c */\n",
        "\n/* c\n d */\n",
    ])
}

/// A value of a text that is right, as text.
fn literal() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "1",
        "-0x1F",
        "2.5e3",
        "true",
        "\"s\"",
        "\"\\n${ \"x\" }\"",
        "<<E\n x\nE",
        "<<-E\n x\n E",
    ])
    .prop_map(str::to_owned)
}

/// A text that is right, with comments and line ends in all places.
fn document() -> impl Strategy<Value = String> {
    let value = literal().prop_recursive(4, 40, 4, |inner| {
        let list = prop::collection::vec((gap(), inner.clone(), gap()), 0..4).prop_map(|elements| {
            let body: Vec<String> =
                elements.iter().map(|(a, value, b)| format!("{a}{value}\n,{b}")).collect();
            format!("[{}]", body.concat())
        });
        let short = prop::collection::vec(prop::sample::select(vec!["1", "\"xx\""]), 0..4)
            .prop_map(|elements| format!("[{}]", elements.join(",")));
        prop_oneof![short, list, body(inner).prop_map(|body| format!("{{{body}}}"))]
    });
    body(value)
}

fn body(value: impl Strategy<Value = String> + Clone + 'static) -> BoxedStrategy<String> {
    let key = prop::sample::select(vec!["a", "bbb", "\"c d\"", "e.f-g"]);
    let item = (key, prop::sample::select(vec![" = ", "=", " = # c\n", " /* c */ = "]), value, gap())
        .prop_map(|(key, equals, value, gap)| {
            if value.starts_with('{') && equals == "=" {
                format!("{key} \"label\" {value}{gap}")
            } else {
                // A comment cannot follow a heredoc's marker on its line.
                let gap = if value.starts_with("<<") { "\n" } else { gap };
                format!("{key}{equals}{value}{gap}")
            }
        });
    (gap(), prop::collection::vec(item, 0..5))
        .prop_map(|(gap, items)| format!("{gap}{}", items.concat()))
        .boxed()
}

/// A JSON value without `null`, which HCL has not.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        "\\PC{0,8}"
            .prop_filter("an interpolation is not JSON's", |text| !text.contains("${"))
            .prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            json_object(inner).prop_map(Into::into),
        ]
    })
}

fn json_object(
    value: impl Strategy<Value = serde_json::Value>,
) -> impl Strategy<Value = serde_json::Map<String, serde_json::Value>> {
    prop::collection::btree_map("[a-z/*+ ]{1,6}", value, 0..5).prop_map(|map| map.into_iter().collect())
}

/// The JSON value in HCL's notation.
fn to_hcl(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Array(elements) => {
            format!("[{}]", elements.iter().map(to_hcl).collect::<Vec<_>>().join(", "))
        }
        serde_json::Value::Object(map) => format!("{{\n{}}}", to_hcl_items(map)),
        other => other.to_string(),
    }
}

fn to_hcl_items(map: &serde_json::Map<String, serde_json::Value>) -> String {
    let item = |(key, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::Object(_) => format!("{key:?} {}\n", to_hcl(value)),
        other => format!("{key:?} = {}\n", to_hcl(other)),
    };
    map.iter().map(item).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, timeout: 0, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&text);
        let _ = format(&text);
    }

    #[test]
    fn no_row_of_words_panics(words in prop::collection::vec(word(), 0..40)) {
        let text = words.concat();
        if let Ok(printed) = format(&text) {
            prop_assert_eq!(shape(&parse(&printed).unwrap()), shape(&parse(&text).unwrap()));
            prop_assert_eq!(format(&printed).unwrap(), printed);
        }
    }

    #[test]
    fn the_layout_keeps_the_meaning_and_every_comment(text in document()) {
        let printed = format(&text).unwrap();
        prop_assert_eq!(shape(&parse(&printed).unwrap()), shape(&parse(&text).unwrap()));
        prop_assert_eq!(format(&printed).unwrap(), printed.clone());
        let comments = |text: &str| text.matches(" c").count();
        prop_assert_eq!(comments(&printed), comments(&text));
    }

    #[test]
    fn json_and_hcl_read_the_same(map in json_object(json())) {
        let (json, hcl) = (serde_json::to_string(&map).unwrap(), to_hcl_items(&map));
        let (json, hcl) = (parse(&json).unwrap(), parse(&hcl).unwrap());
        prop_assert_eq!(json.to_json(), hcl.to_json());
        prop_assert_eq!(hcl.to_json(), serde_json::Value::Object(map.clone()));
        for (key, value) in map.iter().filter(|(_, value)| value.is_object()) {
            for labels in 0..2 {
                let view = |object: &Object| match object.blocks(key, labels) {
                    Ok(blocks) => Some(
                        blocks.iter().map(|block| format!("{:?}{}", block.labels, block.body.to_json())).collect::<Vec<_>>(),
                    ),
                    Err(_) => None,
                };
                prop_assert_eq!(view(&json), view(&hcl), "{} {}", key, value);
            }
        }
    }
}

#[test]
fn a_large_text_is_read_in_linear_time() {
    let text = "path \"a/b\" {\n  capabilities = [\"read\"] # c\n  x = 1\n}\n# c\n\n".repeat(40_000);
    assert_eq!(parse(&text).unwrap().items.len(), 40_000);
    assert_eq!(format(&text).unwrap().matches("# c").count(), 80_000);
}
