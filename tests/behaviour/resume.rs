//! Resuming, locking, and disks that don't do their part.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Place, STAGE, autotune, suite, text, winner};

fn place() -> Place {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [4, 8, 12]\n");
    Place::with_suite(&suite(&stage, "batch_ms = 4\nnoise = 0.02\n"))
}

fn journal(place: &Place) -> std::path::PathBuf {
    place.run_folder().join("journal.jsonl")
}

#[test]
fn a_run_cut_off_anywhere_resumes_to_the_same_result() {
    let whole = place();
    let best = whole.best(&[], 0);
    let bytes = std::fs::read(journal(&whole)).unwrap();
    let header_end = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // At line ends and within lines, from the header to the end.
    for part in 0..12 {
        let cut = header_end + (bytes.len() - header_end) * part / 12;
        std::fs::write(journal(&whole), &bytes[..cut]).unwrap();
        let output = whole.resume();
        assert_eq!(output.status.code(), Some(0), "cut at {cut}: {}", text(&output));
        assert_eq!(
            text(&output).contains("cut short"),
            bytes[cut - 1] != b'\n',
            "cut at {cut}: {}",
            text(&output)
        );
        // Figures are simulated from the seed, so that even the intervals are the same.
        let resumed = whole.best_json();
        let figures = |best: &serde_json::Value| winner(best)["figures"]["throughput"].clone();
        assert_eq!(
            (winner(&resumed)["id"].clone(), figures(&resumed)),
            (winner(&best)["id"].clone(), figures(&best))
        );
    }
}

#[test]
fn damage_in_the_middle_is_an_error_that_names_the_line() {
    let place = place();
    place.best(&[], 0);
    let mut text_of = std::fs::read_to_string(journal(&place)).unwrap();
    let third = text_of.match_indices('\n').nth(2).unwrap().0 + 20;
    text_of.replace_range(third..third + 1, "#");
    std::fs::write(journal(&place), text_of).unwrap();
    for arguments in [["--resume", "run"], ["report", "run"]] {
        let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("journal.jsonl:4: the journal is damaged"), "{}", text(&output));
    }
}

#[test]
fn a_finished_run_is_not_measured_again_unless_the_budget_grows() {
    let place = place();
    place.best(&["--budget", "6trials"], 0);
    assert_eq!(place.trials().len(), 6);
    assert_eq!(place.resume().status.code(), Some(0));
    assert_eq!(place.trials().len(), 6);
    let output =
        autotune(&["--resume", "run", "--budget", "12trials"]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(place.trials().len(), 12);
}

/// Within a time a guided search measures again what it can't tell apart, for more rounds than the suite asks for.
#[test]
fn a_run_of_more_rounds_than_the_suite_has_is_read_and_resumed() {
    // All 24 documents are one batch of either size.
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [28, 30]\n");
    let place = Place::with_suite(&suite(&stage, "batch_ms = 4\nnoise = 0.05\n"));
    place.best(&["--budget", "100s", "--search", "guided"], 0);
    let rounds = |place: &Place| place.trials().iter().map(|row| row["round"].parse::<u32>().unwrap()).max();
    assert!(rounds(&place) >= Some(3), "{:?}", rounds(&place));
    let trials = place.trials().len();
    for arguments in
        [vec!["report", "run"], vec!["--resume", "run"], vec!["--resume", "run", "--budget", "200s"]]
    {
        let output = autotune(&arguments).current_dir(place.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
    }
    assert!(place.trials().len() >= trials);
}

#[test]
fn a_second_run_on_the_same_folder_is_refused() {
    let slow = Place::with_suite(&suite(STAGE, "time = \"real\"\nbatch_ms = 50\n"));
    let mut first = slow.command(&["-q"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !journal(&slow).exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    for output in [slow.tune(&[]), slow.resume()] {
        assert_eq!(output.status.code(), Some(1));
        let text = text(&output);
        assert!(text.contains("in use") && text.contains(&format!("process {}", first.id())), "{text}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(text(&slow.tune(&[])).contains("already contains a run"));
}

#[test]
fn an_unwritable_folder_is_a_clear_error() {
    let place = place();
    std::fs::write(place.path().join("file"), "").unwrap();
    let output =
        autotune(&["--suite", "suite.toml", "--out", "file/run"]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("can't write") && text(&output).contains("file/run"), "{}", text(&output));
}

/// A limit on the size of files stands in for a full disk: it fails the same writes, and needs no disk of its own.
#[test]
fn a_full_disk_is_a_clear_error_and_what_was_written_stays_readable() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n");
    let place = Place::with_suite(&suite(&stage, "batch_ms = 4\n"));
    let script = "trap '' XFSZ; ulimit -f 24; exec \"$0\" --suite suite.toml --out run";
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_autotune")])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let message = text(&output);
    for part in ["can't write", "journal.jsonl", "--resume"] {
        assert!(message.contains(part), "{message}");
    }
    let before = place.run();
    assert!((1..33).contains(&before.recordings.len()), "{}", before.recordings.len());
    assert_eq!(before.torn, None);
    let output = place.resume();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let after = place.run();
    assert_eq!(after.recordings.len(), 33);
    assert_eq!(after.recordings[..before.recordings.len()], before.recordings[..]);
}

#[test]
fn a_changed_corpus_is_not_resumed() {
    let place = place();
    place.best(&["--budget", "3trials"], 0);
    let mut corpus =
        std::fs::OpenOptions::new().append(true).open(place.run_folder().join("corpus.jsonl")).unwrap();
    corpus.write_all(b"{\"text\":\"one more\"}\n").unwrap();
    let output =
        autotune(&["--resume", "run", "--budget", "9trials"]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("not the corpus"), "{}", text(&output));
}
