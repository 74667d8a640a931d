//! What a search decided, and why, in the terminal.

use super::columns::{self, Column, NEEDED};
use super::style::Style;
use super::table::verdict_words;
use crate::analysis::{Analysis, Decision, Decisions, Verdict};
use crate::record::{Leaving, Stop, Why};

/// The candidates of each stage in the order in which they were tried.
pub fn render(analysis: &Analysis, decisions: &[Decisions], style: Style) -> String {
    let mut text = String::new();
    for stage in decisions {
        if stage.candidates.is_empty() {
            text.push_str(
                &style.paragraph(&format!("{} · nothing was searched: nothing was measured", stage.stage)),
            );
            continue;
        }
        let title = format!(
            "{} · {} candidates, in the order in which they were tried",
            stage.stage,
            stage.candidates.len()
        );
        text.push_str(&style.bold(&style.paragraph(&title)));
        let rows: Vec<&Decision> = stage.candidates.iter().collect();
        let objective = analysis.objective;
        let figure = move |decision: &Decision| Some(objective.print(decision.value?));
        let columns = vec![
            Column::new("candidate", NEEDED, |decision: &Decision| Some(decision.label.clone())),
            Column::new("tried because", NEEDED, |decision: &Decision| Some(why(decision.tried?))),
            Column::number("rounds", NEEDED, |decision: &Decision| Some(decision.rounds.to_string())),
            Column::number(objective.name(), 1, figure),
            Column::new("then", NEEDED, |decision: &Decision| Some(then(decision))),
        ];
        text.push_str(&columns::render(columns, &rows, style, |row| row.verdict == Verdict::Won));
        text.push('\n');
        if let Some(stop) = stage.stopped {
            text.push_str(
                &style.paragraph(&format!("Then the search stopped: {}.", stopped(stop, stage.not_tried))),
            );
        }
        text.push('\n');
    }
    text
}

/// A share as people read it: `4.1%`.
fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn why(why: Why) -> String {
    match why {
        Why::Baseline => "the default".to_owned(),
        Why::Unseen => "first of its engine and precision".to_owned(),
        Why::Expected => "best of what was expected".to_owned(),
        Why::Far => "unlike all before".to_owned(),
        Why::Promising { gain } => format!("may gain {}", percent(gain)),
        Why::Neighbour { gain } => format!("next to the best, may gain {}", percent(gain)),
        Why::InTurn => "next in order".to_owned(),
    }
}

fn then(decision: &Decision) -> String {
    let words = verdict_words(&decision.verdict);
    match decision.left.map(|left| left.why) {
        Some(Leaving::FarBehind { beside_best }) => format!("dropped: {beside_best:.2}× the best"),
        Some(Leaving::Slower { at_best }) => format!("dropped: {at_best:.2}× the best, at most"),
        Some(Leaving::NoTime) => format!("{words}, no time for more"),
        Some(Leaving::RuledOut) | None => words,
    }
}

fn stopped(stop: Stop, not_tried: usize) -> String {
    match stop {
        Stop::AllTried if not_tried == 0 => "every candidate was tried".to_owned(),
        Stop::AllTried => {
            format!("the {not_tried} others would run out of memory, or fail as those like them did")
        }
        Stop::NotWorthIt { gain } => format!(
            "none of the {not_tried} other candidates may be expected to gain more than {}",
            percent(gain)
        ),
        Stop::Spent => format!("the budget is for no more, and {not_tried} candidates weren't tried"),
    }
}
