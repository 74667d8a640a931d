//! How a network is lowered, and what the result wants to be given. Knows no operation.

/// What the products are computed in. Everything else is fp32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    Float32,
    Float16,
    /// Weights of 8 bits for each output, activations of 8 bits quantised as they come.
    Int8,
    /// Weights of 8 bits in blocks, activations fp32 at the operator's border.
    Int8Weights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// With the operators that only ONNX Runtime has.
    Fused,
    /// Standard ONNX.
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub precision: Precision,
    pub dialect: Dialect,
    pub packed: bool,
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
    /// Packed only: the place of each token in its text.
    Positions,
    /// Packed only: for each place of a padded batch the token that belongs there; any of them where none does.
    PaddedRows,
    /// Packed only: for each token its place in a padded batch.
    PackedRows,
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
        }
    }

    /// Whether there is one for each token, and not for each place of a padded batch.
    pub fn is_packed(self, packed: bool) -> bool {
        packed && !matches!(self, Input::Mask | Input::PaddedRows)
    }
}
