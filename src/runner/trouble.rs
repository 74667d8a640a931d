//! Why a trial didn't come to its end.

use crate::record::Failure;

/// Why a trial is given up, as if it had never begun.
#[derive(Debug)]
pub enum Stopped {
    /// Somebody asked us to stop.
    Interrupted,
    /// A load that worked before works no more: what has changed is the machine, and every trial from here on would
    /// blame its candidate for it.
    LoadBroke(Failure),
}

/// How a request ended without an event.
pub enum Trouble {
    Failure(Failure),
    /// The trial is given up. The worker is gone.
    Stopped(Stopped),
}
