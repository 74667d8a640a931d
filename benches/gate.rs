//! Whether a gate can be believed: its false alarms, what it finds, whether what it claims of itself holds, and how others do on the
//! same data. Prints the tables of results/README.md: `cargo bench --bench gate`.

use autotune::analysis::gate::{Finding, Gated, LOOKS, Rule, calibrate, compare, looks, needed};
use autotune::analysis::ranks::{LEAST_PAIRS, above_others};
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
const RUNNERS: usize = 100;

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
}

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
    }

    /// A gate as it's run: what it finds of the time, among three figures, and how many pairs it took.
    fn gate(&mut self, slowdown: f64) -> (Finding, Pairs) {
        let (mut pairs, mut planned) = (Pairs::default(), LEAST_PAIRS);
        loop {
            self.pair(slowdown, &mut pairs);
            let count = pairs.new.len();
            if count == LEAST_PAIRS {
                planned = (2 * needed(&pairs.own, RULE)).min(MOST_PAIRS);
            }
            if count < LEAST_PAIRS || !looks(planned).contains(&count) {
                continue;
            }
            let others = [(Gated::Memory, 0.003), (Gated::Load, 0.05)].map(|(figure, noise)| {
                (figure, (0..count).map(|_| self.normal(noise).exp()).collect::<Vec<_>>())
            });
            let figures: Vec<_> = std::iter::once((Gated::Time, pairs.new.clone())).chain(others).collect();
            let found = compare(&figures, RULE, LOOKS);
            if count >= planned || found.iter().all(|one| one.finding != Finding::Ambiguous) {
                return (found[0].finding, pairs);
            }
        }
    }
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
            let gates: Vec<_> =
                (0..GATES).map(|seed| Machine::new(noise, 7 * seed + 1).gate(slowdown)).collect();
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

/// Whether the error rate and the smallest slowdown that a gate prints are true.
fn claims() {
    let (mut held, mut widths, mut powers) = (0, Vec::new(), Vec::new());
    for seed in 0..RUNNERS {
        let noise = 0.005 * 16f64.powf(seed as f64 / RUNNERS as f64);
        let mut machine = Machine::new(noise, 1000 + seed);
        let (_, pairs) = machine.gate(0.0);
        let count = pairs.own.len();
        let Some(claim) = calibrate(&pairs.own, count, RULE, 0) else { continue };
        let mut share = |slowdown: f64, gates: usize| {
            let alarm = |machine: &mut Machine| {
                let mut pairs = Pairs::default();
                (0..count).for_each(|_| machine.pair(slowdown, &mut pairs));
                looks(count).into_iter().any(|look| {
                    let figures = [(Gated::Time, pairs.new[..look].to_vec())];
                    compare(&figures, RULE, LOOKS)[0].finding == Finding::Regression
                })
            };
            (0..gates).filter(|_| alarm(&mut machine)).count() as f64 / gates as f64
        };
        let interval = claim.false_alarms.interval.unwrap();
        held += usize::from(interval.contains(share(0.0, 200)));
        widths.push(interval.high - interval.low);
        powers.extend(claim.smallest.map(|smallest| share(smallest, 100)));
    }
    println!("\n{RUNNERS} runners with 0.5% to 8% of noise a pair:");
    println!("the share of false alarms lies in the printed interval on {}", percent(held, RUNNERS));
    println!("whose median width is {:.2} points", 100.0 * median(widths).unwrap());
    let enough = powers.iter().filter(|power| **power >= 0.8).count();
    println!(
        "the smallest slowdown \"found 9 times in 10\" is found in {:.0}% (median), in at least 80% on {}",
        100.0 * median(powers.iter().copied()).unwrap(),
        percent(enough, powers.len())
    );
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
    let row = |name: &str, alarms: &dyn Fn(f64, usize) -> bool| {
        let of = |slowdown: f64| percent((0..GATES).filter(|seed| alarms(slowdown, *seed)).count(), GATES);
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
