//! The behaviour of the program as a user sees it. One crate, so that it links once.

mod circles;
mod command_line;
mod corpora;
mod documents;
mod drivers;
mod faults;
mod hostile;
mod interrupt;
mod kills;
mod layers;
mod memory;
mod mishaps;
mod monitor;
mod mutations;
mod networks;
mod older;
mod optimum;
mod predictions;
mod real_engines;
mod resume;
mod shipped;
mod simulated_card;
mod support;
mod targets;
mod telemetry;
mod workers;
