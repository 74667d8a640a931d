//! The kernels by their names, and which of them are called.

use super::quantised::BLOCK;

/// What is called for an operation: a pass over its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    Embedding,
    Product,
    /// Activations in 8 bits, as a product wants them.
    Quantisation,
    EightVnni,
    EightAvx2,
    /// candle's own product of 8 bits, and what brings numbers to it and back.
    EightRows,
    PaddedCopy,
    Halving,
    HalfProduct,
    Widening,
    CopyOut,
    CopyIn,
    Gate,
    Sum,
    Norm,
    Attention,
    Pooling,
    Length,
    Picking,
    Recurrence,
    Spans,
}

impl Kernel {
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Embedding => "embedding",
            Kernel::Product => "product fp32",
            Kernel::Quantisation => "quantisation of activations",
            Kernel::EightVnni => "product int8 by VNNI",
            Kernel::EightAvx2 => "product int8 by AVX2",
            Kernel::EightRows => "product int8 by candle",
            Kernel::PaddedCopy => "copy to whole blocks",
            Kernel::Halving => "conversion to fp16",
            Kernel::HalfProduct => "product fp16 by candle",
            Kernel::Widening => "conversion to fp32",
            Kernel::CopyOut => "copy out of candle",
            Kernel::CopyIn => "copy of a product",
            Kernel::Gate => "gate",
            Kernel::Sum => "sum",
            Kernel::Norm => "norm",
            Kernel::Attention => "attention",
            Kernel::Pooling => "pooling",
            Kernel::Length => "rows of length one",
            Kernel::Picking => "rows picked",
            Kernel::Recurrence => "words read in both directions",
            Kernel::Spans => "scores of spans",
        }
    }

    /// Whether it asks for memory at each call, for what it makes doesn't go to a slot.
    pub fn allocates(self) -> bool {
        matches!(
            self,
            Kernel::Quantisation
                | Kernel::EightRows
                | Kernel::PaddedCopy
                | Kernel::Halving
                | Kernel::HalfProduct
                | Kernel::Widening
                | Kernel::CopyOut
                | Kernel::Recurrence
                | Kernel::Spans
        )
    }

    /// Bytes that it writes for each row of a product with these columns, if all that it does is to copy or to convert.
    /// Quantising isn't that: it looks for scales.
    pub fn copied_for_row(self, input_columns: usize, output_columns: usize) -> Option<usize> {
        match self {
            Kernel::Halving => Some(size_of::<half::f16>() * input_columns),
            Kernel::PaddedCopy => Some(size_of::<f32>() * input_columns.next_multiple_of(BLOCK)),
            Kernel::Widening | Kernel::CopyOut | Kernel::CopyIn => Some(size_of::<f32>() * output_columns),
            _ => None,
        }
    }
}

/// Notes a call, in tests: what is planned must be what is called. Elsewhere it's nothing.
#[cfg(not(test))]
#[inline(always)]
pub fn called(_: Kernel) {}

#[cfg(test)]
pub use noted::called;

#[cfg(test)]
pub mod noted {
    use std::cell::RefCell;

    use indexmap::IndexMap;

    use super::Kernel;

    thread_local! {
        static CALLED: RefCell<IndexMap<&'static str, u64>> = RefCell::default();
    }

    pub fn called(kernel: Kernel) {
        CALLED.with_borrow_mut(|called| *called.entry(kernel.name()).or_default() += 1);
    }

    /// What this thread has called since it was last asked.
    pub fn take() -> IndexMap<&'static str, u64> {
        CALLED.take()
    }
}
