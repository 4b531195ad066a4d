//! What was measured: one line of the table, and one object of the JSON file.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

/// One line. What a line has no value of stays empty.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) line: String,
    pub(crate) objects: usize,
    pub(crate) ours_s: Option<f64>,
    pub(crate) floor_s: Option<f64>,
    /// Ours by the floor's of each pair; without pairs the ratio is that of what is above.
    pub(crate) ratios: Vec<f64>,
    pub(crate) requests: Option<usize>,
    pub(crate) cpu_s: Option<f64>,
    pub(crate) rss_mib: Option<f64>,
    pub(crate) bar: Bar,
}

/// What a line should be, and whether it is.
#[derive(Default)]
pub(crate) enum Bar {
    /// Only told.
    #[default]
    None,
    /// Ours takes at most so many times as long as the floor.
    Ratio(f64),
    /// Something else, in words, and whether it holds.
    Holds(String, bool),
}

impl Line {
    /// The two of a pair follow each other, so a machine that becomes slower meanwhile is in both: the median is that of their
    /// ratios, not the ratio of two medians from different pairs.
    fn ratio(&self) -> Option<f64> {
        if self.ratios.is_empty() { Some(self.ours_s? / self.floor_s?) } else { Some(median(&self.ratios)) }
    }

    /// The ratio, and between which ratios those of the pairs lie.
    fn ratio_text(&self) -> String {
        let ratio = self.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        match self.ratios.len() {
            0 | 1 => ratio,
            _ => format!("{ratio} ({:.2}-{:.2})", quantile(&self.ratios, 0.0), quantile(&self.ratios, 1.0)),
        }
    }

    fn bar(&self) -> (String, Option<bool>) {
        match &self.bar {
            Bar::None => (String::new(), None),
            Bar::Ratio(most) => (format!("<= {most}x floor"), self.ratio().map(|ratio| ratio <= *most)),
            Bar::Holds(bar, holds) => (bar.clone(), Some(*holds)),
        }
    }

    fn json(&self) -> Value {
        let (bar, holds) = self.bar();
        json!({
            "line": self.line, "objects": self.objects, "ours_s": self.ours_s, "floor_s": self.floor_s,
            "ratio": self.ratio(), "requests": self.requests, "cpu_s": self.cpu_s, "rss_mib": self.rss_mib,
            "bar": bar, "holds": holds,
        })
    }

    fn text(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
        let (bar, holds) = self.bar();
        let holds = holds.map_or("", |holds| if holds { "holds" } else { "MISSED" });
        format!(
            "{:<46} {:>7} {:>9} {:>9} {:>16} {:>9} {:>8} {:>8}  {bar:<34} {holds}",
            self.line,
            self.objects,
            number(self.ours_s),
            number(self.floor_s),
            self.ratio_text(),
            self.requests.map_or_else(|| "-".into(), |count| count.to_string()),
            number(self.cpu_s),
            self.rss_mib.map_or_else(|| "-".into(), |mib| format!("{mib:.1}")),
        )
    }
}

/// Everything that was measured so far. Each line is told as soon as it is there.
pub(crate) struct Lines {
    lines: Vec<Line>,
    json: Option<std::fs::File>,
}

impl Lines {
    /// No line yet; the JSON file is empty.
    pub(crate) fn new(json: Option<PathBuf>) -> Lines {
        let json = json.map(|path| {
            std::fs::File::create(&path).unwrap_or_else(|error| panic!("could not write `{}`: {error}", path.display()))
        });
        println!(
            "{:<46} {:>7} {:>9} {:>9} {:>16} {:>9} {:>8} {:>8}  bar",
            "line", "objects", "ours s", "floor s", "ratio", "requests", "cpu s", "rss MiB"
        );
        Lines { lines: Vec::new(), json }
    }

    /// Tells a line.
    pub(crate) fn tell(&mut self, line: Line) {
        println!("{}", line.text());
        if let Some(file) = &mut self.json {
            writeln!(file, "{}", line.json()).expect("because the file is open");
        }
        self.lines.push(line);
    }

    /// The line about memory: the bars are for 1,000 and 10,000 objects.
    pub(crate) fn memory(&mut self, objects: usize, peak: f64) {
        let most = if objects <= 1_000 { 64.0 } else { 256.0 };
        let bar = Bar::Holds(format!("<= {most} MiB"), peak <= most);
        self.tell(Line { line: "peak memory".into(), objects, rss_mib: Some(peak), bar, ..Line::default() });
    }

    /// How many bars were held.
    pub(crate) fn end(self) {
        let judged: Vec<bool> = self.lines.iter().filter_map(|line| line.bar().1).collect();
        println!("{} of {} bars held", judged.iter().filter(|holds| **holds).count(), judged.len());
    }
}

/// The middle of what was measured, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Ours by the other's of each pair, as far as both were measured.
pub(crate) fn ratios(ours: &[f64], other: &[f64]) -> Vec<f64> {
    ours.iter().zip(other).map(|(ours, other)| ours / other).collect()
}

/// What this share of the values is not above.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}
