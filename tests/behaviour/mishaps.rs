//! Mishaps around a run: what users and machines do to it, and what must not come of it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use autotune::store::Entry;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::support::{CORPUS, Place, STAGE, autotune, suite, text, winner};

/// A suite on a shell's worker that answers as it should, from a file that a test can take away.
fn on_a_file() -> Place {
    let place = Place::with_suite(&format!(
        "{CORPUS}\nmeasure = {{ time = \"50ms\", passes = 1 }}\nrounds = 2\n[[stages]]\ntask = \"embed\"\nmodel = \"hashed-ngrams\"\n\
         backends = [\"ngrams\"]\nknobs = {{ batch_size = [1, 4], ngram = [2, 3] }}\n\
         [backends.ngrams]\nkind = \"exec\"\ncommand = [\"python3\", \"worker.py\"]\n\
         knobs.ngram = {{ applies = \"load\", default = 3 }}\nknobs.batch_size = {{ applies = \"run\", default = 4 }}\n",
    ));
    let example = format!("{}/docs/examples/worker.py", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(example, place.path().join("worker.py")).unwrap();
    place
}

#[test]
fn a_library_that_is_gone_at_a_resume_poisons_nothing() {
    let place = on_a_file();
    let output = place.tune(&["--gpu", "cpu", "--budget", "5trials"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let before = place.trials().len();
    let worker = place.path().join("worker.py");
    let kept = std::fs::read(&worker).unwrap();
    std::fs::remove_file(&worker).unwrap();
    let resume =
        || autotune(&["--resume", "run", "--budget", "8trials"]).current_dir(place.path()).output().unwrap();
    let output = resume();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("this model loaded earlier in the run and no longer does"),
        "{}",
        text(&output)
    );
    assert_eq!(place.trials().len(), before, "nothing was blamed on a candidate");
    std::fs::write(&worker, kept).unwrap();
    let output = resume();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(place.trials().len(), 8);
    assert!(place.trials().iter().all(|row| row["status"] == "ok"));
}

#[test]
fn a_signal_to_the_whole_group_blames_no_candidate() {
    use std::os::unix::process::CommandExt;
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [2, 4, 6, 8]\n");
    let place = Place::with_suite(&suite(&stage, "time = \"real\"\nbatch_ms = 10\n"));
    let child = place.command(&["-q"]).process_group(0).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while autotune::store::Run::read(&place.run_folder()).map_or(0, |run| run.recordings.len()) < 2 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    // As a service manager does: the worker first, and the harness at once after it.
    let workers = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    for worker in workers.split_whitespace() {
        let _ = killpg(Pid::from_raw(worker.parse().unwrap()), Signal::SIGTERM);
    }
    killpg(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
    assert!(place.run().recordings.iter().all(|recording| recording.failure().is_none()));
}

#[test]
fn a_dead_worker_is_seen_though_its_child_holds_the_pipe() {
    let place = Place::with_suite(&format!(
        "{CORPUS}\nmeasure = {{ time = \"50ms\", passes = 1 }}\nrounds = 1\n[[stages]]\ntask = \"embed\"\nmodel = \"m\"\n\
         backends = [\"fake\", \"other\"]\n[backends.fake]\nbatch_ms = 2\n[backends.other]\nkind = \"exec\"\n\
         command = [\"sh\", \"-c\", \"sleep 60 & echo 'CUDA out of memory' >&2; exit 3\"]\n"
    ));
    let start = Instant::now();
    place.best(&[], 0);
    let rows = place.trials();
    let row = rows.iter().find(|row| row["backend"] == "other").unwrap();
    assert_eq!(row["status"], "out of memory", "{}", row["reason"]);
    assert!(start.elapsed() < Duration::from_secs(50), "the sleeper was waited for");
}

#[test]
fn a_folder_with_other_files_in_it_is_left_alone() {
    let place = Place::with_suite(&suite(STAGE, "batch_ms = 1"));
    let output =
        autotune(&["--suite", "suite.toml", "--out", "."]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing was written");
}

#[test]
fn a_run_is_read_without_the_corpus_that_it_was_made_from() {
    let place =
        Place::with_suite(&suite(STAGE, "batch_ms = 1").replace(CORPUS, "corpus = { file = \"c.txt\" }"));
    std::fs::write(place.path().join("c.txt"), "one text\nanother text\n").unwrap();
    place.best(&["--budget", "1trials"], 0);
    std::fs::remove_file(place.path().join("c.txt")).unwrap();
    for arguments in [vec!["report", "run"], vec!["--resume", "run", "--budget", "3trials"]] {
        let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    assert_eq!(place.trials().len(), 3);
}

#[test]
fn right_answers_that_were_changed_are_asked_for_again() {
    let place = Place::with_suite(&suite(STAGE, "batch_ms = 1"));
    place.best(&["--budget", "1trials"], 0);
    let file = place.reference("embed");
    let answers = std::fs::read(&file).unwrap();
    let times_asked = |place: &Place| {
        let is_reference = |entry: &Entry| matches!(entry, Entry::Reference { .. });
        place.run().entries.iter().filter(|stamped| is_reference(&stamped.entry)).count()
    };
    for (times, damage) in [(2, Some("[]")), (3, None)] {
        match damage {
            Some(damage) => std::fs::write(&file, damage).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let output =
            autotune(&["--resume", "run", "--budget", "3trials"]).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(place.trials().iter().all(|row| row["status"] == "ok"));
        assert_eq!((times_asked(&place), std::fs::read(&file).unwrap()), (times, answers.clone()));
    }
}

#[test]
fn the_baseline_is_measured_however_short_the_time() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [1, 2, 3, 4, 5, 6]\nk = [\"a\", \"b\"]\n");
    let script = "time = \"real\"\nbatch_ms = 5\nknobs.k = { applies = \"load\", default = \"b\", values = [\"a\", \"b\"] }";
    for seed in ["1", "2", "3"] {
        let place = Place::with_suite(&suite(&stage, script));
        let best = place.best(&["--budget", "10ms", "--seed", seed], 0);
        assert_eq!(winner(&best)["candidate"]["knobs"]["batch_size"], 32);
        assert!(best["stages"][0]["gain"]["value"].as_f64().is_some());
    }
}

#[test]
fn settings_that_work_are_not_overwritten_by_none() {
    let place = Place::with_suite(&suite(STAGE, "batch_ms = 1\nmemory_mib = 10"));
    let file = place.path().join("prod.env");
    std::fs::write(&file, "EMBEDDING_BATCH=8\n").unwrap();
    let output = place.tune(&["--limit", "vram<=1MiB", "--env-file", "prod.env"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "EMBEDDING_BATCH=8\n");
    let output = place.command(&["--env-file", "no/such/folder/x.env"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "before anything is measured: {}", text(&output));
}

#[test]
fn hostile_names_and_fractions_survive_the_whole_way() {
    let stage = STAGE.replace("\"m\"", "'a \"b\" $HOME `c` \\d'")
        + "\n[stages.knobs]\nshare = [0.30000000000000004, 0.1]\n";
    let script = "batch_ms = 1\nknobs.share = { applies = \"run\", default = 0.1, least = 0, most = 1 }";
    let place = Place::with_suite(&suite(&stage, script));
    place.best(&[], 0);
    let settings = |dialect: &str| {
        let output =
            autotune(&["report", "run", "--dialect", dialect]).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        place.run_folder().join(".env.optimized")
    };
    let sourced = std::process::Command::new("bash")
        .args(["-c", ". \"$0\" && printf %s \"$MODEL_ID\""])
        .arg(settings("tei"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(sourced.stdout).unwrap(), "a \"b\" $HOME `c` \\d");
    let compose = std::fs::read_to_string(settings("compose")).unwrap();
    assert!(compose.contains(r#"MODEL: "a \"b\" $$HOME `c` \\d""#), "{compose}");
}

#[test]
fn runs_that_cannot_be_compared_are_not() {
    let place = Place::with_suite(&suite(STAGE, "batch_ms = 1"));
    place.best(&[], 0);
    std::fs::rename(place.run_folder(), place.path().join("then")).unwrap();
    place.best(&["--objective", "latency"], 0);
    let compare =
        |then: &str| autotune(&["compare", then, "run"]).current_dir(place.path()).output().unwrap();
    let output = compare("then");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("throughput") && text(&output).contains("latency"), "{}", text(&output));
    assert_eq!(compare("nowhere").status.code(), Some(2));
}
