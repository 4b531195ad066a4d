//! How answers are written: for people, or as JSON.

use serde::Serialize;

/// For whom an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Writes JSON, indented, to standard output.
pub fn json(value: &impl Serialize) {
    let text = serde_json::to_string_pretty(value).expect("because the views hold nothing that JSON lacks");
    line(&text);
}

/// Writes one line; a reader that went away (`| head`) is no reason to fail.
pub fn line(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// Rows in columns as wide as their widest cell.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = widths[column]));
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
