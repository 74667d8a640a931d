//! Kill any process at any moment: the run resumes from the journal, at most one trial again, with the same winner.

use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use autotune::store::Entry;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::support::{Place, STAGE, suite, text, winner};

/// A run of about half a second: real sleeps, three loads a round, and one candidate clearly ahead.
fn place() -> Place {
    let stage = format!("rounds = 2\n{STAGE}\n[stages.knobs]\nk = [\"a\", \"b\"]\nbatch_size = [2, 4]\n");
    let script = "time = \"real\"\nload_ms = 5\nbatch_ms = 4\n\
                  knobs.k = { applies = \"load\", default = \"a\", values = [\"a\", \"b\"] }\n\
                  [[backends.fake.rules]]\nwhen = { k = \"b\" }\ncompute = 3\n";
    let suite = suite(&stage, script).replace("100ms", "20ms");
    Place::with_suite(&suite)
}

fn start(place: &Place) -> Child {
    place.command(&["--quiet"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The processes that have `pid` as their parent.
fn children(pid: u32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists =
        threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn is_alive(pid: i32) -> bool {
    // A zombie has ended; that its new parent hasn't looked yet is not our doing.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Victim {
    Harness,
    Worker,
}

/// How often each trial was recorded, and how often it was begun.
type Counts = HashMap<(String, u32), (usize, usize)>;

fn counts(place: &Place) -> Counts {
    let mut counts = Counts::new();
    for stamped in place.run().entries {
        match stamped.entry {
            Entry::Trial(recording) => counts.entry((recording.id, recording.round)).or_default().0 += 1,
            Entry::Began { id, round, .. } => counts.entry((id, round)).or_default().1 += 1,
            _ => {}
        }
    }
    counts
}

/// Runs, kills `victim` after `delay`, takes the run up again if need be, and checks what the journal then says.
fn kill_once(victim: Victim, delay: Duration, wanted: &Counts, winner_id: &str) {
    let place = place();
    let mut harness = start(&place);
    std::thread::sleep(delay);
    let workers = children(harness.id());
    match victim {
        Victim::Harness => harness.kill().unwrap(),
        Victim::Worker => {
            for worker in &workers {
                let _ = kill(Pid::from_raw(*worker), Signal::SIGKILL);
            }
        }
    }
    let ended = harness.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while workers.iter().any(|worker| is_alive(*worker)) {
        assert!(Instant::now() < deadline, "{victim:?} at {delay:?}: a worker outlived its harness");
        std::thread::sleep(Duration::from_millis(5));
    }
    if !ended.success() {
        assert_eq!(victim, Victim::Harness, "{ended}");
        let mut output = place.resume();
        if text(&output).contains("doesn't contain a run") {
            // Killed before there was a run: then the same command begins it.
            output = place.tune(&[]);
        }
        assert_eq!(output.status.code(), Some(0), "{victim:?} at {delay:?}: {}", text(&output));
    }
    let counts = counts(&place);
    assert_eq!(counts.len(), wanted.len(), "{victim:?} at {delay:?}: a trial is lost");
    let again = counts.values().filter(|(_, begun)| *begun > 1).count();
    for (trial, (recorded, begun)) in &counts {
        assert!(wanted.contains_key(trial), "{victim:?} at {delay:?}: a trial that nobody asked for");
        assert_eq!(*recorded, 1, "{victim:?} at {delay:?}: {trial:?} was recorded {recorded} times");
        assert!(*begun <= 2);
    }
    assert!(again <= 1, "{victim:?} at {delay:?}: {again} trials were measured twice");
    assert_eq!(winner(&place.best_json())["id"], *winner_id, "{victim:?} at {delay:?}");
    assert!(
        place.run().recordings.iter().all(|recording| recording.failure().is_none()),
        "{victim:?} at {delay:?}"
    );
}

fn kill_many(kills: u32, seed: u64) {
    let calm = place();
    let start = Instant::now();
    let best = calm.best(&[], 0);
    let duration = start.elapsed();
    let winner_id = winner(&best)["id"].as_str().unwrap().to_owned();
    let wanted = counts(&calm);
    assert_eq!(wanted.len(), 10);
    let mut random = Pcg64::seed_from_u64(seed);
    for round in 0..kills {
        let victim = if round % 2 == 0 { Victim::Harness } else { Victim::Worker };
        kill_once(victim, duration.mul_f64(random.random_range(0.0..1.1)), &wanted, &winner_id);
    }
}

#[test]
fn twenty_kills_at_random_moments_lose_nothing() {
    kill_many(20, 1);
}

#[test]
#[ignore = "two hundred kills take some four minutes: cargo test --release -- --ignored two_hundred_kills"]
fn two_hundred_kills_at_random_moments_lose_nothing() {
    kill_many(200, 2);
}
