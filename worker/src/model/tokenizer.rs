//! Text to tokens, as `tokenizer.json` says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tokenizers::{PostProcessor, TruncationDirection, TruncationParams, TruncationStrategy};

use super::encoding::{Encoding, Marks};
use super::error::ModelError;
use super::prompting::Prompting;

const FAILED: &str = "the tokenizer failed on this text";

/// Turns texts into tokens, from several threads at once.
pub trait Tokenise: Send + Sync {
    /// The tokens of a document: of its query first, if it has one.
    fn encode(&self, query: Option<&str>, text: &str) -> Result<Encoding, String>;
}

/// A `tokenizer.json`, set to cut after so many tokens.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Ids that stand for no text, such as those around it.
    pub special: Vec<u32>,
    /// What stands in front of every text, for networks that are asked for labels.
    prompting: Option<Prompting>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model whose word table has `words` rows and which reads `most_tokens` at once.
    pub fn open(folder: &Path, words: usize, most_tokens: usize) -> Result<Tokenizer, ModelError> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|error| {
            let hint = "; create it with transformers' `save_pretrained`";
            let hint = if error.kind() == std::io::ErrorKind::NotFound { hint } else { "" };
            ModelError::file(&path, format!("{error}{hint}"))
        })?;
        // The crate reads what anybody has written; what it doesn't foresee must not end us.
        let read = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(&bytes)));
        let mut inner = match read {
            Ok(Ok(inner)) => inner,
            Ok(Err(error)) => return Err(ModelError::file(&path, error)),
            Err(_) => return Err(ModelError::file(&path, "not a tokenizer")),
        };
        // Batches are padded and packed by us.
        inner.with_padding(None);
        let highest = inner.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if highest >= words {
            let why = format!("it has an id {highest}, and the model's word table has {words} rows");
            return Err(ModelError::file(&path, why));
        }
        let special = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .collect();
        let mut tokenizer = Tokenizer { inner, special, prompting: None };
        tokenizer.cut_after(most_tokens).map_err(|why| ModelError::file(&path, why))?;
        Ok(tokenizer)
    }

    /// Puts this in front of every text from here on.
    pub fn prompted(self, prompting: Prompting) -> Tokenizer {
        Tokenizer { prompting: Some(prompting), ..self }
    }

    /// Cuts every text after `most` tokens from here on.
    pub fn cut_after(&mut self, most: usize) -> Result<(), String> {
        // What stands around a pair of texts; beside it at least one token of a text must fit.
        let around = self.inner.get_post_processor().map_or(0, |around| around.added_tokens(true));
        if most <= around {
            return Err(format!("{most} tokens are too few: {around} of them are special tokens"));
        }
        let truncation = TruncationParams {
            max_length: most,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        self.inner.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// A tokenizer that is cut to another length from time to time, and held once.
pub struct Cutter {
    tokenizer: Arc<Tokenizer>,
    most_tokens: usize,
}

impl Cutter {
    /// Never cuts after more than `most_tokens`.
    pub fn new(tokenizer: Tokenizer, most_tokens: usize) -> Self {
        Cutter { tokenizer: Arc::new(tokenizer), most_tokens }
    }

    /// The tokenizer, cutting after `limit` tokens.
    pub fn cut(&mut self, limit: Option<usize>) -> Result<Arc<dyn Tokenise>, String> {
        let most = limit.unwrap_or(self.most_tokens).min(self.most_tokens);
        // Copied only while an earlier pass still holds it.
        Arc::make_mut(&mut self.tokenizer).cut_after(most)?;
        Ok(Arc::<Tokenizer>::clone(&self.tokenizer))
    }

    /// Ids that stand for no text.
    pub fn special(&self) -> Vec<u32> {
        self.tokenizer.special.clone()
    }
}

impl Tokenise for Tokenizer {
    fn encode(&self, query: Option<&str>, text: &str) -> Result<Encoding, String> {
        if let Some(prompting) = &self.prompting {
            return catch_unwind(AssertUnwindSafe(|| prompting.encode(&self.inner, text)))
                .unwrap_or_else(|_| Err(FAILED.to_owned()));
        }
        let encode = || match query {
            Some(query) => self.inner.encode((query, text), true),
            None => self.inner.encode(text, true),
        };
        let encoded = catch_unwind(AssertUnwindSafe(encode))
            .map_err(|_| FAILED.to_owned())?
            .map_err(|error| error.to_string())?;
        let (of_text, special) = (encoded.get_sequence_ids(), encoded.get_special_tokens_mask());
        let wanted = usize::from(query.is_some());
        let offset = |place: usize| {
            let stands = special[place] == 0 && of_text[place] == Some(wanted);
            if stands { encoded.get_offsets()[place] } else { (0, 0) }
        };
        Ok(Encoding {
            ids: encoded.get_ids().to_vec(),
            types: encoded.get_type_ids().to_vec(),
            offsets: (0..encoded.len()).map(offset).collect(),
            marks: Marks::default(),
        })
    }
}
