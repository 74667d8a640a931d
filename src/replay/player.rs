//! What plays.

use crate::search::Tried;

/// Chooses what to try next, given what was tried.
pub trait Player {
    fn choose(&mut self, tried: &[Tried]) -> Option<usize>;
}
