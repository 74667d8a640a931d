//! Searches that played on a recorded grid, side by side in the terminal.

use super::style::{Style, plain_table};
use crate::replay::{After, Grid, Near, Score, Shares};

/// The grid and how hard it is, then a row for each search.
pub fn render(grid: &Grid, scores: &[Score], told: &str, seeds: u64, style: Style) -> String {
    let shares = Shares::of(grid);
    let [five, one] = shares.near;
    let share = |count: usize| 100.0 * count as f64 / shares.configurations as f64;
    let (objective, more_is_better) = grid.objective();
    let title = format!(
        "{} · {} configurations, of which {} failed · {} {objective} is better · {five} within 5% of the best \
         ({:.2}%), {one} within 1% ({:.2}%) · {seeds} seeds, {told}",
        grid.name,
        shares.configurations,
        shares.failed,
        if more_is_better { "more" } else { "less" },
        share(five),
        share(one),
    );
    let looks: Vec<usize> =
        scores.first().map_or(Vec::new(), |score| score.after.iter().map(|after| after.trials).collect());
    let mut table = plain_table(style);
    let mut header = vec!["search".to_owned()];
    header.extend(["5%", "1%"].map(|within| format!("trials to {within}\nmedian, p95")));
    header.extend(looks.iter().map(|trials| format!("after {trials}:\nhits, regret")));
    table.set_header(header);
    for score in scores {
        let mut row = vec![score.search.to_owned()];
        row.extend(score.near.iter().map(soon));
        row.extend(score.after.iter().map(stands));
        table.add_row(row);
    }
    let notes = "Trials of the median seed, and of the one behind 95% of the seeds; a dash: not reached. Hits: seeds within 5%. \
                 Regret: how much slower than the best the best choice is, on average, ± its 95% interval.";
    format!("{}{}\n{}", style.bold(&style.paragraph(&title)), table.trim_fmt(), style.paragraph(notes))
}

fn soon(near: &Near) -> String {
    let of = |trials: Option<f64>| trials.map_or_else(|| "–".to_owned(), |trials| format!("{trials:.0}"));
    format!("{}, {}", of(near.trials_median), of(near.trials_p95))
}

fn stands(after: &After) -> String {
    let reach = after.interval.map_or(String::new(), |[low, high]| format!(" ±{:.1}", 50.0 * (high - low)));
    format!("{:.0}%, {:.1}%{reach}", 100.0 * after.hits[0], 100.0 * after.regret)
}
