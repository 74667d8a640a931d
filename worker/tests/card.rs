//! Networks on an NVIDIA card, real or simulated (tests/simulator/README.md), in this very process: what the program's own
//! tests show of the processor. `AUTOTUNE_TEST_DEVICE` names the card.

// The tests are the program's own, which has this package under its own name.
extern crate autotune_worker as autotune;

#[path = "../../tests/behaviour/networks.rs"]
mod networks;
mod support;
