//! What the tokenizers of a family of models share: special tokens under their ids, and what stands around a text.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::arch;

/// How a tokenizer cuts words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// The longest piece first, as BERT does.
    Wordpiece,
    /// The likeliest pieces, as XLM-RoBERTa, CamemBERT and DeBERTa do.
    Unigram,
    /// Pairs of bytes joined again and again, as RoBERTa and ModernBERT do.
    Bpe,
}

/// What the tokenizers of a family of models have in common.
pub struct Family {
    /// Tokens with ids of their own.
    special: Vec<(usize, &'static str)>,
    /// The tokens before and after a text, and the one for what can't be read.
    first: &'static str,
    last: &'static str,
    pub unknown: &'static str,
    /// Two tokens stand between a pair of texts, and not one.
    doubled: bool,
    /// The second text's tokens are of another type.
    typed: bool,
    /// Ids that there are, those of special tokens included.
    size: usize,
}

/// How many entries XLM-RoBERTa's vocabulary has. Models that use it may have more rows.
const XLM_ROBERTA: usize = 250_002;

/// Where DeBERTa's third version keeps this token; rows behind it have no text.
const DEBERTA_MASK: usize = 128_000;

impl Family {
    pub fn of(kind: TokenizerKind, config: &Value) -> Result<Family, String> {
        let rows = config["vocab_size"].as_u64().ok_or("config.json has no vocab_size")? as usize;
        let last = rows.saturating_sub(1);
        let body = arch::body_config(config).0;
        let roberta = |size: usize| Family {
            special: vec![
                (0, "<s>"),
                (1, "<pad>"),
                (2, "</s>"),
                (3, "<unk>"),
                (size.saturating_sub(1), "<mask>"),
            ],
            first: "<s>",
            last: "</s>",
            unknown: "<unk>",
            doubled: true,
            typed: false,
            size,
        };
        let bert = |special| Family {
            special,
            first: "[CLS]",
            last: "[SEP]",
            unknown: "[UNK]",
            doubled: false,
            typed: kind == TokenizerKind::Wordpiece,
            size: rows,
        };
        let family = match (kind, body["model_type"].as_str().unwrap_or_default()) {
            (TokenizerKind::Wordpiece, "mpnet") => {
                let mut family = roberta(rows);
                family.special.push((104, "[UNK]"));
                Family { unknown: "[UNK]", ..family }
            }
            (TokenizerKind::Wordpiece, _) => {
                bert(vec![(0, "[PAD]"), (100, "[UNK]"), (101, "[CLS]"), (102, "[SEP]"), (103, "[MASK]")])
            }
            (TokenizerKind::Unigram, "camembert") => Family {
                special: vec![
                    (0, "<s>NOTUSED"),
                    (1, "<pad>"),
                    (2, "</s>NOTUSED"),
                    (3, "<unk>"),
                    (4, "<unk>NOTUSED"),
                    (5, "<s>"),
                    (6, "</s>"),
                    (last, "<mask>"),
                ],
                ..roberta(rows)
            },
            (TokenizerKind::Unigram, "deberta-v2") => {
                let words = body["vocab_size"].as_u64().unwrap_or_default() as usize;
                let mask = DEBERTA_MASK.min(words.saturating_sub(1));
                let mut special =
                    vec![(0, "[PAD]"), (1, "[CLS]"), (2, "[SEP]"), (3, "[UNK]"), (mask, "[MASK]")];
                // What GLiNER asks with comes behind everything else.
                if arch::gliner::is(config) {
                    special.extend([(last.saturating_sub(1), "<<ENT>>"), (last, "<<SEP>>")]);
                }
                bert(special)
            }
            (TokenizerKind::Unigram, _) => roberta(rows.min(XLM_ROBERTA)),
            (TokenizerKind::Bpe, "modernbert") => bert(vec![
                (0, "|||IP_ADDRESS|||"),
                (1, "<|padding|>"),
                (50_279, "<|endoftext|>"),
                (50_280, "[UNK]"),
                (50_281, "[CLS]"),
                (50_282, "[SEP]"),
                (50_283, "[PAD]"),
                (50_284, "[MASK]"),
            ]),
            (TokenizerKind::Bpe, _) => roberta(rows),
        };
        // 256 bytes, so that everything can be read.
        let least =
            family.special.iter().map(|(id, _)| id + 1).max().unwrap_or(0).max(family.special.len() + 256);
        if family.size < least {
            return Err(format!(
                "a vocabulary of {} is too small for this tokenizer: {least} at least",
                family.size
            ));
        }
        Ok(family)
    }

    /// Every id's text and score: special tokens where they belong, the others anywhere, as they are in a real table, and
    /// names that no text has for the ids that are left.
    pub fn arrange(&self, pieces: Vec<(String, f64)>) -> Vec<(String, f64)> {
        let mut entries: Vec<(String, f64)> =
            (0..self.size).map(|id| (format!("<unused{id}>"), UNUSED_SCORE)).collect();
        for (id, text) in &self.special {
            entries[*id] = ((*text).to_owned(), 0.0);
        }
        let special = |id: &usize| self.special.iter().any(|(known, _)| known == id);
        let mut free: Vec<usize> = (0..self.size).filter(|id| !special(id)).collect();
        free.shuffle(&mut Pcg64::seed_from_u64(0));
        for (id, piece) in free.into_iter().zip(pieces) {
            entries[id] = piece;
        }
        entries
    }

    pub fn room(&self) -> usize {
        self.size - self.special.len()
    }

    pub fn id(&self, token: &str) -> usize {
        self.special.iter().find(|(_, text)| *text == token).map_or(0, |(id, _)| *id)
    }

    pub fn added_tokens(&self) -> Value {
        let token = |(id, text): &(usize, &str)| {
            // A mask swallows the space before it, where spaces are part of tokens.
            json!({ "id": id, "content": text, "single_word": false, "lstrip": *text == "<mask>", "rstrip": false,
                    "normalized": false, "special": true })
        };
        let mut sorted = self.special.clone();
        sorted.sort_unstable();
        sorted.iter().map(token).collect()
    }

    pub fn post_processor(&self) -> Value {
        let token = |text: &str, of: u32| json!({ "SpecialToken": { "id": text, "type_id": of } });
        let text = |name: &str, of: u32| json!({ "Sequence": { "id": name, "type_id": of } });
        let entry = |text: &str| json!({ "id": text, "ids": [self.id(text)], "tokens": [text] });
        let second = u32::from(self.typed);
        let mut pair = vec![token(self.first, 0), text("A", 0), token(self.last, 0)];
        let single = pair.clone();
        if self.doubled {
            pair.push(token(self.last, 0));
        }
        pair.extend([text("B", second), token(self.last, second)]);
        json!({ "type": "TemplateProcessing", "single": single, "pair": pair,
                "special_tokens": { self.first: entry(self.first), self.last: entry(self.last) } })
    }
}

/// So unlikely that a text with such a name in it is cut otherwise.
const UNUSED_SCORE: f64 = -100.0;
