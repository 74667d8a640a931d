//! Counts as a table for each engine, and what has changed since others were taken.

use indexmap::IndexMap;

use super::columns::{self, Column, NEEDED};
use super::style::Style;
use crate::analysis::counts::{Change, Counts, Entry, Finding, Group, worst};

/// A line of the table.
struct Row {
    /// The group's name in its first line only.
    group: String,
    name: String,
    count: String,
}

/// Every count.
pub fn render(counts: &Counts, style: Style) -> String {
    let mut text = String::new();
    for entry in &counts.entries {
        let replica = if entry.replica { ", a replica" } else { "" };
        let title = format!("{} · {}{replica}", entry.title(), entry.model);
        text.push_str(&style.bold(&style.paragraph(&title)));
        if let Some(why) = &entry.missing {
            text.push_str(&style.caution(&format!("not counted: {why}")));
            continue;
        }
        let rows = rows(entry);
        text.push_str(&columns::render(of_rows(), &rows.iter().collect::<Vec<_>>(), style, |_| false));
        text.push('\n');
        for (why, groups) in left_out(entry) {
            text.push_str(&style.paragraph(&format!("{} are not counted: {why}", groups.join(", "))));
        }
        if entry.by_processor {
            let has = &counts.processor;
            let why =
                format!("kernels, and what they hold and copy, are those for a processor that has {has}");
            text.push_str(&style.paragraph(&why));
        }
    }
    text
}

fn of_rows() -> Vec<Column<Row>> {
    vec![
        Column::new("group", NEEDED, |row: &Row| Some(row.group.clone())),
        Column::new("of", NEEDED, |row: &Row| Some(row.name.clone())),
        Column::number("count", NEEDED, |row: &Row| Some(row.count.clone())),
    ]
}

fn rows(entry: &Entry) -> Vec<Row> {
    let of_group = |(group, counts): (&Group, &IndexMap<String, u64>)| {
        let row = |(place, (name, count)): (usize, (&String, &u64))| Row {
            group: if place == 0 { group.name().to_owned() } else { String::new() },
            name: name.clone(),
            count: group.print(*count),
        };
        counts.iter().enumerate().map(row).collect::<Vec<Row>>()
    };
    entry.groups.iter().flat_map(of_group).collect()
}

/// Why groups aren't counted, and which of them: an engine that refuses a configuration has one reason for several.
fn left_out(entry: &Entry) -> IndexMap<&str, Vec<&'static str>> {
    let mut reasons: IndexMap<&str, Vec<&str>> = IndexMap::new();
    for (group, why) in &entry.left_out {
        reasons.entry(why).or_default().push(group.name());
    }
    reasons
}

/// What has changed, the worst first, and what that means.
pub fn render_changes(changes: &[Change], style: Style) -> String {
    let text = lines(changes, style);
    let verdict = match worst(changes) {
        None => "no count has changed",
        Some(Finding::Aside) => "nothing that counts has changed",
        Some(Finding::Fewer) => "fewer, and more of nothing",
        Some(Finding::NotComparable) => "part of it can't be compared; of the rest there is more of nothing",
        Some(Finding::More) => "there is more than before",
    };
    text + &style.bold(&style.paragraph(&format!("→ {verdict}")))
}

/// A line for each change.
pub fn lines(changes: &[Change], style: Style) -> String {
    let line = |change: &Change| {
        let place = if change.place.is_empty() { String::new() } else { format!("{}: ", change.place) };
        let line = format!("{}  {place}{}", mark(change.finding), change.in_words());
        style.indented("", "                ", &line)
    };
    changes.iter().map(line).collect()
}

/// As wide as the longest of them.
fn mark(finding: Finding) -> String {
    let word = match finding {
        Finding::More => "more",
        Finding::NotComparable => "not comparable",
        Finding::Fewer => "fewer",
        Finding::Aside => "aside",
    };
    format!("{word:<14}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::counts::{FORMAT, changes};
    use crate::knob::Candidate;

    fn counts(add: u64) -> Counts {
        let entry = |backend: &str, missing: Option<String>| Entry {
            stage: "embed".into(),
            task: "embed".into(),
            model: "sentence-transformers/all-MiniLM-L6-v2".into(),
            replica: true,
            configuration: Candidate { backend: backend.into(), knobs: IndexMap::new() },
            by_processor: true,
            groups: match missing {
                Some(_) => IndexMap::new(),
                None => IndexMap::from([
                    (Group::Nodes, IndexMap::from([("Add".to_owned(), add), ("Gemm".to_owned(), 1024)])),
                    (Group::Weights, IndexMap::from([("fp32".to_owned(), 90 << 20)])),
                ]),
            },
            missing,
            left_out: IndexMap::from([(Group::NodesOnGpu, "no kernels for int8".to_owned())]),
        };
        Counts {
            format: FORMAT,
            suite: "s".into(),
            corpus_digest: "c".into(),
            processor: "AVX2".into(),
            entries: vec![entry("ort", None), entry("candle", Some("no model".into()))],
        }
    }

    #[test]
    fn a_table_fits_and_its_numbers_are_aligned() {
        let text = render(&counts(49), Style { width: 80, colour: false });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for wanted in [
            "embed · ort · sentence-transformers/all-MiniLM-L6-v2, a replica",
            "nodes on a GPU are not counted: no kernels for int8",
            "a processor that has AVX2",
            "! not counted: no model",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let end = |word: &str| {
            let line =
                text.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {text}"));
            line.trim_end().chars().count()
        };
        assert_eq!((end("Add"), end("Gemm")), (end("fp32"), end("fp32")), "{text}");
    }

    #[test]
    fn changes_are_told_with_what_they_mean() {
        let style = Style { width: 80, colour: false };
        let text = render_changes(&changes(&counts(49), &counts(73)), style);
        assert!(text.contains("more            embed · ort: Add 73, was 49 (+24)"), "{text}");
        assert!(text.ends_with("→ there is more than before\n"), "{text}");
        let text = render_changes(&[], style);
        assert_eq!(text, "→ no count has changed\n");
    }
}
