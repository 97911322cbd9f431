//! The canonical layout. The expected texts were compared with what `vault policy fmt` prints, except where a test
//! says that comments stay in their block or list.

use crate::format;

/// Checks the layout of a text, and that the layout of the layout is itself.
fn check(text: &str, wanted: &str) {
    let printed = format(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(printed, wanted, "\n{printed}");
    assert_eq!(format(&printed).unwrap(), printed, "again");
}

#[test]
fn a_policy() {
    check(
        "# Policy of the web tier.\n\n# Reads its secrets.\npath \"secret/data/web/*\" {\n\
         capabilities=[\"read\",\"list\"] # no write\nmin_wrapping_ttl=\"1m\"\n\
           allowed_parameters = { \"a\" = [] , \"*\" = []}\n  }\npath \"sys/*\" {policy=\"deny\"} # never\n# end",
        r#"# Policy of the web tier.

# Reads its secrets.
path "secret/data/web/*" {
  capabilities     = ["read", "list"] # no write
  min_wrapping_ttl = "1m"

  allowed_parameters = {
    "a" = []

    "*" = []
  }
}

path "sys/*" {
  policy = "deny"
} # never

# end
"#,
    );
}

#[test]
fn outermost_items_are_spaced() {
    check("a = 1\nbbb=2\n\n\n\nc {}\nd \"x\" y {\n\n}", "a = 1\n\nbbb = 2\n\nc {}\n\nd \"x\" y {}\n");
    check("", "");
    check("\r\n \n", "");
    check("\u{feff}a=1", "a = 1\n");
    check("a=1,b=2", "a = 1\n\nb = 2\n");
}

#[test]
fn short_arguments_on_adjacent_lines_are_aligned() {
    check(
        "o {\na = 1 # x\nbbb = 22222\n\nc=3\n# lead\ndddddddd=4 /* y */\nee = 5\nf { g = 1 }\nh=[\n]\niii=[1,2]\n}",
        r"o {
  a   = 1     # x
  bbb = 22222

  c = 3

  # lead
  dddddddd = 4 /* y */
  ee       = 5

  f {
    g = 1
  }

  h = []

  iii = [1, 2]
}
",
    );
}

#[test]
fn arguments_on_one_line_are_not_a_run() {
    check("o { a=1 bb=2\n ccc=3 }", "o {\n  a = 1\n\n  bb  = 2\n  ccc = 3\n}\n");
}

#[test]
fn lists() {
    check("a=[]\nb=[1,2,]\nc=[1,\n2]\nd=[\n]", "a = []\n\nb = [1, 2]\n\nc = [\n  1,\n  2,\n]\n\nd = []\n");
    check("g=[{a=1},{}]", "g = [\n  {\n    a = 1\n  },\n  {},\n]\n");
    check("h=[[1,2],\n[3]]", "h = [\n  [1, 2],\n  [3],\n]\n");
    check(
        "a=[\n#l\n1, # one\n\"two\",# two\n3,\n#l\n4,\n#l\n5\n]",
        "a = [\n  #l\n  1,     # one\n\n  \"two\", # two\n  3,\n\n  #l\n  4,\n\n  #l\n  5,\n]\n",
    );
}

#[test]
fn heredocs_stay_as_they_are() {
    check(
        "o {\n a = 1\n b = <<-E\n     x\n   y\n   E\n c = 2\n}",
        "o {\n  a = 1\n\n  b = <<-E\n     x\n   y\n   E\n\n  c = 2\n}\n",
    );
    check("a=[<<E\nx\nE\n]", "a = [<<E\nx\nE\n]\n");
    check("o {\n a=[1, <<E\nx\nE\n]\n}", "o {\n  a = [\n    1,\n    <<E\nx\nE\n    ,\n  ]\n}\n");
    check("a = <<E\r\nx\r\nE\r\n", "a = <<E\nx\nE\n");
    check("a = <<E\n\r\r\nE\n", "a = <<E\n\nE\n");
    check("a = \"${\n  x}\"", "a = \"${\n  x}\"\n");
}

#[test]
fn comments_stay_in_their_block_or_list() {
    check("a { # one\n}", "a {\n  # one\n}\n");
    check("a { # one\n\n  b = 1\n  # two\n}", "a {\n  # one\n\n  b = 1\n\n  # two\n}\n");
    check("a = [ # one\n1 # two\n]", "a = [\n  # one\n  1, # two\n]\n");
    check("a = [1, # one\n# two\n\n# three\n]", "a = [\n  1, # one\n\n  # two\n\n  # three\n]\n");
    check("a { b = 1, # one\n c = 22, # two\n}", "a {\n  b = 1  # one\n  c = 22 # two\n}\n");
    check("a = [ /* none */ ]", "a = [\n  /* none */\n]\n");
}

#[test]
fn comments_in_odd_places_are_kept() {
    check("a /* x */ = 1", "/* x */\na = 1\n");
    check("a = # x\n1", "# x\na = 1\n");
    check("/* x */ a = 1", "/* x */\n\na = 1\n");
    check("a = 1 /* x */ b = 2", "a = 1\n\n/* x */\n\nb = 2\n");
    check("o {\na = 1 /* x\n   y */\nb = 2\n}", "o {\n  a = 1 /* x\n   y */\n\n  b = 2\n}\n");
    check("// x\n/* y\n z */\n\n\n# u", "// x\n/* y\n z */\n\n# u\n");
    check("a = 1 # x   \r\n", "a = 1 # x\n");
}

#[test]
fn what_cannot_be_parsed_is_not_formatted() {
    assert_eq!(format("a = \"\\q\"").unwrap_err().position.to_string(), "1:6");
    assert_eq!(
        format("a = ").unwrap_err().to_string(),
        "At 1:5: expected a value, found the end of the text"
    );
    assert_eq!(format("{\"a\": 1}").unwrap_err().to_string(), "At 1:1: expected a key, found \"{\"");
}
