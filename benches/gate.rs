//! Whether a gate can be believed: its false alarms, what it finds, whether what it claims of itself holds, and how others do on the
//! same data. Prints the tables of results/README.md: `cargo bench --bench gate`.

use autotune::analysis::gate::{Finding, Gated, LOOKS, Looks, Rule, calibrate, compare, looks};
use autotune::analysis::ranks::above_others;
use autotune::analysis::statistics::{Logarithms, median};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Normal};
use rand_pcg::Pcg64;

/// What `autotune gate` has when it's told nothing.
const RULE: Rule = Rule { margin: 0.01, error: 0.01 };

/// There is time for so many pairs.
const MOST_PAIRS: usize = 400;

/// One measurement in so many is disturbed, by up to this share.
const SPIKES: f64 = 0.02;
const SPIKE: f64 = 0.3;

const GATES: usize = 1000;
const RUNNERS: usize = 1000;

struct Machine {
    /// The deviation of a pair's ratio.
    noise: f64,
    random: Pcg64,
}

/// Ratios of the new arm and of the base beside itself.
#[derive(Default)]
struct Pairs {
    new: Vec<f64>,
    own: Vec<f64>,
    memory: Vec<f64>,
    load: Vec<f64>,
}

impl Pairs {
    /// What a gate looks at, after so many pairs.
    fn figures(&self, count: usize) -> [(Gated, Vec<f64>); FIGURES] {
        let of = |figure, ratios: &[f64]| (figure, ratios[..count].to_vec());
        [of(Gated::Time, &self.new), of(Gated::Memory, &self.memory), of(Gated::Load, &self.load)]
    }
}

const FIGURES: usize = 3;
/// The deviation of a pair's memory and of its load, where nothing differs.
const MEMORY_NOISE: f64 = 0.003;
const LOAD_NOISE: f64 = 0.05;

impl Machine {
    fn new(noise: f64, seed: usize) -> Machine {
        Machine { noise, random: Pcg64::seed_from_u64(seed as u64) }
    }

    fn normal(&mut self, deviation: f64) -> f64 {
        Normal::new(0.0, deviation).unwrap().sample(&mut self.random)
    }

    /// The logarithm of what a process takes beside what the machine does to all of a pair, which cancels.
    fn process(&mut self) -> f64 {
        let spike = self.random.random_bool(SPIKES);
        let spike = if spike { self.random.random_range(0.0..SPIKE) } else { 0.0 };
        self.normal(self.noise * std::f64::consts::FRAC_1_SQRT_2) + spike
    }

    fn pair(&mut self, slowdown: f64, pairs: &mut Pairs) {
        let [base, new, again] = std::array::from_fn(|_| self.process());
        pairs.new.push((1.0 + slowdown) * (new - base).exp());
        pairs.own.push((again - base).exp());
        pairs.memory.push(self.normal(MEMORY_NOISE).exp());
        pairs.load.push(self.normal(LOAD_NOISE).exp());
    }

    /// A gate as it's run: what it finds of the time, among three figures, and how many pairs it took.
    fn gate(&mut self, slowdown: f64) -> (Finding, Pairs) {
        let (mut pairs, mut gate) = (Pairs::default(), Looks::new(RULE));
        loop {
            self.pair(slowdown, &mut pairs);
            let figures = pairs.figures(pairs.new.len());
            if let Some(found) = gate.after(&figures, &pairs.own, MOST_PAIRS) {
                return (found[0].finding, pairs);
            }
        }
    }
}

/// What `of` gives for each number below `count`, by all of the processor's cores.
fn each<T: Send>(count: usize, of: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let of = &of;
    let mut found: Vec<(usize, T)> = std::thread::scope(|scope| {
        let own = |core| scope.spawn(move || (core..count).step_by(cores).map(|at| (at, of(at))).collect());
        let threads: Vec<std::thread::ScopedJoinHandle<Vec<(usize, T)>>> = (0..cores).map(own).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, one)| one).collect()
}

fn percent(count: usize, of: usize) -> String {
    format!("{:.1}%", 100.0 * count as f64 / of as f64)
}

/// The table of what is found: each noise and slowdown.
fn found() {
    println!("| noise a pair | slowdown | regression | not worse | can't tell | pairs, median |");
    println!("|---|---|---|---|---|---|");
    for noise in [0.01, 0.02, 0.03] {
        for slowdown in [0.0, 0.02, 0.05, 0.10] {
            let gates = each(GATES, |seed| Machine::new(noise, 7 * seed + 1).gate(slowdown));
            let count = |wanted: &[Finding]| gates.iter().filter(|(own, _)| wanted.contains(own)).count();
            let pairs = median(gates.iter().map(|(_, pairs)| pairs.new.len() as f64)).unwrap();
            println!(
                "| {:.0}% | {:.0}% | {} | {} | {} | {pairs} |",
                noise * 100.0,
                slowdown * 100.0,
                percent(count(&[Finding::Regression]), GATES),
                percent(count(&[Finding::Pass, Finding::Improved]), GATES),
                percent(count(&[Finding::Ambiguous]), GATES)
            );
        }
    }
}

/// What a gate says of itself on one machine, and what is true.
struct Claim {
    held: bool,
    width: f64,
    /// How often the slowdown is found that is said to be found 9 times in 10.
    power: Option<f64>,
}

fn claim(runner: usize) -> Option<Claim> {
    let noise = 0.005 * 16f64.powf(runner as f64 / RUNNERS as f64);
    let mut machine = Machine::new(noise, 1000 + runner);
    let (_, pairs) = machine.gate(0.0);
    let count = pairs.own.len();
    let claim = calibrate(&pairs.own, count, RULE, FIGURES, 0)?;
    let mut share = |slowdown: f64, gates: usize| {
        let alarm = |machine: &mut Machine| {
            let mut pairs = Pairs::default();
            (0..count).for_each(|_| machine.pair(slowdown, &mut pairs));
            looks(count)
                .into_iter()
                .any(|look| compare(&pairs.figures(look), RULE, LOOKS)[0].finding == Finding::Regression)
        };
        (0..gates).filter(|_| alarm(&mut machine)).count() as f64 / gates as f64
    };
    let interval = claim.false_alarms.interval?;
    Some(Claim {
        held: interval.contains(share(0.0, 200)),
        width: interval.high - interval.low,
        power: claim.smallest.map(|smallest| share(smallest, 100)),
    })
}

/// Whether the error rate and the smallest slowdown that a gate prints are true.
fn claims() {
    let claims: Vec<Claim> = each(RUNNERS, claim).into_iter().flatten().collect();
    println!("\n{} runners with 0.5% to 8% of noise a pair:", claims.len());
    let held = claims.iter().filter(|claim| claim.held).count();
    println!("the share of false alarms lies in the printed interval on {}", percent(held, claims.len()));
    let widths = claims.iter().map(|claim| claim.width);
    println!("whose median width is {:.2} points", 100.0 * median(widths).unwrap());
    let powers: Vec<f64> = claims.iter().filter_map(|claim| claim.power).collect();
    let enough = powers.iter().filter(|power| **power >= 0.8).count();
    println!(
        "the smallest slowdown \"found 9 times in 10\" is found in {:.0}% (median), in at least 80% on {}\n",
        100.0 * median(powers.iter().copied()).unwrap(),
        percent(enough, powers.len())
    );
}

/// What criterion decides when it compares with the run before: a bootstrap of Student's statistic on both together, and an interval
/// of the means' ratio by another, beyond its threshold of 1% for noise.
fn as_criterion(new: &[f64], base: &[f64], random: &mut Pcg64) -> bool {
    const RESAMPLES: usize = 1000;
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let statistic = |left: &[f64], right: &[f64]| {
        let squared = |of: &[f64]| {
            let middle = mean(of);
            let squares: f64 = of.iter().map(|one| (one - middle).powi(2)).sum();
            squares / (of.len() as f64 - 1.0) / of.len() as f64
        };
        (mean(left) - mean(right)) / (squared(left) + squared(right)).sqrt()
    };
    let mut drawn = |of: &[f64], count: usize| {
        (0..count).map(|_| of[random.random_range(0..of.len())]).collect::<Vec<f64>>()
    };
    let both = [new, base].concat();
    let seen = statistic(new, base).abs();
    let as_far = (0..RESAMPLES)
        .filter(|_| {
            let other = drawn(&both, both.len());
            statistic(&other[..new.len()], &other[new.len()..]).abs() >= seen
        })
        .count();
    let mut ratios: Vec<f64> =
        (0..RESAMPLES).map(|_| mean(&drawn(new, new.len())) / mean(&drawn(base, base.len()))).collect();
    ratios.sort_by(f64::total_cmp);
    (as_far as f64) < 0.05 * RESAMPLES as f64 && ratios[RESAMPLES / 40] > 1.01
}

/// Measurements in two blocks, one program after the other, of a machine that drifts; and what people decide by them.
fn others() {
    const EACH: usize = 40;
    const STEP: f64 = 0.01;
    const SESSION: f64 = 0.05;
    println!(
        "\n{EACH} measurements of each program, 3% of noise a pair, a drift of 1% a measurement, 5% from session to session:\n"
    );
    println!("| how | alarms at no change | at 5% slower |");
    println!("|---|---|---|");
    type Decide = fn(&[f64], &[f64]) -> bool;
    let stored: Decide =
        |new, base| median(new.iter().copied()).unwrap() / median(base.iter().copied()).unwrap() > 1.02;
    let mann_whitney: Decide = |new, base| above_others(new, base, 1.0).is_some_and(|chance| chance < 0.01);
    let paired: Decide = |new, base| {
        let ratios = new.iter().zip(base).map(|(new, base)| new / base);
        Logarithms::of(ratios).and_then(|one| one.chance_of_none()).is_some_and(|chance| chance < 0.01)
    };
    let in_turn = |slowdown: f64, seed: usize| {
        let mut machine = Machine::new(0.03, 50_000 + seed);
        let mut pairs = Pairs::default();
        (0..EACH).for_each(|_| machine.pair(slowdown, &mut pairs));
        (pairs.new, vec![1.0; EACH])
    };
    let in_blocks = |slowdown: f64, seed: usize, session: f64| {
        let mut machine = Machine::new(0.03, 90_000 + seed);
        let mut level = 0.0;
        let mut block = |slower: f64, machine: &mut Machine| -> Vec<f64> {
            (0..EACH)
                .map(|_| {
                    level += machine.normal(STEP);
                    slower * (level + machine.process()).exp()
                })
                .collect()
        };
        let base = block(1.0, &mut machine);
        let offset = machine.normal(session.max(1e-9)).exp();
        (block((1.0 + slowdown) * offset, &mut machine), base)
    };
    let row = |name: &str, alarms: &(dyn Fn(f64, usize) -> bool + Sync)| {
        let of = |slowdown: f64| {
            let alarms = each(GATES, |seed| alarms(slowdown, seed));
            percent(alarms.into_iter().filter(|alarm| *alarm).count(), GATES)
        };
        println!("| {name} | {} | {} |", of(0.0), of(0.05));
    };
    row("a stored baseline, 2% allowed", &|slowdown, seed| {
        let (new, base) = in_blocks(slowdown, seed, SESSION);
        stored(&new, &base)
    });
    row("one block after the other, Mann and Whitney at 1%", &|slowdown, seed| {
        let (new, base) = in_blocks(slowdown, seed, 0.0);
        mann_whitney(&new, &base)
    });
    row("one block after the other, as criterion compares", &|slowdown, seed| {
        let (new, base) = in_blocks(slowdown, seed, 0.0);
        as_criterion(&new, &base, &mut Pcg64::seed_from_u64(seed as u64))
    });
    row("pairs, Student's test at 1%", &|slowdown, seed| {
        let (new, base) = in_turn(slowdown, seed);
        paired(&new, &base)
    });
    row("`autotune gate`, margin 1%, error 1%", &|slowdown, seed| {
        let (new, _) = in_turn(slowdown, seed);
        compare(&[(Gated::Time, new)], RULE, 1)[0].finding == Finding::Regression
    });
}

fn main() {
    println!(
        "{GATES} gates a line, at most {MOST_PAIRS} pairs, one measurement in 50 disturbed by up to 30%\n"
    );
    others();
    claims();
    found();
}
