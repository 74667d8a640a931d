//! How a network is lowered, and what the result wants to be given. Knows no operation.

use crate::backend::ort::onnx::{Dimension, Element};

/// What rows of the grid are a multiple of: fused attention reads a bias only in rows of so many numbers of fp32, or of half
/// as many of fp16. It costs no arithmetic.
pub const GRAIN: usize = 16;

/// What the products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Float32,
    Float16,
    /// Weights of 8 bits for each output, activations of 8 bits quantised as they come.
    Int8,
    /// Weights of 8 bits in blocks, activations floats at the operator's border.
    Int8Weights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// With the operators that only ONNX Runtime has.
    Fused,
    /// Standard ONNX.
    Plain,
    /// With ONNX Runtime's operators for NVIDIA's GPUs. Numbers keep their precision from one operator to the next, rows
    /// lie one behind the other, and nothing computes shapes: ONNX Runtime would do that on the processor.
    Cuda,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub precision: Precision,
    pub dialect: Dialect,
    /// One graph of CUDA's serves both layouts.
    pub packed: bool,
}

impl Style {
    /// What the numbers of tokens are between operators. On a processor products convert what they read and write.
    pub fn activations(self) -> Element {
        match (self.dialect, self.precision) {
            (Dialect::Cuda, Precision::Float16 | Precision::Int8Weights) => Element::Float16,
            _ => Element::Float32,
        }
    }
}

/// What the lowered network wants to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// Of each place, or of each token where the batch is packed.
    Ids,
    /// 1 for a token, 0 for padding: `[batch, sequence]` in both layouts.
    Mask,
    /// As ids.
    Types,
    /// Packed or for CUDA: the place of each row in its text.
    Positions,
    /// Packed or for CUDA: for each place of a padded batch the row that belongs there; any of them where none does.
    PaddedRows,
    /// Packed only: for each token its place in a padded batch.
    PackedRows,
    /// For CUDA: the numbers of the places of the longest text, from 0: `[1, sequence]`.
    Places,
    /// For CUDA: distances, from the longest text's length on one side to as much on the other: `[2 · sequence + 1]`.
    Around,
    /// For CUDA: for each place of a grid of runs the row that belongs there; any of them where none does: `[runs, sequence]`.
    RunRows,
    /// For CUDA: places, in a grid of runs of rows, that hold rows, and behind them those that don't: `[runs, sequence]`.
    Offsets,
    /// For CUDA: where runs begin among the rows, the end included: `[runs + 1]`.
    Starts,
    /// For CUDA: what each place counts for in the mean of its text: `[batch, 1, sequence]`.
    Shares,
    /// For CUDA: the rows of the first token of each text, and of the last: `[batch]`.
    FirstRows,
    LastRows,
    /// For CUDA: 1 for each text that has tokens, and 0 for others: `[batch, 1]`.
    Seen,
    /// The rows of the first token of each word; any of them where a text has no more: `[batch, words]`.
    WordRows,
    /// 1 for each word that has a token, and 0 for others: `[batch · words, 1]`.
    WordSeen,
    /// Words of each text, at least one: `[batch]`.
    WordCounts,
    /// The rows of the tokens that stand for labels: `[batch, labels]`.
    LabelRows,
    /// For each word the words that end spans of one word, of two, and so on; the last one where there are no more:
    /// `[words, width]`.
    SpanEnds(usize),
}

impl Input {
    /// Stock exports call the first three so.
    pub fn name(self) -> &'static str {
        match self {
            Input::Ids => "input_ids",
            Input::Mask => "attention_mask",
            Input::Types => "token_type_ids",
            Input::Positions => "position_ids",
            Input::PaddedRows => "padded_rows",
            Input::PackedRows => "packed_rows",
            Input::Places => "places",
            Input::Around => "around",
            Input::RunRows => "run_rows",
            Input::Offsets => "offsets",
            Input::Starts => "starts",
            Input::Shares => "shares",
            Input::FirstRows => "first_rows",
            Input::LastRows => "last_rows",
            Input::Seen => "seen",
            Input::WordRows => "word_rows",
            Input::WordSeen => "word_seen",
            Input::WordCounts => "word_counts",
            Input::LabelRows => "label_rows",
            Input::SpanEnds(_) => "span_ends",
        }
    }

    pub fn element(self) -> Element {
        match self {
            // The operator takes nothing else.
            Input::Offsets | Input::Starts | Input::WordCounts => Element::Int32,
            Input::Shares | Input::Seen | Input::WordSeen => Element::Float32,
            _ => Element::Int64,
        }
    }

    /// Whether there is one for each token, and not for each place of a padded batch.
    pub fn is_packed(self, packed: bool) -> bool {
        use Input::{LabelRows, Mask, PaddedRows, SpanEnds, WordCounts, WordRows, WordSeen};
        let by_text = matches!(self, WordRows | WordSeen | WordCounts | LabelRows | SpanEnds(_));
        packed && !by_text && !matches!(self, Mask | PaddedRows)
    }

    /// What it measures.
    pub fn shape(self, packed: bool) -> Vec<Dimension> {
        let named = Dimension::Named;
        match self {
            Input::Places => vec![Dimension::Fixed(1), named("sequence")],
            Input::Around => vec![named("distances")],
            Input::Offsets | Input::RunRows => vec![named("runs"), named("sequence")],
            Input::Starts => vec![named("starts")],
            Input::Shares => vec![named("batch"), Dimension::Fixed(1), named("sequence")],
            Input::FirstRows | Input::LastRows | Input::WordCounts => vec![named("batch")],
            Input::WordRows => vec![named("batch"), named("words")],
            Input::WordSeen => vec![named("words of all"), Dimension::Fixed(1)],
            Input::LabelRows => vec![named("batch"), named("labels")],
            Input::SpanEnds(width) => vec![named("words"), Dimension::Fixed(width)],
            Input::Seen => vec![named("batch"), Dimension::Fixed(1)],
            _ if self.is_packed(packed) => vec![named("tokens")],
            _ => vec![named("batch"), named("sequence")],
        }
    }
}
