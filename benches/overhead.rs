//! What the harness costs: the time of a whole trial of one second, less what its worker says that it spent on it.
//!
//! criterion's figure *is* the overhead of one trial; against one second it's a share. Everything is real but the
//! network: a worker process, the protocol over its pipes, the journal synced to the disk.

use std::time::{Duration, Instant};

use autotune::hardware::{Machine, Target};
use autotune::pipeline::Stretch;
use autotune::quality::References;
use autotune::runner::{Interrupt, Runner, Supplies, Trial};
use autotune::store::{Entry, RunFolder, RunHeader, digests};
use autotune::suite::{self, Folder, Material, Overrides, Suite, SuiteSource};
use criterion::{Criterion, criterion_group, criterion_main};

const SUITE: &str = r#"
corpus = { synthetic = { documents = 256 } }
measure = { time = "1s", passes = 1 }
rounds = 1000
[[stages]]
task = "embed"
model = "none"
backends = ["fake"]
[stages.knobs]
batch_size = [32]
[backends.fake]
time = "real"
batch_ms = 12
"#;

fn trial_of_one_second(criterion: &mut Criterion) {
    let source = SuiteSource {
        name: "overhead".into(),
        file: "overhead.toml".into(),
        text: SUITE.into(),
        folder: Folder::BuiltIn,
    };
    let suite = suite::parse(&source, &Overrides::default(), &autotune::emit::env::names()).unwrap();
    let material = suite.material(&source.folder).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut folder =
        RunFolder::create(&scratch.path().join("run"), header(source.clone(), &suite, &material), &material)
            .unwrap();
    let paths = folder.paths(&material);
    let target = Target::simulated(None, "overhead");
    let program = env!("CARGO_BIN_EXE_autotune").into();
    let supplies = Supplies { program, ..Supplies::default() };
    let mut runner =
        Runner::new(&suite, &target, &source.folder, &material, paths, &supplies, Interrupt::default());
    let stage = &suite.stages[0];
    let mut round = 0;
    let (mut busy, mut overhead) = (Vec::new(), Vec::new());
    let mut group = criterion.benchmark_group("harness");
    group.sample_size(10).warm_up_time(Duration::from_secs(2)).measurement_time(Duration::from_secs(30));
    group.bench_function("overhead_of_a_trial_of_one_second", |bencher| {
        bencher.iter_custom(|trials| {
            let mut spent = Duration::ZERO;
            for _ in 0..trials {
                // From the second round on, as most trials are: loaded, and checked.
                round += 1;
                let start = Instant::now();
                let trial = Trial { stage, candidate: &stage.baseline, round, stretch: Stretch::WHOLE };
                folder
                    .note(Entry::Began {
                        stage: stage.name.clone(),
                        id: trial.candidate.id(),
                        round,
                        why: None,
                    })
                    .unwrap();
                let recording = runner.trial(&trial, &References::new()).unwrap();
                let measured = recording.measured().cloned().expect("a fake without faults");
                folder.append(Entry::Trial(Box::new(recording))).unwrap();
                let own = Duration::from_secs_f64(measured.busy_seconds);
                let cost = start.elapsed().saturating_sub(own);
                // The first trial also starts the worker, which isn't the harness's cost but the load's.
                if round > 1 {
                    busy.push(own.as_secs_f64());
                    overhead.push(cost.as_secs_f64());
                }
                spent += cost;
            }
            spent
        });
    });
    group.finish();
    busy.sort_by(f64::total_cmp);
    overhead.sort_by(f64::total_cmp);
    let (busy, cost) = (busy[busy.len() / 2], overhead[overhead.len() / 2]);
    println!(
        "{} trials: worker {:.3} s, harness {:.2} ms more (at most {:.2} ms): {:.3}%",
        overhead.len(),
        busy,
        cost * 1e3,
        overhead.last().unwrap() * 1e3,
        cost / busy * 100.0
    );
}

fn header(source: SuiteSource, suite: &Suite, material: &Material) -> RunHeader {
    let (corpus_digest, judging_digests) = digests(material);
    RunHeader {
        prior: None,
        version: String::new(),
        revision: String::new(),
        command_line: Vec::new(),
        suite_digest: suite.digest.clone(),
        corpus_digest,
        fresh_digest: None,
        judging_digests,
        source,
        overrides: Overrides::default(),
        target: Target::simulated(None, "overhead"),
        machine: Machine::default(),
    }
}

criterion_group!(benches, trial_of_one_second);
criterion_main!(benches);
