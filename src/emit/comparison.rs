//! Two runs side by side in the terminal.

use super::bracket;
use super::style::{Style, plain_table};
use super::table::MOST_ROWS;
use crate::analysis::Comparison;

/// What differs most first.
pub fn render(comparison: &Comparison, style: Style) -> String {
    let objective = comparison.objective;
    let mut text = String::new();
    for stage in &comparison.stages {
        let mut table = plain_table(style);
        table.set_header(["candidate", "then", "now", "now/then", "95% interval"]);
        let mut shared: Vec<_> = stage.shared.iter().collect();
        shared.sort_by(|left, right| {
            (right.ratio.value - 1.0).abs().total_cmp(&(left.ratio.value - 1.0).abs())
        });
        let first = shared.first().map(|first| &first.candidate);
        let same = |knob: &str| {
            shared
                .iter()
                .all(|other| first.is_some_and(|first| first.word(knob) == other.candidate.word(knob)))
        };
        for shared in shared.iter().take(MOST_ROWS) {
            table.add_row([
                shared.candidate.label(same),
                objective.print(shared.before),
                objective.print(shared.after),
                format!("{:.3}", shared.ratio.value),
                bracket(shared.ratio, 3),
            ]);
        }
        text.push_str(&format!(
            "{} · {objective} of {} candidates in both runs\n{table}\n",
            stage.name,
            shared.len()
        ));
        if stage.only_before + stage.only_after > 0 {
            let (before, after) = (stage.only_before, stage.only_after);
            text.push_str(&format!("candidates in one run only: {before} then, {after} now\n"));
        }
        match (&stage.before, &stage.after, stage.winners) {
            (Some(then), Some(now), Some(ratio)) => text.push_str(&format!(
                "winner then {} ({}), now {} ({}): {:.3} times {}\n",
                then.id,
                objective.print(then.value),
                now.id,
                objective.print(now.value),
                ratio.value,
                bracket(ratio, 3)
            )),
            (then, now, _) => {
                let has = |winner: bool| if winner { "a winner" } else { "no winner" };
                text.push_str(&format!("{} then, {} now\n", has(then.is_some()), has(now.is_some())));
            }
        }
    }
    for caution in &comparison.cautions {
        text.push_str(&style.caution(caution));
    }
    text
}
