//! `autotune doctor`.

use clap::Args;

use super::present;
use crate::hardware::Machine;
use crate::provision::{self, Finding};

#[derive(Args)]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let findings = provision::examine(&Machine::here());
    if arguments.json {
        super::output::print_json(&findings)?;
        return Ok(super::exit::DONE);
    }
    let mut text = String::new();
    for Finding { what, ok, state, remedy } in &findings {
        let mark = if *ok { "✓" } else { "✗" };
        text.push_str(&present::entry(&format!("{mark} {what}"), state));
        if let Some(remedy) = remedy {
            text.push_str(&present::entry("  →", remedy));
        }
    }
    super::output::print(&text)?;
    Ok(super::exit::DONE)
}
