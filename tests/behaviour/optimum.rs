//! The scripted optimum is found, and a scripted wrong answer never wins, however fast it is.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::support::{Place, STAGE, suite, winner};

/// A fake whose latency is a product over its knobs, and which answers wrongly for some of their values.
struct Scripted {
    /// For each knob its values' factors; the last knob's values may be wrong.
    factors: Vec<Vec<f64>>,
    wrong: Vec<bool>,
}

impl Scripted {
    fn random(random: &mut Pcg64) -> Scripted {
        let knob = |random: &mut Pcg64| -> Vec<f64> {
            // Distinct by more than the noise, so that the optimum is one.
            let mut factors = vec![0.3, 0.5, 0.8, 1.0, 1.6];
            factors.truncate(random.random_range(2..=5));
            rand::seq::SliceRandom::shuffle(factors.as_mut_slice(), random);
            factors
        };
        let factors: Vec<Vec<f64>> = (0..3).map(|_| knob(random)).collect();
        let last = &factors[2];
        let fastest = last.iter().copied().fold(f64::MAX, f64::min);
        // The fastest value is always wrong, others by chance; one value stays right.
        let spared =
            *last.iter().filter(|factor| **factor > fastest).collect::<Vec<_>>().choose(random).unwrap();
        let wrong =
            last.iter().map(|factor| *factor == fastest || (factor != spared && random.random_bool(0.3)));
        let wrong = wrong.collect();
        Scripted { factors, wrong }
    }

    /// The index of each knob's best value that gives right answers.
    fn optimum(&self) -> Vec<usize> {
        let best = |factors: &[f64], allowed: &dyn Fn(usize) -> bool| {
            let allowed = (0..factors.len()).filter(|index| allowed(*index));
            allowed.min_by(|left, right| factors[*left].total_cmp(&factors[*right])).unwrap()
        };
        let mut optimum: Vec<usize> =
            self.factors[..2].iter().map(|factors| best(factors, &|_| true)).collect();
        optimum.push(best(&self.factors[2], &|index| !self.wrong[index]));
        optimum
    }

    fn suite(&self) -> String {
        let mut stage = format!("rounds = 2\n{STAGE}\n[stages.knobs]\n");
        let mut script = String::from("noise = 0.01\nbatch_ms = 5\ntoken_us = 10\n");
        let mut rules = String::new();
        for (knob, factors) in self.factors.iter().enumerate() {
            let names: Vec<String> = (0..factors.len()).map(|value| format!("\"v{value}\"")).collect();
            let names = names.join(", ");
            stage.push_str(&format!("k{knob} = [{names}]\n"));
            // The first and the last knob at load, so that workers are both reused and replaced.
            let applies = if knob == 1 { "run" } else { "load" };
            let right = if knob == 2 { self.wrong.iter().position(|wrong| !wrong).unwrap() } else { 0 };
            script.push_str(&format!(
                "knobs.k{knob} = {{ applies = \"{applies}\", default = \"v{right}\", values = [{names}] }}\n"
            ));
            for (value, factor) in factors.iter().enumerate() {
                let fault = if knob == 2 && self.wrong[value] { "fault = \"wrong-answers\"\n" } else { "" };
                rules.push_str(&format!(
                    "[[backends.fake.rules]]\nwhen = {{ k{knob} = \"v{value}\" }}\ncompute = {factor}\n{fault}"
                ));
            }
        }
        suite(&stage, &(script + &rules))
    }
}

#[test]
fn the_scripted_optimum_wins_and_wrong_answers_never_do() {
    let mut random = Pcg64::seed_from_u64(11);
    for case in 0..12 {
        let scripted = Scripted::random(&mut random);
        let place = Place::with_suite(&scripted.suite());
        let best = place.best(&[], 0);
        let won: Vec<String> = (0..3)
            .map(|knob| winner(&best)["candidate"]["knobs"][format!("k{knob}")].as_str().unwrap().to_owned())
            .collect();
        let wanted: Vec<String> = scripted.optimum().iter().map(|value| format!("v{value}")).collect();
        assert_eq!(won, wanted, "case {case}: {:?} wrong {:?}", scripted.factors, scripted.wrong);
        // The bait was faster: without the check it would have won.
        let throughput =
            |candidate: &serde_json::Value| candidate["figures"]["throughput"]["value"].as_f64().unwrap();
        let candidates = best["stages"][0]["candidates"].as_array().unwrap();
        let wrong: Vec<_> =
            candidates.iter().filter(|candidate| candidate["verdict"] == "excluded").collect();
        assert!(
            wrong.iter().any(|candidate| throughput(candidate) > throughput(winner(&best))),
            "case {case}"
        );
        assert!(wrong.iter().all(|candidate| candidate["status"] == "below quality"), "case {case}");
    }
}

/// Throughput, latency and memory disagree: each objective has its own winner, and limits come first.
#[test]
fn objectives_and_limits_choose() {
    let script = "batch_ms = 10\ntoken_us = 20\nmemory_mib = 100\ntoken_kib = 512\ndevice = \"cuda:0\"\n";
    let stage = format!(
        "price_per_hour = 1.2\n{STAGE}\nbaseline = {{ batch_size = 1 }}\n[stages.knobs]\nbatch_size = [1, 4, 24]\norder = [\"length\"]\n"
    );
    let batch = |more: &[&str], code| {
        let place = Place::with_suite(&suite(&stage, script));
        let best = place.best(more, code);
        winner(&best)["candidate"]["knobs"]["batch_size"].as_i64().unwrap()
    };
    assert_eq!(batch(&[], 0), 24);
    assert_eq!(batch(&["--objective", "cost"], 0), 24);
    assert_eq!(batch(&["--objective", "latency"], 0), 1);
    assert_eq!(batch(&["--objective", "vram"], 0), 1);
    assert_eq!(batch(&["--limit", "vram<=300MiB"], 0), 4);
    assert_eq!(batch(&["--limit", "p95<=13ms"], 0), 1);
    let place = Place::with_suite(&suite(&stage, script));
    let best = place.best(&["--limit", "vram<=50MiB"], 4);
    assert_eq!(best["stages"][0]["candidates"][0]["status"], "over limit");
    assert!(
        std::fs::read_to_string(place.run_folder().join(".env.optimized")).unwrap().contains("NO candidate")
    );
}

#[test]
fn what_cannot_be_told_apart_is_tied() {
    let script = "noise = 0.05\nbatch_ms = 5\nknobs.k = { applies = \"run\", default = \"a\", values = [\"a\", \"b\", \"c\"] }\n\
                  [[backends.fake.rules]]\nwhen = { k = \"c\" }\ncompute = 2\n";
    let stage = format!("{STAGE}\n[stages.knobs]\nk = [\"a\", \"b\", \"c\"]\n");
    let place = Place::with_suite(&suite(&stage, script));
    let best = place.best(&[], 0);
    let verdicts: Vec<_> =
        best["stages"][0]["candidates"].as_array().unwrap().iter().map(|c| c["verdict"].clone()).collect();
    assert_eq!(verdicts, ["won", "tied", "lost"]);
}

#[test]
fn budgets_bound_the_trials_and_say_what_was_left_out() {
    let script = "batch_ms = 5\n";
    let stage = format!("{STAGE}\n[stages.knobs]\nbatch_size = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n");
    for search in ["grid", "random"] {
        let place = Place::with_suite(&suite(&stage, script));
        let best = place.best(&["--budget", "12trials", "--search", search], 0);
        assert_eq!(place.trials().len(), 12, "{search}");
        // 12 trials in 3 rounds: 4 candidates of the 11, of which the default is one.
        assert_eq!(best["stages"][0]["not_reached"], 7, "{search}");
        assert!(place.trials().iter().any(|row| row["batch_size"] == "32"), "{search}");
    }
    let place = Place::with_suite(&suite(&stage, "time = \"real\"\nbatch_ms = 2\n"));
    let start = std::time::Instant::now();
    place.best(&["--budget", "1s"], 0);
    // Eleven candidates of 3 × 100 ms and more would take over three seconds.
    assert!(place.trials().len() < 33, "{:?} {}", start.elapsed(), place.trials().len());
}
