//! candle's blocks.

/// Numbers of 8 bits that share a scale.
pub const BLOCK: usize = 32;

/// Bytes of a block as candle keeps it: a scale in half precision, then the numbers.
pub const BLOCK_BYTES: usize = 2 + BLOCK;
