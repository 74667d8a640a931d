//! Where the documents come from.

use toml::Spanned;

use super::Builder;
use crate::suite::Corpus;
use crate::suite::corpus::{Source, Synthetic};
use crate::suite::problem::Problem;
use crate::suite::wire::{WireCorpus, WireSynthetic};

impl Builder<'_> {
    pub(super) fn corpus(&self, wire: &Spanned<WireCorpus>) -> Result<Corpus, Problem> {
        let (span, wire) = (wire.span(), wire.get_ref());
        let source = match (&wire.file, &wire.synthetic) {
            (Some(file), None) => Source::File(file.get_ref().clone()),
            (None, Some(synthetic)) => Source::Synthetic(self.synthetic(synthetic)?),
            _ => return Err(self.text.problem(span, "a corpus is either a `file` or `synthetic`")),
        };
        let first = match &wire.first {
            Some(first) if *first.get_ref() == 0 => {
                return Err(self.text.problem(first.span(), "`first = 0` leaves no document to measure on"));
            }
            first => first.as_ref().map(|first| *first.get_ref()),
        };
        let place = self.text.place(wire.file.as_ref().map_or(span, Spanned::span));
        Ok(Corpus { source, first, place })
    }

    fn synthetic(&self, wire: &Spanned<WireSynthetic>) -> Result<Synthetic, Problem> {
        let problem = |message: &str| self.text.problem(wire.span(), message);
        let made = wire.get_ref();
        let synthetic = Synthetic {
            documents: made.documents,
            median_words: made.median_words.unwrap_or(55.0),
            spread: made.spread.unwrap_or(0.6),
            most_words: made.most_words.unwrap_or(400),
            queries: made.queries.unwrap_or(0),
            seed: made.seed.unwrap_or(1),
        };
        if !(1..=1_000_000).contains(&synthetic.documents) {
            return Err(problem("`documents` must be from 1 to 1000000"));
        }
        if !(1..=100_000).contains(&synthetic.most_words)
            || synthetic.documents.saturating_mul(synthetic.most_words) > 100_000_000
        {
            return Err(problem(
                "`most_words` must be from 1 to 100000, and a hundred million words in all at most",
            ));
        }
        if !(1.0..=1e5).contains(&synthetic.median_words) || !(0.0..=5.0).contains(&synthetic.spread) {
            return Err(problem("`median_words` must be from 1 to 100000 and `spread` from 0 to 5"));
        }
        if synthetic.queries > synthetic.documents {
            return Err(problem("there can't be more `queries` than `documents`"));
        }
        Ok(synthetic)
    }
}
