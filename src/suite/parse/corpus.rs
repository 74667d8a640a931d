//! Where the documents come from.

use toml::Spanned;

use super::Builder;
use crate::suite::corpus::{Fields, Files, Slice, Source, Synthetic};
use crate::suite::problem::Problem;
use crate::suite::wire::{OneOrMore, WireCorpus, WireSynthetic};
use crate::suite::{Corpus, OTHER_CORPUS};

/// More is a slip.
const MOST_REPEATS: u32 = 1000;

impl Builder<'_> {
    pub(super) fn corpus(&self, wire: &Spanned<WireCorpus>) -> Result<Corpus, Problem> {
        let (span, wire) = (wire.span(), wire.get_ref());
        let overrides = self.overrides;
        if let Some(path) = &overrides.corpus {
            // What the suite says of its own files says nothing of these.
            let fields = Fields { text: overrides.text.clone(), ..Fields::default() };
            let encoding = overrides.encoding.clone();
            let source = Source::Files(Files { path: path.clone(), fields, encoding, ..Files::default() });
            let judged = self.slice(wire)?;
            return Ok(Corpus { source, first: None, repeat: 1, judged, place: OTHER_CORPUS.to_owned() });
        }
        if !overrides.text.is_empty() {
            return Err(Problem::new("--text", "it names fields of --corpus, but --corpus is missing"));
        }
        let source = match (&wire.file, &wire.synthetic) {
            (Some(file), None) => Source::Files(Files {
                path: file.get_ref().clone(),
                fields: Fields {
                    text: match wire.text.as_ref().map(Spanned::get_ref) {
                        None => Vec::new(),
                        Some(OneOrMore::One(name)) => vec![name.clone()],
                        Some(OneOrMore::More(names)) => names.clone(),
                    },
                    query: wire.query.clone(),
                    label: wire.label.clone(),
                    entities: wire.entities.clone(),
                    only: wire.only.clone(),
                },
                encoding: wire.encoding.clone(),
                split: wire.split.clone(),
            }),
            (None, Some(synthetic)) => Source::Synthetic(self.synthetic(synthetic)?),
            _ => return Err(self.text.problem(span, "a corpus is either a `file` or `synthetic`")),
        };
        let place = self.text.place(wire.file.as_ref().map_or(span, Spanned::span));
        let repeat = self.within(wire.repeat.as_ref(), 1, 1..=MOST_REPEATS, "repeat")?;
        Ok(Corpus { source, first: self.first(wire)?, repeat, judged: self.slice(wire)?, place })
    }

    /// How many documents are timed.
    fn first(&self, wire: &WireCorpus) -> Result<Option<usize>, Problem> {
        match &wire.first {
            Some(first) if *first.get_ref() == 0 => {
                Err(self.text.problem(first.span(), "`first = 0` leaves no document to measure on"))
            }
            first => Ok(first.as_ref().map(|first| *first.get_ref())),
        }
    }

    /// How much judges answers.
    fn slice(&self, wire: &WireCorpus) -> Result<Slice, Problem> {
        let Some(wire) = &wire.judged else { return Ok(Slice::WHOLE) };
        let Slice { documents, queries } =
            Slice { documents: wire.get_ref().documents, queries: wire.get_ref().queries };
        if documents == 0 || queries == 0 {
            return Err(self.text.problem(wire.span(), "`judged` needs at least one document and one query"));
        }
        Ok(Slice { documents, queries })
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
                "`most_words` must be from 1 to 100000, and all documents together at most 100000000 words",
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
