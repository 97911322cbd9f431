//! Aligned columns.

use std::fmt::Write;

use super::text::visible;

const GAP: &str = "    ";

/// Lays rows out in columns, four spaces apart. Cells are trimmed; an empty cell shows as `n/a`. The last column is not
/// padded.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    aligned(rows, GAP, "n/a")
}

/// Lays rows out in columns with `gap` between them; `empty` stands for a cell without text.
pub(crate) fn aligned(rows: &[Vec<String>], gap: &str, empty: &str) -> String {
    let cell = |text: &String| {
        let text = visible(text.trim());
        if text.is_empty() { empty.to_owned() } else { text.into_owned() }
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let lines = rows.iter().map(|row| {
        let last = row.len().saturating_sub(1);
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if at == last {
                line.push_str(cell);
            } else {
                // Writing to a string cannot fail.
                let _ = write!(line, "{cell:width$}{gap}");
            }
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Rows under a header, underlined.
pub(crate) fn headed(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut all = vec![
        header.iter().map(|name| (*name).to_owned()).collect(),
        header.iter().map(|name| "-".repeat(name.chars().count())).collect(),
    ];
    all.extend(rows);
    columns(&all)
}

/// The `Key  Value` table.
pub(crate) fn pairs(rows: &[(String, String)]) -> String {
    headed(&["Key", "Value"], rows.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect())
}

/// The width of [`pairs`], the way titles above it are measured: by its keys and the word `Value`.
pub(crate) fn pairs_width(rows: &[(String, String)]) -> usize {
    let keys = rows.iter().map(|(key, _)| key.trim().chars().count()).max().unwrap_or(0);
    keys.saturating_add(GAP.len()).saturating_add("Value".len())
}

/// A title over something `width` wide: `== Data ==`.
pub(crate) fn title(text: &str, width: usize) -> String {
    let text = visible(text);
    let bare = text.chars().count().saturating_add(2);
    let side = match width.checked_sub(bare) {
        None | Some(0) => 2,
        Some(left) => left.div_ceil(2),
    };
    let side = "=".repeat(side);
    format!("{side} {text} {side}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn pairs_are_aligned() {
        let rows = [pair("created_time", "x"), pair("a", ""), pair("é", "  trimmed  ")];
        let wanted = "Key             Value\n---             -----\ncreated_time    x\na               n/a\né               trimmed";
        assert_eq!(pairs(&rows), wanted);
    }

    #[test]
    fn cells_do_not_steer_the_terminal() {
        let shown = pairs(&[pair("a\u{1b}[8m", "\u{202e}x")]);
        assert!(shown.ends_with("a\u{fffd}[8m    \u{fffd}x"), "{shown}");
        assert!(!title("a\u{9b}b", 9).contains('\u{9b}'));
    }

    #[test]
    fn empty_keys_and_long_values_hold() {
        assert_eq!(pairs(&[pair("", "v")]), "Key    Value\n---    -----\nn/a    v");
        assert_eq!(columns(&[]), "");
    }

    #[test]
    fn titles_are_centred_as_vault_centres_them() {
        assert_eq!(title("Secret Path", 13), "== Secret Path ==");
        assert_eq!(title("Secret Path", 14), "= Secret Path =");
        assert_eq!(title("Secret Path", 16), "== Secret Path ==");
        assert_eq!(title("Secret Path", 18), "=== Secret Path ===");
        assert_eq!(title("Secret Path", 10), "== Secret Path ==");
        let data = |key: &str| title("Data", pairs_width(&[pair(key, "1")]));
        assert_eq!(data("k"), "== Data ==");
        assert_eq!(data("kk"), "=== Data ===");
        assert_eq!(data("kkkkkkkkkk"), "======= Data =======");
    }
}
