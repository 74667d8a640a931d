//! Whether verdicts can be believed: how often what differs is told apart, how often what doesn't is, and how often intervals
//! hold the truth. Prints the table of docs/METHODOLOGY.md: `cargo bench --bench power`.

use autotune::analysis::ratio::by_round;
use autotune::analysis::statistics::{Rounds, estimate, median};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg64;

const SIMULATIONS: usize = 10_000;

/// What a machine does from round to round, to all candidates alike.
const DRIFT: f64 = 0.25;
/// What it does to one candidate in one round…
const NOISE: f64 = 0.03;
/// …and from pass to pass.
const PASS_NOISE: f64 = 0.01;

/// Measures two candidates, one of which is `ratio` times as fast, in so many rounds of 2 to 20 passes each.
fn measure(ratio: f64, rounds: usize, random: &mut Pcg64) -> (Rounds, Rounds) {
    let draw = |deviation: f64, random: &mut Pcg64| LogNormal::new(0.0, deviation).unwrap().sample(random);
    let (mut left, mut right) = (Rounds::new(), Rounds::new());
    for _ in 0..rounds {
        let machine = draw(DRIFT, random);
        for (speed, rounds) in [(ratio, &mut left), (1.0, &mut right)] {
            let level = 100.0 * speed * machine * draw(NOISE, random);
            let passes = random.random_range(2..=20);
            rounds.push((0..passes).map(|_| level * draw(PASS_NOISE, random)).collect());
        }
    }
    (left, right)
}

/// In how many of 100 simulations something holds.
fn percent(mut holds: impl FnMut(&mut Pcg64) -> bool) -> f64 {
    let mut random = Pcg64::seed_from_u64(26);
    (0..SIMULATIONS).filter(|_| holds(&mut random)).count() as f64 / SIMULATIONS as f64 * 100.0
}

/// As verdicts were before: medians of all passes, with the rounds drawn anew 200 times.
fn pooled_medians_differ(left: &Rounds, right: &Rounds, random: &mut Pcg64) -> bool {
    let pooled = |rounds: &Rounds, drawn: &[usize]| {
        median(drawn.iter().flat_map(|round| rounds[*round].iter().copied())).unwrap()
    };
    let mut ratios: Vec<f64> = (0..200)
        .map(|_| {
            let drawn: Vec<usize> = left.iter().map(|_| random.random_range(0..left.len())).collect();
            pooled(left, &drawn) / pooled(right, &drawn)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[5] > 1.0 || ratios[194] < 1.0
}

fn main() {
    println!(
        "{SIMULATIONS} simulations: drift {DRIFT}, noise {NOISE} a candidate and round, {PASS_NOISE} a pass\n"
    );
    println!(
        "| rounds | 1.10 told apart | 1.00 told apart | intervals of a ratio that hold it | intervals of a figure that hold it |"
    );
    println!("|---|---|---|---|---|");
    for rounds in [2, 3, 5, 8, 20] {
        let told = |ratio: f64| {
            percent(|random| {
                let (left, right) = measure(ratio, rounds, random);
                by_round(&left, &right).unwrap().excludes(1.0)
            })
        };
        let holds_ratio = percent(|random| {
            let (left, right) = measure(1.1, rounds, random);
            !by_round(&left, &right).unwrap().excludes(1.1)
        });
        let holds_figure =
            percent(|random| !estimate(&measure(1.1, rounds, random).0).unwrap().excludes(110.0));
        println!(
            "| {rounds} | {:.1}% | {:.1}% | {holds_ratio:.1}% | {holds_figure:.1}% |",
            told(1.1),
            told(1.0)
        );
    }
    let pooled = percent(|random| {
        let (left, right) = measure(1.1, 5, random);
        pooled_medians_differ(&left, &right, random)
    });
    println!("\nBy pooled medians, 1.10 in 5 rounds: {pooled:.1}% told apart.");
}
