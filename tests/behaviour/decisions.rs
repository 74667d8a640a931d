//! What the search decided: told from the journal, and led by what another run has found.

use serde_json::Value as Json;

use crate::support::{Place, STAGE, autotune, suite, text};

/// Ninety configurations, of which more documents at once are better, and length order as well.
fn place() -> Place {
    let knobs = "batch_size = [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 23, 24]\n\
                 order = [\"arrival\", \"length\"]\nmax_tokens = [\"none\", 48, 32]\n";
    let stage = format!("{STAGE}\n[stages.knobs]\n{knobs}");
    Place::with_suite(&suite(&stage, "batch_ms = 4\nnoise = 0.01\n"))
}

fn decisions(place: &Place, more: &[&str]) -> Json {
    let arguments = [&["report", "run", "--decisions", "--json"], more].concat();
    let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

fn reasons(decisions: &Json) -> Vec<String> {
    let candidates = decisions[0]["candidates"].as_array().unwrap().iter();
    candidates.map(|one| one["tried"]["reason"].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn a_run_says_why_each_candidate_was_tried_and_why_it_was_left() {
    let place = place();
    place.best(&["--search", "guided", "--budget", "60trials"], 0);
    let told = decisions(&place, &[]);
    let reasons = reasons(&told);
    assert_eq!(reasons.iter().filter(|reason| *reason == "baseline").count(), 1, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason == "far"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason == "promising"), "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason != "-"), "{reasons:?}");
    let candidates = told[0]["candidates"].as_array().unwrap();
    let left: Vec<&Json> = candidates.iter().filter(|one| !one["left"].is_null()).collect();
    assert!(!left.is_empty(), "{told:#}");
    // Whoever was left has no later round than that from which it was left on.
    for one in left {
        assert!(one["rounds"].as_u64() <= one["left"]["round"].as_u64(), "{one:#}");
    }
    let stopped = told[0]["stopped"]["reason"].as_str().unwrap();
    assert!(["spent", "not-worth-it"].contains(&stopped), "{stopped}");
    let best = place.best_json();
    assert_eq!(best["stages"][0]["stopped"]["reason"], stopped);

    let output = autotune(&["report", "run", "--decisions"]).current_dir(place.path()).output().unwrap();
    let said = text(&output);
    assert!(said.contains("the default") && said.contains("may gain"), "{said}");
    assert!(said.contains("Then the search stopped: "), "{said}");
}

#[test]
fn a_grid_says_that_it_asks_nothing_of_what_it_sees() {
    let place = place();
    place.best(&["--search", "grid", "--budget", "15trials"], 0);
    let told = decisions(&place, &[]);
    let (baseline, others): (Vec<String>, Vec<String>) =
        reasons(&told).into_iter().partition(|reason| reason == "baseline");
    assert_eq!(baseline.len(), 1);
    assert!(!others.is_empty() && others.iter().all(|reason| reason == "in-turn"), "{others:?}");
    assert_eq!(told[0]["stopped"]["reason"], "spent");
    assert_eq!(told[0]["not_tried"].as_u64(), Some(91 - 1 - others.len() as u64));
}

#[test]
fn a_search_begins_with_what_another_run_has_found() {
    let place = place();
    place.best(&["--search", "grid", "--rounds", "1"], 0);
    std::fs::rename(place.run_folder(), place.path().join("before")).unwrap();
    let best: Json =
        serde_json::from_slice(&std::fs::read(place.path().join("before/best.json")).unwrap()).unwrap();
    let output = place.tune(&["--prior", "before", "--budget", "12trials"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    // Those of 32 tokens miss the limit on quality, here as there.
    assert!(said.contains("prior: 61 configurations of before"), "{said}");
    let told = decisions(&place, &[]);
    let candidates = told[0]["candidates"].as_array().unwrap();
    let expected =
        candidates.iter().find(|one| one["tried"]["reason"] == "expected").expect("one that was expected");
    let speed = |one: &Json| one["figures"]["throughput"]["value"].as_f64().unwrap();
    let before = best["stages"][0]["candidates"].as_array().unwrap();
    let of_expected = before.iter().find(|one| one["id"] == expected["id"]).map(speed).unwrap();
    let most = before.iter().map(speed).fold(0.0, f64::max);
    assert!(of_expected > 0.97 * most, "{of_expected} of {most}");

    // What was told is in the run's own journal.
    std::fs::remove_dir_all(place.path().join("before")).unwrap();
    let arguments = ["--resume", "run", "--budget", "18trials"];
    let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(place.trials().len() > 12);
}

#[test]
fn a_prior_that_tells_nothing_is_refused_with_its_reason() {
    let place = place();
    place.best(&["--budget", "3trials"], 0);
    std::fs::rename(place.run_folder(), place.path().join("before")).unwrap();
    for (arguments, why) in [
        (vec!["--prior", "nowhere"], "nowhere doesn't contain a run"),
        (
            vec!["--prior", "before", "--set", "max_tokens=16,17", "--set", "batch_size=5,7"],
            "fewer than two are this suite's",
        ),
    ] {
        let output = place.tune(&arguments);
        assert!([Some(1), Some(2)].contains(&output.status.code()), "{}", text(&output));
        assert!(text(&output).contains(why), "{}", text(&output));
        assert!(!place.run_folder().exists(), "{arguments:?}");
    }
}

#[test]
fn a_run_is_a_grid_that_searches_can_play_on() {
    let place = place();
    place.best(&["--search", "grid", "--rounds", "2"], 0);
    let play = |arguments: &[&str]| {
        let output = autotune(arguments).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        output
    };
    let document = |grid: &str| -> Json {
        let output =
            play(&["replay", grid, "--seeds", "3", "--trials", "30", "--json", "--search", "guided"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    play(&["replay", "run", "--save", "own.csv"]);
    let (run, file) = (document("run"), document("own.csv"));
    assert!(run[0]["difficulty"]["configurations"].as_u64() >= Some(90), "{run:#}");
    assert_eq!((&run[0]["difficulty"], &run[0]["searches"]), (&file[0]["difficulty"], &file[0]["searches"]));
    let saved = std::fs::read_to_string(place.path().join("own.csv")).unwrap();
    assert!(
        saved.starts_with(
            "backend,batch_size,max_tokens,order,throughput,samples,error,memory_mib,trial_seconds\n"
        ),
        "{saved}"
    );
    let output = autotune(&["replay", "run", "--stage", "x"]).current_dir(place.path()).output().unwrap();
    assert!(text(&output).contains("the run has the stages embed"), "{}", text(&output));
}
