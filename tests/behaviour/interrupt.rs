//! Ctrl-C ends cleanly, with everything measured so far reported.

use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Place, STAGE, suite, text, winner};

#[test]
fn an_interrupt_reports_what_was_measured_and_the_run_goes_on_later() {
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [2, 4, 6, 8, 10, 12]\n");
    let place = Place::with_suite(&suite(&stage, "time = \"real\"\nbatch_ms = 4\n"));
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut command = if place.run_folder().exists() {
            crate::support::autotune(&["--resume", "run"])
        } else {
            place.command(&[])
        };
        command.current_dir(place.path());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let before = trials(&place);
        let deadline = Instant::now() + Duration::from_secs(20);
        while trials(&place) < before + 2 {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        let best = place.best_json();
        assert_eq!(best["finished"], false);
        assert!(winner(&best)["figures"]["throughput"]["value"].as_f64().unwrap() > 0.0);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("won"),
            "the table is there: {}",
            text(&output)
        );
        assert!(place.run_folder().join("report.html").exists());
    }
    let output = place.resume();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(place.trials().len(), 21);
}

/// Trials in the journal, which may not be there yet.
fn trials(place: &Place) -> usize {
    autotune::store::Run::read(&place.run_folder()).map_or(0, |run| run.recordings.len())
}
