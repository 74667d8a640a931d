//! The machine that the program runs on.

use crate::hardware::Machine;

/// This machine, whose driver another process of this program asks.
pub fn here() -> Machine {
    Machine::detect(std::env::current_exe().ok().as_deref())
}
