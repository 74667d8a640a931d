//! What goes into a model. Knows nobody.

use serde::{Deserialize, Serialize};

/// One text of the corpus, with its query where it has one: reranking scores the text for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}
