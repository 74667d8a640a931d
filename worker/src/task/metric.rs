//! What judges answers. How each is worked out is the harness's business.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Mean cosine between a document's two vectors.
    Cosine,
    /// The cosine of the document on which the two differ most.
    WorstCosine,
    /// Share of each document's ten nearest neighbours that is the same.
    Top10,
    /// Share of a query's pairs of documents that are in the same order.
    Order,
    /// Share of documents with the same label.
    Labels,
    /// F1 of the spans, where a span counts when its ends and its label are the same.
    SpanF1,
    /// How good the first ten are that a search finds, by graded relevance.
    Ndcg10,
    /// How far up the first relevant one stands.
    Mrr10,
    /// Share of the relevant documents among the first ten…
    Recall10,
    /// …and among the first hundred.
    Recall100,
    /// Share of documents with the right label.
    Accuracy,
    /// F1 of each label against people's, and the mean of these.
    MacroF1,
    /// F1 of spans against people's.
    GoldF1,
}

impl Metric {
    pub const ALL: [Metric; 13] = [
        Metric::Cosine,
        Metric::WorstCosine,
        Metric::Top10,
        Metric::Order,
        Metric::Labels,
        Metric::SpanF1,
        Metric::Ndcg10,
        Metric::Mrr10,
        Metric::Recall10,
        Metric::Recall100,
        Metric::Accuracy,
        Metric::MacroF1,
        Metric::GoldF1,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Metric::Cosine => "cosine",
            Metric::WorstCosine => "worst-cosine",
            Metric::Top10 => "top10",
            Metric::Order => "order",
            Metric::Labels => "labels",
            Metric::SpanF1 => "span-f1",
            Metric::Ndcg10 => "ndcg10",
            Metric::Mrr10 => "mrr10",
            Metric::Recall10 => "recall10",
            Metric::Recall100 => "recall100",
            Metric::Accuracy => "accuracy",
            Metric::MacroF1 => "macro-f1",
            Metric::GoldF1 => "gold-f1",
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Metric::Cosine => "agreement with the reference: mean cosine of a document's two vectors",
            Metric::WorstCosine => "agreement: the lowest of these cosines",
            Metric::Top10 => "agreement: share of the ten nearest neighbours that is the same",
            Metric::Order => "agreement: share of a query's pairs of documents in the same order",
            Metric::Labels => "agreement: share of documents with the same label",
            Metric::SpanF1 => "agreement: F1 of spans, ends and label both the same",
            Metric::Ndcg10 => "by labels: nDCG of the first 10 documents that each query finds",
            Metric::Mrr10 => "by labels: mean of 1 / place of the first relevant document, among 10",
            Metric::Recall10 => "by labels: share of the relevant documents among the first 10",
            Metric::Recall100 => "by labels: share of the relevant documents among the first 100",
            Metric::Accuracy => "by labels: share of documents with the right label",
            Metric::MacroF1 => "by labels: mean over labels of F1",
            Metric::GoldF1 => "by labels: F1 of spans, ends and label both right",
        }
    }

    /// Whether it needs labels that people gave, and not only the reference's answers.
    pub fn needs_labels(self) -> bool {
        use Metric::*;
        matches!(self, Ndcg10 | Mrr10 | Recall10 | Recall100 | Accuracy | MacroF1 | GoldF1)
    }
}
