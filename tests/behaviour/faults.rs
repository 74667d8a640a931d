//! Whatever a worker does, it becomes a row with its reason, and the run goes on.

use crate::support::{Place, STAGE, suite, text, winner};

/// One candidate is as it should be, one goes wrong in the given way.
fn faulty(fault: &str, more: &str) -> Place {
    let stage = format!(
        "rounds = 2\ntimeouts = {{ measure = \"3s\", answer = \"3s\", load = \"3s\" }}\n{STAGE}\n[stages.knobs]\nk = [\"good\", \"bad\"]\n"
    );
    let script = format!(
        "batch_ms = 2\nknobs.k = {{ applies = \"load\", default = \"good\", values = [\"good\", \"bad\"] }}\n\
         [[backends.fake.rules]]\nwhen = {{ k = \"bad\" }}\ncompute = 0.1\nfault = \"{fault}\"\n{more}\n"
    );
    Place::with_suite(&suite(&stage, &script))
}

/// The status and the reason under which the bad candidate is recorded, after it was seen that the good one won.
fn outcome(place: &Place) -> (String, String, String) {
    let best = place.best(&[], 0);
    assert_eq!(winner(&best)["candidate"]["knobs"]["k"], "good");
    let rows = place.trials();
    let bad: Vec<_> = rows.iter().filter(|row| row["k"] == "bad").collect();
    assert_eq!(bad.len(), 1, "what failed isn't tried again in later rounds");
    assert_eq!(rows.iter().filter(|row| row["k"] == "good").count(), 2);
    let run = place.run();
    let failure = run.recordings.iter().find_map(|recording| recording.failure().cloned());
    let stderr = failure.map_or_else(String::new, |failure| failure.stderr);
    (bad[0]["status"].clone(), bad[0]["reason"].clone(), stderr)
}

#[test]
fn every_fault_of_a_run_is_a_row_with_its_reason() {
    for (fault, status, reason) in [
        ("out-of-memory", "out of memory", "no memory left"),
        ("allocation-failure", "out of memory", "could not allocate"),
        ("killed", "out of memory", "twice"),
        ("crash", "crashed", "SIGSEGV"),
        ("exit", "crashed", "exit status: 3"),
        ("hang", "timed out", "within"),
        ("garbage", "garbage", "not an event"),
        ("not-available", "not available", "the library isn't here"),
        ("refused", "refused", "isn't supported"),
        ("failed", "failed", "reported an error"),
    ] {
        let (given, why, stderr) = outcome(&faulty(fault, ""));
        assert_eq!(given, status, "{fault}: {why}");
        assert!(why.contains(reason), "{fault}: {why}");
        if fault == "exit" {
            assert!(stderr.contains("this worker gives up"), "the tail of stderr is kept: {stderr:?}");
        }
    }
}

#[test]
fn faults_at_load_are_rows_too() {
    for (fault, status) in [
        ("out-of-memory", "out of memory"),
        ("killed", "out of memory"),
        ("crash", "crashed"),
        ("hang", "timed out"),
        ("garbage", "garbage"),
        ("not-available", "not available"),
    ] {
        let (given, why, _) = outcome(&faulty(fault, "during = \"load\""));
        assert_eq!(given, status, "{fault}: {why}");
    }
}

#[test]
fn a_fault_in_the_midst_of_a_measurement_is_seen() {
    // The answers need one batch; the fault comes some batches later, when it's being measured.
    let (status, why, _) = outcome(&faulty("crash", "after_batches = 5"));
    assert_eq!(status, "crashed", "{why}");
}

#[test]
fn a_failed_load_is_not_repeated_for_each_candidate_that_needs_it() {
    let stage =
        format!("rounds = 1\n{STAGE}\n[stages.knobs]\nk = [\"good\", \"bad\"]\nbatch_size = [1, 2, 4]\n");
    let script = "knobs.k = { applies = \"load\", default = \"good\", values = [\"good\", \"bad\"] }\nbatch_ms = 1\n\
                  [[backends.fake.rules]]\nwhen = { k = \"bad\" }\nfault = \"out-of-memory\"\nduring = \"load\"\n";
    let place = Place::with_suite(&suite(&stage, script));
    place.best(&[], 0);
    let reasons: Vec<_> =
        place.trials().iter().filter(|row| row["k"] == "bad").map(|row| row["reason"].clone()).collect();
    assert_eq!(reasons.len(), 3);
    assert_eq!(reasons.iter().filter(|reason| reason.contains("earlier load")).count(), 2, "{reasons:?}");
}

#[test]
fn memory_that_does_not_suffice_is_out_of_memory() {
    let stage = format!(
        "{STAGE}\nbaseline = {{ batch_size = 1 }}\n[stages.knobs]\nbatch_size = [1, 24]\nmemory_fraction = [0.5, 1.0]\n"
    );
    let script = "batch_ms = 5\nmemory_mib = 100\ntoken_kib = 1024\ncapacity_mib = 1600\n\
                  knobs.memory_fraction = { applies = \"load\", default = 1.0, least = 0, most = 1 }\n";
    let place = Place::with_suite(&suite(&stage, script));
    let best = place.best(&[], 0);
    assert_eq!(winner(&best)["candidate"]["knobs"]["batch_size"], 24);
    assert_eq!(winner(&best)["candidate"]["knobs"]["memory_fraction"], 1.0);
    let failed: Vec<_> = place.trials().into_iter().filter(|row| row["status"] == "out of memory").collect();
    assert!(failed.iter().all(|row| row["batch_size"] == "24"));
    assert!(failed.iter().any(|row| row["memory_fraction"] == "0.5"));
}

#[test]
fn where_nothing_gives_right_answers_every_candidate_is_a_row_with_its_reason() {
    let script = "[[backends.fake.rules]]\nwhen = { batch_size = [8, 32] }\nfault = \"exit\"\n";
    let place = Place::with_suite(&suite(STAGE, script));
    let best = place.best(&[], 4);
    assert!(best["stages"][0]["reference"].is_null(), "{best}");
    let rows = place.trials();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["status"] == "crashed"), "{rows:?}");
}

#[test]
fn where_the_reference_fails_the_most_precise_that_runs_takes_its_place_and_is_named() {
    let dtype =
        "knobs.dtype = { applies = \"load\", default = \"fp32\", values = [\"fp32\", \"int8\", \"fp16\"] }";
    let script = format!(
        "batch_ms = 1\n{dtype}\n[[backends.fake.rules]]\nwhen = {{ dtype = \"fp32\" }}\nfault = \"exit\"\n"
    );
    let stage = format!("{STAGE}\n[stages.knobs]\ndtype = [\"fp32\", \"int8\", \"fp16\"]\n");
    let place = Place::with_suite(&suite(&stage, &script));
    let output = place.tune(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let best = place.best_json();
    let reference = &best["stages"][0]["reference"];
    assert_eq!(reference["candidate"]["knobs"]["dtype"], "fp16", "{best}");
    assert!(reference["instead"].as_str().unwrap().contains("this worker gives up"), "{reference}");
    assert!(text(&output).contains("quality is agreement with fake dtype=fp16"), "{}", text(&output));
}

#[test]
fn workers_are_loaded_as_seldom_as_interleaving_allows() {
    let stage = format!(
        "rounds = 4\n{STAGE}\n[stages.knobs]\nk = [\"a\", \"b\", \"c\"]\nbatch_size = [1, 2, 4, 8]\n"
    );
    let script =
        "batch_ms = 1\nknobs.k = { applies = \"load\", default = \"a\", values = [\"a\", \"b\", \"c\"] }\n";
    let place = Place::with_suite(&suite(&stage, script));
    place.best(&[], 0);
    let run = place.run();
    let loads = run.recordings.iter().filter(|recording| recording.fresh).count();
    // Three loads a round, one fewer whenever a round begins where the one before ended; the reference loaded the first.
    assert!((8..=9).contains(&loads), "{loads} loads");
    // Each round has every candidate once, so that drift hits all alike.
    for round in 0..4 {
        let ids: std::collections::HashSet<_> = run
            .recordings
            .iter()
            .filter(|recording| recording.round == round)
            .map(|recording| &recording.id)
            .collect();
        assert_eq!(ids.len(), 13, "round {round}");
    }
}
