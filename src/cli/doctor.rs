//! `autotune doctor`.

use clap::Args;

use crate::provision::{self, Finding};

#[derive(Args)]
pub struct Arguments {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let findings = provision::examine(&super::machine());
    if arguments.json {
        super::print_json(&findings)?;
        return Ok(super::exit::DONE);
    }
    let mut text = String::new();
    for Finding { what, state, remedy } in &findings {
        let mark = if remedy.is_some() { "✗" } else { "✓" };
        text.push_str(&format!("{mark} {what:<21} {state}\n"));
        if let Some(remedy) = remedy {
            text.push_str(&format!("  {:<21} {remedy}\n", "→"));
        }
    }
    super::print(&text)?;
    Ok(super::exit::DONE)
}
