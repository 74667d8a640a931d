//! Progress: of trials as a bar, of add-ons as a line; silent when nobody watches.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::note;
use super::present;
use crate::addon::Tell;
use crate::record::Recording;
use crate::runner::Interrupt;
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
        let style = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {wide_msg}");
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

/// Shows how add-ons are provided: a line that changes in a terminal, and elsewhere one now and then.
pub struct Narrator {
    quiet: bool,
    interrupt: Interrupt,
    bar: ProgressBar,
    last: Cell<Option<Instant>>,
}

const TICK: Duration = Duration::from_millis(200);

/// How often a log gets a line of what is being done.
const LOGGED_EVERY: Duration = Duration::from_secs(30);

impl Narrator {
    pub fn new(quiet: bool, interrupt: &Interrupt) -> Narrator {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Narrator { quiet, interrupt: interrupt.clone(), bar, last: Cell::new(None) }
    }
}

impl Tell for Narrator {
    fn say(&self, what: &str) {
        if !self.quiet {
            self.bar.suspend(|| note(present::style().paragraph(what).trim_end()));
        }
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }

    fn is_stopped(&self) -> bool {
        self.interrupt.signal().is_some()
    }

    fn step(&self, what: &str) {
        if self.quiet {
            return;
        }
        if std::io::stderr().is_terminal() {
            if self.bar.is_finished() {
                self.bar.reset();
            }
            self.bar.set_message(what.to_owned());
            // It moves, so that nobody takes a package that compiles for minutes for the end.
            self.bar.enable_steady_tick(TICK);
        } else if self.last.get().is_none_or(|last| last.elapsed() >= LOGGED_EVERY) {
            self.last.set(Some(Instant::now()));
            note(what);
        }
    }
}
