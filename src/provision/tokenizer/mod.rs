//! The `tokenizer.json` of a replica: the special tokens of the real family under their ids, and a vocabulary of the
//! same size.

mod family;
mod joins;
mod pieces;

use serde_json::{Value, json};

use family::Family;
pub use family::TokenizerKind;
use joins::Joins;
use pieces::{Piece, pieces};

/// The tokenizer for a `config.json`; the same on every machine.
pub fn make(kind: TokenizerKind, config: &Value) -> Result<Value, String> {
    let family = Family::of(kind, config)?;
    let (normalizer, pre_tokenizer, decoder, model) = match kind {
        TokenizerKind::Wordpiece => (
            json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                    "lowercase": true }),
            json!({ "type": "BertPreTokenizer" }),
            json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
            wordpiece(&family),
        ),
        TokenizerKind::Unigram => {
            let metaspace =
                json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
            let split = json!({ "type": "WhitespaceSplit" });
            (
                json!({ "type": "NFKC" }),
                json!({ "type": "Sequence", "pretokenizers": [split, metaspace] }),
                metaspace,
                unigram(&family),
            )
        }
        TokenizerKind::Bpe => {
            let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
            (json!({ "type": "NFC" }), bytes.clone(), bytes, bpe(&family))
        }
    };
    Ok(json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": family.added_tokens(),
               "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": family.post_processor(),
               "decoder": decoder, "model": model }))
}

fn wordpiece(family: &Family) -> Value {
    let text = |piece: Piece| if piece.initial { piece.text } else { format!("##{}", piece.text) };
    let entries = family.arrange(pieces(false).into_iter().map(|piece| (text(piece), 0.0)).collect());
    json!({ "type": "WordPiece", "unk_token": family.unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids(entries) })
}

fn unigram(family: &Family) -> Value {
    let text = |piece: &Piece| if piece.initial { format!("▁{}", piece.text) } else { piece.text.clone() };
    // What a word begins with, for words whose first character is none that is known.
    let mut known = vec![("▁".to_owned(), -4.0)];
    known.extend(pieces(true).iter().map(|piece| (text(piece), piece.score)));
    let unknown = family.id(family.unknown);
    json!({ "type": "Unigram", "unk_id": unknown, "vocab": family.arrange(known), "byte_fallback": false })
}

fn bpe(family: &Family) -> Value {
    let mut joins = Joins::new(family.room());
    for piece in pieces(true) {
        let spaced = if piece.initial { format!(" {}", piece.text) } else { piece.text };
        joins.learn(&spaced);
    }
    let merges: Vec<[&str; 2]> =
        joins.order.iter().map(|(left, right)| [joins.text(*left), joins.text(*right)]).collect();
    let merges = json!(merges);
    let entries = family.arrange(joins.texts.into_iter().map(|text| (text, 0.0)).collect());
    json!({ "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": ids(entries), "merges": merges })
}

fn ids(entries: Vec<(String, f64)>) -> Value {
    entries
        .into_iter()
        .enumerate()
        .map(|(id, (text, _))| (text, Value::from(id)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use tokenizers::Tokenizer;

    use super::*;
    use crate::provision::registry::{Model, find};
    use crate::suite::{self, Overrides, SuiteSource};

    const ENGLISH: &str = "The committee met on Tuesday afternoon to discuss the proposed changes to the municipal water \
        supply, which has been under considerable strain since the unusually dry summer. Several residents complained that \
        pressure in the upper districts had fallen below acceptable levels, and that repairs promised in the spring had \
        never been carried out. Nobody answered immediately. Customers reported that the delivery was quick, the packaging \
        was excellent, and the product worked exactly as described.";

    /// The documents of a suite whose corpus is synthetic.
    fn synthetic() -> String {
        let source = SuiteSource::find("demo").unwrap();
        let suite = suite::parse(&source, &Overrides::default(), &crate::emit::env::names()).unwrap();
        let documents = suite.documents(&source.folder).unwrap();
        documents.into_iter().map(|document| document.text).collect::<Vec<_>>().join(" ")
    }

    /// A tokenizer of each family, with vocabularies of all sizes: large ones take a while to make.
    static TOKENIZERS: LazyLock<Vec<(&'static Model, Tokenizer)>> = LazyLock::new(|| {
        let names = [
            "all-MiniLM-L6-v2",
            "all-mpnet-base-v2",
            "multilingual-e5-small",
            "camembert-ner",
            "ModernBERT-base",
        ];
        let made = names.map(|name| {
            let (_, model) = find(name).unwrap();
            let made = make(model.tokenizer, &model.config).unwrap();
            (model, Tokenizer::from_bytes(serde_json::to_vec(&made).unwrap()).unwrap())
        });
        made.into()
    });

    #[test]
    fn a_word_is_as_many_tokens_as_with_a_real_tokenizer() {
        let synthetic = synthetic();
        for (model, tokenizer) in TOKENIZERS.iter() {
            for text in [ENGLISH, synthetic.as_str()] {
                let tokens = tokenizer.encode(text, false).unwrap().len() as f64;
                let per_word = tokens / text.split(' ').count() as f64;
                assert!((1.4..1.6).contains(&per_word), "{}: {per_word} of {text:.20}", model.config);
            }
        }
    }

    #[test]
    fn special_tokens_have_the_ids_of_the_real_family() {
        let seen = TOKENIZERS.iter().map(|(model, tokenizer)| {
            let pair = tokenizer.encode(("the house", "the water"), true).unwrap();
            let mask = tokenizer.token_to_id("<mask>").or(tokenizer.token_to_id("[MASK]")).unwrap();
            assert!(tokenizer.get_vocab_size(true) as u64 <= model.config["vocab_size"].as_u64().unwrap());
            let pads = ["<pad>", "[PAD]"].map(|pad| tokenizer.token_to_id(pad));
            let [first, _, _, middle, .., end] = *pair.get_ids() else { panic!("{pair:?}") };
            (first, middle, end, pair.get_type_ids().last().copied().unwrap(), mask, pads)
        });
        let expected = [
            (101, 102, 102, 1, 103, [None, Some(0)]),
            (0, 2, 2, 0, 30_526, [Some(1), None]),
            (0, 2, 2, 0, 250_001, [Some(1), None]),
            (5, 6, 6, 0, 32_004, [Some(1), None]),
            (50_281, 50_282, 50_282, 0, 50_284, [None, Some(50_283)]),
        ];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_text_can_be_read_and_offsets_are_those_of_the_text() {
        for (model, tokenizer) in TOKENIZERS.iter() {
            for text in ["", "water \u{2603} naïve 東京 Zürich\u{0}", "ÀÉ  the\thouse"] {
                let encoding = tokenizer.encode(text, true).unwrap();
                assert!(encoding.len() >= 2, "{}: {text:?}", model.config);
            }
            let encoding = tokenizer.encode("the water", false).unwrap();
            let (start, end) = encoding.get_offsets()[encoding.len() - 1];
            assert_eq!("the water"[start..end].trim(), "water", "{}", model.config);
        }
    }

    #[test]
    fn a_tokenizer_is_the_same_each_time_and_a_small_table_is_refused() {
        let config = json!({ "model_type": "bert", "vocab_size": 1000 });
        let make = |config: &Value| make(TokenizerKind::Wordpiece, config);
        assert_eq!(make(&config), make(&config));
        assert!(make(&json!({ "vocab_size": 100 })).unwrap_err().contains("too small"));
    }
}
