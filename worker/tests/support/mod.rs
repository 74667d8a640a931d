//! candle on the card, in the place of all engines that the program has.

#[path = "../../../tests/behaviour/support/engine.rs"]
mod engine;

pub mod engines {
    use std::path::PathBuf;

    pub use super::engine::*;
    use autotune::backend::candle;

    /// candle on the device that `AUTOTUNE_TEST_DEVICE` names; nothing without one.
    pub fn all() -> Vec<Engine> {
        match device() {
            autotune::backend::Device::Processor => {
                eprintln!("left out: no AUTOTUNE_TEST_DEVICE");
                Vec::new()
            }
            device => vec![Engine { name: candle::NAME, device, settings: serde_json::Value::Null }],
        }
    }

    /// The folder of the real MiniLM, if `AUTOTUNE_MINILM` names it.
    pub fn minilm() -> Option<PathBuf> {
        std::env::var_os("AUTOTUNE_MINILM").map(PathBuf::from)
    }
}
