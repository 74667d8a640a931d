//! Laps of one batch on one clock.

use std::time::Duration;

use crate::backend::Clock;

pub struct Lap<'a> {
    clock: &'a dyn Clock,
    pub start: Duration,
    last: Duration,
}

impl<'a> Lap<'a> {
    pub fn start(clock: &'a dyn Clock) -> Self {
        let now = clock.now();
        Lap { clock, start: now, last: now }
    }

    pub fn next(&mut self) -> f64 {
        let now = self.clock.now();
        let lap = now - self.last;
        self.last = now;
        lap.as_secs_f64()
    }

    pub fn total(&self) -> f64 {
        (self.last - self.start).as_secs_f64()
    }
}
