//! Runs that older versions of the program have made.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{autotune, text};

/// A folder with the journal alone of a run that was made before rounds were what counts.
fn run(name: &str) -> (tempfile::TempDir, PathBuf) {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runs").join(name).join("journal.jsonl");
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("run");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(fixture, folder.join("journal.jsonl")).unwrap();
    (scratch, folder)
}

#[test]
fn a_report_is_made_of_an_older_journal_alone() {
    let (_scratch, folder) = run("before-rounds");
    let output = autotune(&["report"]).arg(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let best: Value = serde_json::from_slice(&std::fs::read(folder.join("best.json")).unwrap()).unwrap();
    let stages = best["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 2);
    for (stage, candidates) in stages.iter().zip([7, 3]) {
        let ranked = stage["candidates"].as_array().unwrap();
        assert_eq!((ranked.len(), &ranked[0]["verdict"]), (candidates, &Value::from("won")), "{stage}");
        // Judged as runs are today.
        let throughput = &ranked[0]["figures"]["throughput"];
        assert!(throughput["low"].as_f64() < throughput["value"].as_f64(), "{throughput}");
    }
    let statuses: Vec<&str> =
        stages[0]["candidates"].as_array().unwrap().iter().filter_map(|one| one["status"].as_str()).collect();
    assert_eq!(statuses.len(), 2, "out of memory, and below quality: {statuses:?}");
    for file in ["trials.csv", "report.html", ".env.optimized", "plots"] {
        assert!(folder.join(file).exists(), "{file}");
    }
}

#[test]
fn older_runs_are_compared_with_one_another() {
    let ((_one, then), (_other, now)) = (run("before-rounds"), run("before-rounds-again"));
    let output = autotune(&["compare"]).args([&then, &now]).arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let comparison: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stages = comparison["stages"].as_array().unwrap();
    let shared = |stage: &Value| stage["shared"].as_array().unwrap().len();
    assert_eq!(stages.iter().map(shared).collect::<Vec<_>>(), [6, 3]);
    // The simulated engine is the same in both, and its intervals hold that. One candidate missed its limit in the first round,
    // and has no interval.
    let ratios = stages[0]["shared"].as_array().unwrap().iter().map(|shared| &shared["ratio"]);
    let (told, alone): (Vec<&Value>, Vec<&Value>) = ratios.partition(|ratio| ratio["low"].is_number());
    assert_eq!((told.len(), alone.len()), (5, 1));
    for ratio in told {
        assert!(ratio["low"].as_f64() < Some(1.0) && ratio["high"].as_f64() > Some(1.0), "{ratio}");
    }
}
