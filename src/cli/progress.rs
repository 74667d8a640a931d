//! Progress bars, silent when nobody watches.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::runner::Recording;
use crate::tune::Progress;
use crate::units::print_duration;

/// One line: the stage, a bar, what is being run, and how long the rest will take.
pub struct Bars {
    bar: ProgressBar,
    stage: String,
    done: u64,
    spent: Duration,
    last: Instant,
}

impl Bars {
    pub fn new(quiet: bool) -> Self {
        // indicatif draws to stderr, and draws nothing where that isn't a terminal.
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Bars { bar, stage: String::new(), done: 0, spent: Duration::ZERO, last: Instant::now() }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Time that the trials still to come will take, if they take as long as those so far.
    fn remains(&self) -> String {
        let left = self.bar.length().unwrap_or(0).saturating_sub(self.done);
        match u32::try_from(self.done) {
            Ok(done @ 1..) => {
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                format!("about {} left · ", print_duration((self.spent / done).saturating_mul(left)))
            }
            _ => String::new(),
        }
    }
}

impl Progress for Bars {
    fn expect(&mut self, stage: &str, left: usize) {
        if self.stage != stage {
            self.stage = stage.to_owned();
            self.done = 0;
            self.spent = Duration::ZERO;
            self.bar.set_position(0);
            self.bar.set_prefix(stage.to_owned());
        }
        self.bar.set_length(self.done + left as u64);
    }

    fn began(&mut self, what: &str) {
        self.last = Instant::now();
        self.bar.set_message(format!("{}{what}", self.remains()));
    }

    fn recorded(&mut self, _: &Recording) {
        self.done += 1;
        self.spent += self.last.elapsed();
        self.bar.set_position(self.done);
    }
}
