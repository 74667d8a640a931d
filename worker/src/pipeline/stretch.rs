//! Where a pass is cut, so that two programs can be measured on a little of it in turn.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// One share of the way through the corpus, of so many that are equal but for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[u32; 2]", into = "[u32; 2]")]
pub struct Stretch {
    index: u32,
    of: u32,
}

impl Stretch {
    pub const WHOLE: Stretch = Stretch { index: 0, of: 1 };

    /// The stretches that a way is cut into.
    pub fn all(of: u32) -> impl Iterator<Item = Stretch> {
        (0..of.max(1)).map(move |index| Stretch { index, of: of.max(1) })
    }

    pub fn index(self) -> u32 {
        self.index
    }

    pub fn is_whole(&self) -> bool {
        self.of == 1
    }

    /// Which of so many documents, in the order in which they go into batches of this size, are in it.
    pub fn range(self, documents: usize, batch_size: usize) -> Range<usize> {
        let batches = documents.div_ceil(batch_size.max(1)) as u64;
        let begins = |index: u32| {
            let batch = u64::from(index) * batches / u64::from(self.of);
            (batch as usize).saturating_mul(batch_size.max(1)).min(documents)
        };
        begins(self.index)..begins(self.index + 1)
    }
}

impl Default for Stretch {
    fn default() -> Self {
        Stretch::WHOLE
    }
}

impl TryFrom<[u32; 2]> for Stretch {
    type Error = String;

    fn try_from([index, of]: [u32; 2]) -> Result<Stretch, String> {
        if index < of {
            Ok(Stretch { index, of })
        } else {
            Err(format!("there is no stretch {index} of {of}"))
        }
    }
}

impl From<Stretch> for [u32; 2] {
    fn from(stretch: Stretch) -> Self {
        [stretch.index, stretch.of]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_whole_batches_and_together_the_whole() {
        let ranges = |documents, batch_size, of| {
            Stretch::all(of).map(|stretch| stretch.range(documents, batch_size)).collect::<Vec<_>>()
        };
        assert_eq!(ranges(10, 4, 2), [0..4, 4..10]);
        assert_eq!(ranges(10, 4, 3), [0..4, 4..8, 8..10]);
        assert_eq!(Stretch::WHOLE.range(10, 1000), 0..10);
        assert_eq!(ranges(7, 0, 7).len(), 7);
        // Of more stretches than batches some have nothing in them.
        assert_eq!(ranges(2, 1, 4), [0..0, 0..1, 1..1, 1..2]);
    }

    #[test]
    fn a_part_that_cant_be_is_none() {
        assert_eq!(serde_json::from_str::<Stretch>("[1,3]").unwrap(), Stretch { index: 1, of: 3 });
        let error = serde_json::from_str::<Stretch>("[3,3]").unwrap_err();
        assert!(error.to_string().starts_with("there is no stretch 3 of 3"), "{error}");
        assert_eq!(serde_json::to_string(&Stretch { index: 1, of: 3 }).unwrap(), "[1,3]");
    }
}
