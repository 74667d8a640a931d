//! The worker as a program of its own, linked with CUDA: what `autotune` starts for candle on NVIDIA's GPUs.

use std::io::Write;

use autotune_worker::backend::candle::Receipt;
use autotune_worker::worker;

fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("worker") => worker::serve(std::io::stdin().lock(), worker::claim_stdout()?),
        Some("--version") => Ok(writeln!(std::io::stdout(), "{}", Receipt::own())?),
        _ => anyhow::bail!(
            "`autotune` starts this program: `autotune-cuda-worker worker` implements docs/PROTOCOL.md, --version \
             prints what it was built from"
        ),
    }
}
