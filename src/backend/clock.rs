//! Where time comes from.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A clock that never goes back.
pub trait Clock {
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock, counted from its first use.
pub struct Monotonic;

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that moves only when told: simulated seconds pass in microseconds, and exactly.
#[derive(Clone, Default)]
pub struct VirtualClock(Rc<Cell<Duration>>);

impl VirtualClock {
    pub fn advance(&self, by: Duration) {
        self.0.set(self.0.get() + by);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        self.0.get()
    }
}
