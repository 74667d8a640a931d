//! What the documents say, held against the program.

use std::collections::BTreeSet;

use autotune::emit::dialect::DIALECTS;
use autotune::knob::KnobSpec;
use autotune::suite::{self, Figure, Overrides, SuiteSource, built_in_names};
use autotune::task::Task;
use autotune::worker::protocol::{Event, Request};

use crate::support::autotune;

fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR")))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text between a heading and the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text
        .match_indices('\n')
        .map(|(place, _)| place + 1)
        .find(|place| text[*place..].lines().next().unwrap_or("").trim_start_matches('#').trim() == heading)
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let rest = &text[start..];
    let end = rest
        .match_indices("\n#")
        .map(|(place, _)| place)
        .find(|place| !in_code(rest, *place))
        .unwrap_or(rest.len());
    &rest[..end]
}

/// Whether a place lies in a block of code, where # begins no heading.
fn in_code(text: &str, place: usize) -> bool {
    text[..place].matches("\n```").count() % 2 == 1
}

/// What stands in backquotes in the first column of a section's tables.
fn first_column(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cell = row.trim_start_matches('|').split(" |").next().unwrap_or_default().to_owned();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

fn set<T: ToString>(names: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}

#[test]
fn the_reference_of_suites_has_every_key_and_no_other() {
    let reference = document("suites/README.md");
    for (name, keys) in suite::sections() {
        assert!(!keys.is_empty(), "{name}");
        assert_eq!(
            first_column(section(&reference, name)),
            set(keys),
            "the table of {name:?} in suites/README.md"
        );
    }
}

#[test]
fn the_reference_of_suites_names_every_figure_task_metric_knob_and_dialect() {
    let reference = document("suites/README.md");
    let names = |heading: &str| first_column(section(&reference, heading));
    assert_eq!(names("Figures"), set(Figure::ALL.map(Figure::name)));
    assert_eq!(names("Tasks"), set(Task::ALL.map(Task::name)));
    assert_eq!(
        names("Metrics"),
        set(Task::ALL.iter().flat_map(|task| task.metrics()).map(|metric| metric.name()))
    );
    let knobs = |knobs: Vec<KnobSpec>| set(knobs.into_iter().map(|knob| knob.name));
    let (pipeline, overlap) = (autotune::pipeline::knobs(), autotune::pipeline::overlap_knobs());
    assert_eq!(names("Knobs of the pipeline"), knobs(pipeline.into_iter().chain(overlap).collect()));
    for engine in ["candle", "ort"] {
        let own = autotune::backend::open(engine, serde_json::Value::Null).unwrap().knobs();
        assert_eq!(names(&format!("Knobs of {engine}")), knobs(own), "{engine}");
    }
    assert_eq!(names("Dialects"), set(DIALECTS.iter().map(|dialect| dialect.name)));
    assert_eq!(names("Suites here"), set(built_in_names()));
}

#[test]
fn the_examples_of_the_reference_are_valid_suites() {
    let reference = document("suites/README.md");
    let examples = blocks(&reference, "toml");
    assert!(examples.len() >= 2);
    for example in examples {
        let source = SuiteSource {
            name: "example".into(),
            file: "suites/README.md".into(),
            text: example.to_owned(),
            folder: suite::Folder::BuiltIn,
        };
        if let Err(problem) = suite::parse(&source, &Overrides::default(), &autotune::emit::env::names()) {
            panic!("{problem}\n{example}");
        }
    }
}

#[test]
fn the_built_in_suites_are_valid_and_described() {
    for name in built_in_names() {
        let source = SuiteSource::find(name).unwrap();
        let suite = suite::parse(&source, &Overrides::default(), &autotune::emit::env::names()).unwrap();
        assert!(!suite.description.is_empty(), "{name}");
        suite.documents(&source.folder).unwrap();
    }
}

#[test]
fn the_examples_of_the_protocol_are_requests_and_events() {
    let protocol = document("docs/PROTOCOL.md");
    let mut read = 0;
    for block in blocks(&protocol, "json") {
        // Broken lines are joined: an object ends where its braces do.
        let values = serde_json::Deserializer::from_str(block).into_iter::<serde_json::Value>();
        for value in values {
            let value = value.unwrap_or_else(|error| panic!("{error}\n{block}"));
            if value.get("do").is_some() {
                let request: Request =
                    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"));
                let again = serde_json::to_value(&request).unwrap();
                assert_eq!(again, value, "the document shows every field, and no other");
            } else {
                serde_json::from_value::<Event>(value.clone())
                    .unwrap_or_else(|error| panic!("{error}: {value}"));
            }
            read += 1;
        }
    }
    assert!(read >= 9, "{read}");
    assert!(
        protocol.contains(&format!("Version of the protocol: **{}**", autotune::worker::protocol::VERSION))
    );
}

#[test]
fn the_columns_of_the_table_are_explained() {
    let readme = document("results/README.md");
    let columns = first_column(section(&readme, "trials.csv"));
    let (before, after) = (autotune::emit::trials::BEFORE, autotune::emit::trials::AFTER);
    assert_eq!(columns, set(before.iter().chain(&after)));
}

#[test]
fn the_metrics_and_columns_of_the_monitor_are_explained() {
    let document = document("docs/MONITOR.md");
    let metrics = autotune::emit::prometheus::METRICS.map(|metric| metric.name);
    let own = autotune::emit::prometheus::OWN.map(|(name, ..)| name);
    assert_eq!(first_column(section(&document, "Metrics")), set(metrics.into_iter().chain(own)));
    assert_eq!(first_column(section(&document, "CSV")), set(autotune::emit::monitor::COLUMNS));
    for reason in autotune::telemetry::Reason::ALL {
        assert!(document.contains(&format!("`{}`", reason.name())), "{}", reason.name());
    }
}

#[test]
fn the_columns_of_memory_are_explained() {
    let readme = document("results/README.md");
    assert_eq!(first_column(section(&readme, "memory.csv")), set(autotune::emit::memory::COLUMNS));
}

#[test]
fn every_verb_and_flag_is_in_the_readme() {
    let readme = document("README.md");
    let help = autotune(&["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let verbs = verbs.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let mut count = 0;
    for verb in verbs.filter(|verb| *verb != "help") {
        assert!(
            readme.contains(&format!("autotune {verb}")),
            "the README has no example of `autotune {verb}`"
        );
        count += 1;
    }
    assert!(count >= 5, "{help}");
    for word in help.split_whitespace().filter(|word| word.starts_with("--") && word.len() > 3) {
        let flag: String = word.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
        assert!(readme.contains(&flag), "the README doesn't speak of {flag}");
    }
}

#[test]
fn every_package_has_its_reason() {
    let manifests =
        ["Cargo.toml", "worker/Cargo.toml"].map(|name| document(name).parse::<toml::Table>().unwrap());
    let contributing = document("CONTRIBUTING.md");
    let reasons = first_column(section(&contributing, "Packages"));
    let mut packages = BTreeSet::new();
    for (name, value) in manifests.iter().flatten() {
        match (name.as_str(), value) {
            ("dependencies" | "dev-dependencies" | "build-dependencies", toml::Value::Table(table)) => {
                packages.extend(table.keys().cloned())
            }
            ("target", toml::Value::Table(targets)) => {
                let tables = targets.values().filter_map(|target| target.get("dependencies")?.as_table());
                packages.extend(tables.flat_map(|table| table.keys().cloned()));
            }
            _ => {}
        }
    }
    // The one is the other's.
    packages.remove("autotune-worker");
    assert_eq!(reasons, packages);
}

/// Paths in backquotes or links that look like files of the project must be there.
#[test]
fn the_files_that_the_documents_name_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/DESIGN.md",
        "docs/METHODOLOGY.md",
        "docs/MONITOR.md",
        "docs/PROTOCOL.md",
        "suites/README.md",
        "results/README.md",
    ];
    for name in documents {
        let text = document(name);
        for word in text.split(['`', '(', ')', ' ', '\n']) {
            let folder =
                ["src/", "docs/", "suites/", "tests/", "benches/", "scripts/", "results/reference/", ".ci/"];
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
            // `docs/s` is a unit, and NAME stands for any name.
            if plain
                && word != "docs/s"
                && !word.contains("NAME")
                && folder.iter().any(|folder| word.starts_with(folder))
            {
                let path = word.trim_end_matches(['.', '/']);
                assert!(root.join(path).exists(), "{name} names {word}, which isn't there");
            }
        }
    }
}
