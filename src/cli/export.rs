//! `autotune export RUN`.

use std::path::PathBuf;

use clap::Args;

use super::exit;
use super::output::{note, print};
use crate::export::export;
use crate::store::Run;

#[derive(Args)]
pub struct Arguments {
    /// The folder of a run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The output folder [default: RUN/export]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write an ONNX file in this precision, whichever candidate won: fp32, fp16, int8 or int8-weights
    #[arg(long, value_name = "DTYPE")]
    onnx: Option<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let run = Run::read(&arguments.run)?;
    let folder = arguments.out.clone().unwrap_or_else(|| arguments.run.join("export"));
    let exported = export(&run, &folder, arguments.onnx.as_deref(), &|what| note(what))?;
    for stage in &exported {
        match &stage.written {
            Some(written) => print(&format!("{}  {}\n", stage.stage, written.display()))?,
            None => note(&format!("{}: no candidate can win, so there is nothing to export", stage.stage)),
        }
    }
    let complete = exported.iter().all(|stage| stage.written.is_some());
    Ok(if complete { exit::DONE } else { exit::NO_CANDIDATE })
}
