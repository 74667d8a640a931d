//! What a run makes of what its card did. The card is scripted, and everything else is real.

use std::time::Duration;

use autotune::analysis::{self, Analysis, Doubt, Verdict};
use autotune::emit::{env, table, trials};
use autotune::hardware::{Machine, Target};
use autotune::quality::References;
use autotune::record::Recording;
use autotune::runner::{Interrupt, Runner, Supplies};
use autotune::store::{Run, RunFolder, RunHeader, digests};
use autotune::suite::{self, Figure, Folder, Overrides, Suite, SuiteSource};
use autotune::telemetry::{Process, Reading, Reason, Scripted, Trouble, Watch};
use autotune::tune::{Ending, Progress, Tuning};

use crate::support;

struct Silent;

impl Progress for Silent {
    fn expect(&mut self, _: &str, _: usize) {}
    fn began(&mut self, _: &str) {}
    fn recorded(&mut self, _: &Recording) {}
}

struct Outcome {
    run: Run,
    suite: Suite,
    analysis: Analysis,
}

/// Tunes two batch sizes in three rounds on a card of which `readings` are taken: one before the worker is started, and
/// then two in each of the six trials, at its start and its end.
fn tune(objective: &str, readings: Vec<Result<Reading, Trouble>>) -> Outcome {
    let knobs = format!("{}\n[stages.knobs]\nbatch_size = [8, 32]\n", support::STAGE);
    let text =
        format!("objective = {objective:?}\n{}", support::suite(&knobs, "batch_ms = 4\ndevice = \"cuda:0\""));
    let source =
        SuiteSource { name: "telemetry".into(), file: "suite.toml".into(), text, folder: Folder::BuiltIn };
    let overrides = Overrides { set: Vec::new(), ..Overrides::default() };
    let suite = suite::parse(&source, &overrides, &env::names()).unwrap();
    let material = suite.material(&source.folder).unwrap();
    let (corpus_digest, judging_digests) = digests(&material);
    let target = Target { device: Some("cuda:0".into()), ..Target::simulated(None, "scripted") };
    let header = RunHeader {
        prior: None,
        version: String::new(),
        revision: String::new(),
        command_line: Vec::new(),
        suite_digest: suite.digest.clone(),
        corpus_digest,
        fresh_digest: None,
        judging_digests,
        source: source.clone(),
        overrides,
        target: target.clone(),
        machine: Machine::default(),
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut folder = RunFolder::create(&scratch.path().join("run"), header, &material).unwrap();
    let paths = folder.paths(&material);
    let supplies = Supplies { program: env!("CARGO_BIN_EXE_autotune").into(), ..Supplies::default() };
    let sensor = Scripted::new(readings);
    // So seldom that a trial has its first sample and its last, and no other.
    let watch = Watch::new(move || Ok(Box::new(sensor.clone())), Duration::from_secs(3600));
    let runner =
        Runner::new(&suite, &target, &source.folder, &material, paths, &supplies, Interrupt::default());
    let tuning = Tuning {
        prior: None,
        references_took: std::time::Duration::ZERO,
        parts: std::collections::HashMap::new(),
        confirmations: std::collections::HashMap::new(),
        suite: &suite,
        material: &material,
        folder: &mut folder,
        runner: runner.watching(watch),
        served: false,
        expected: None,
        interrupt: Interrupt::default(),
        progress: &mut Silent,
        recordings: Vec::new(),
        references: References::new(),
    };
    assert_eq!(tuning.run().unwrap(), Ending::Finished);
    // What the journal has kept of it is all that there is.
    let run = Run::read(folder.path()).unwrap();
    assert_eq!(run.recordings.len(), 6);
    let analysis = analysis::analyse(&suite, &run);
    Outcome { run, suite, analysis }
}

impl Outcome {
    fn rows(&self) -> Vec<std::collections::HashMap<String, String>> {
        let csv = trials::csv(&self.suite, &self.analysis, &self.run.recordings).unwrap();
        csv::Reader::from_reader(&csv[..]).deserialize().map(Result::unwrap).collect()
    }

    fn statuses(&self) -> Vec<String> {
        self.rows().into_iter().map(|row| row["status"].clone()).collect()
    }
}

fn hot() -> Reading {
    Reading {
        reasons: Some(Ok(vec![Reason::ThermalSoftware])),
        temperature: Some(Ok(84)),
        ..Scripted::calm()
    }
}

/// A look, and so many trials of each kind.
fn readings(trials: &[Reading]) -> Vec<Result<Reading, Trouble>> {
    let both = trials.iter().flat_map(|reading| [Ok(reading.clone()), Ok(reading.clone())]);
    std::iter::once(Ok(Scripted::calm())).chain(both).collect()
}

#[test]
fn energy_memory_and_clocks_are_on_the_rows_and_energy_can_be_tuned_for() {
    // Each reading finds 60 joules more on the counter, so that each trial takes 60.
    let counted =
        (0..13).map(|count| Ok(Reading { energy: Some(Ok(60.0 * f64::from(count))), ..Scripted::calm() }));
    let outcome = tune("energy", counted.collect());
    assert_eq!(outcome.statuses(), ["ok"; 6]);
    for (row, recording) in outcome.rows().iter().zip(&outcome.run.recordings) {
        for (column, value) in [
            ("energy_j", "60"),
            ("clock_mhz", "1800"),
            ("utilisation_percent", "0"),
            ("temperature_celsius", "45"),
            ("power_w", "100"),
            ("throttled", ""),
            ("process_vram_bytes", "0"),
            ("device_vram_bytes", "2147483648"),
        ] {
            assert_eq!(row[column], value, "{column}");
        }
        let measured = recording.measured().unwrap();
        let passes = measured.passes.len() + measured.warmup_passes as usize;
        assert_eq!(recording.joules_per_document(), Some(60.0 / (passes * 24) as f64));
    }
    let stage = &outcome.analysis.stages[0];
    let winner = stage.winner().unwrap();
    let energy = winner.summary.value(Figure::Energy).unwrap();
    assert!(stage.candidates.iter().all(|other| other.summary.value(Figure::Energy).unwrap() >= energy));
    let text = table::render(&outcome.analysis, autotune::emit::style::Style { width: 120, colour: false });
    assert!(text.contains("J/doc"), "{text}");
}

#[test]
fn disturbed_trials_are_shown_and_decide_nothing() {
    let calm = Scripted::calm;
    let outcome = tune("throughput", readings(&[hot(), hot(), calm(), calm(), calm(), calm()]));
    assert_eq!(outcome.statuses(), ["disturbed", "disturbed", "ok", "ok", "ok", "ok"]);
    let row = &outcome.rows()[0];
    assert!(row["reason"].contains("too hot (up to 84 °C"), "{}", row["reason"]);
    assert!(row["docs_per_s"].parse::<f64>().unwrap() > 0.0);
    assert_eq!(row["throttled"], "thermal-software");
    let stage = &outcome.analysis.stages[0];
    assert_eq!((stage.rounds_compared, stage.winner().unwrap().summary.set_aside.len()), (2, 1));
    let doubts = &outcome.analysis.doubts;
    assert!(matches!(doubts.as_slice(), [Doubt::Throttled { trials: 2, of: 6, .. }]), "{doubts:?}");
}

#[test]
fn where_every_trial_was_disturbed_nobody_wins_and_it_is_said_why() {
    let neighbour = Reading {
        processes: Some(Ok(vec![Process { pid: 7, bytes: Some(4 << 30), name: Some("game".into()) }])),
        busy: Some(Ok(vec![(7, 60)])),
        ..Scripted::calm()
    };
    let looked = neighbour.clone();
    let mut readings = readings(&vec![neighbour; 6]);
    readings[0] = Ok(looked);
    let outcome = tune("throughput", readings);
    assert_eq!(outcome.statuses(), ["disturbed"; 6]);
    let stage = &outcome.analysis.stages[0];
    assert!(stage.winner().is_none());
    for ranked in &stage.candidates {
        let Verdict::Excluded { status, why } = &ranked.verdict else { panic!("{:?}", ranked.verdict) };
        assert_eq!(status, "disturbed");
        assert!(why.contains("every one of its 3 rounds") && why.contains("game 7 with 4.00 GiB"), "{why}");
    }
    let text = table::render(&outcome.analysis, autotune::emit::style::Style { width: 200, colour: false });
    assert!(text.contains("2 disturbed, for example") && text.contains("the card was shared"), "{text}");
}

#[test]
fn a_card_at_its_power_limit_is_told_and_decides() {
    let capped = Reading { reasons: Some(Ok(vec![Reason::PowerCap])), ..Scripted::calm() };
    let outcome = tune("throughput", readings(&vec![capped; 6]));
    assert_eq!(outcome.statuses(), ["ok"; 6]);
    assert_eq!(outcome.rows()[0]["throttled"], "power-cap");
    assert_eq!(outcome.analysis.doubts, [Doubt::PowerCapped { trials: 6, of: 6 }]);
}

#[test]
fn a_card_that_goes_away_leaves_figures_of_which_nobody_knows() {
    let mut lost = readings(&vec![Scripted::calm(); 2]);
    lost.push(Err(Trouble::gone("the card fell off the bus")));
    let outcome = tune("throughput", lost);
    assert_eq!(outcome.statuses(), ["ok"; 6], "telemetry is no reason to fail");
    let doubts = &outcome.analysis.doubts;
    assert!(
        matches!(doubts.as_slice(), [Doubt::Unwatched { of: 6, why, .. }] if why == "the card fell off the bus"),
        "{doubts:?}"
    );
}
