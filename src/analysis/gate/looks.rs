//! When the pairs of a gate are looked at, and when it ends.

use super::calibration::needed;
use super::compare::{Compared, Finding, Gated, compare};
use super::rule::{LOOKS, Rule, looks};
use crate::analysis::ranks::LEAST_PAIRS;

/// How far a gate has come. What is simulated is what is run: both ask it.
#[derive(Debug, Clone)]
pub struct Looks {
    rule: Rule,
    planned: usize,
}

impl Looks {
    pub fn new(rule: Rule) -> Looks {
        Looks { rule, planned: LEAST_PAIRS }
    }

    /// How many pairs are to be taken, as far as that is known.
    pub fn planned(&self) -> usize {
        self.planned
    }

    /// What the pairs so far tell, where that ends the gate: everything is told, or all that were planned are there. `own` is the
    /// base beside itself, `most` how many pairs there is time for, these included.
    pub fn after(
        &mut self,
        figures: &[(Gated, Vec<f64>)],
        own: &[f64],
        most: usize,
    ) -> Option<Vec<Compared>> {
        let count = own.len();
        if count < LEAST_PAIRS {
            return None;
        }
        if count == LEAST_PAIRS {
            // As many as are needed find nine in ten at the second look; the tenth gets as many again.
            self.planned = (2 * needed(own, self.rule, figures.len())).min(most.max(count));
        }
        if !looks(self.planned).contains(&count) {
            return None;
        }
        let compared = compare(figures, self.rule, LOOKS);
        let open = compared.iter().any(|one| one.finding == Finding::Ambiguous);
        (!open || count >= self.planned).then_some(compared)
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::{RULE, pairs};
    use super::*;

    /// After how many pairs a gate ends whose pairs are these.
    fn ends(new: &[f64], own: &[f64], most: usize) -> usize {
        let mut looks = Looks::new(RULE);
        let ended = (1..=own.len()).find(|count| {
            looks.after(&[(Gated::Time, new[..*count].to_vec())], &own[..*count], most).is_some()
        });
        ended.unwrap_or_else(|| panic!("no end in {} pairs", own.len()))
    }

    #[test]
    fn what_is_plain_ends_at_the_first_look_and_what_isnt_when_the_pairs_or_the_time_are_up() {
        let own = pairs(500, 0.0, 0.02, 1);
        assert_eq!(ends(&pairs(500, 0.2, 0.02, 2), &own, 500), LEAST_PAIRS);
        // At the margin itself nothing is ever told.
        let open = pairs(500, 0.01, 0.02, 3);
        let all = 2 * needed(&own[..LEAST_PAIRS], RULE, 1);
        assert_eq!(ends(&open, &own, 500), all);
        assert_eq!(ends(&open, &own, 40), 40);
        assert_eq!(ends(&open, &own, 3), LEAST_PAIRS);
        assert_eq!(looks(40), [12, 26, 40]);
    }
}
