//! `autotune setup [NAME…]`: provides add-ons ahead of time, or shows what there are.

use clap::Args;

use super::exit::{self, BadUsage};
use super::output::note;
use super::present;
use super::progress::Narrator;
use crate::addon::cuda::CudaWorker;
use crate::addon::{self, AddOn, Missing, Setup};
use crate::hardware::{Machine, Target};
use crate::runner::Interrupt;
use crate::units::did_you_mean;

#[derive(Args)]
pub struct Arguments {
    /// The add-ons to set up; without a name, all add-ons are listed
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The GPU to set it up for: auto, cuda:1, or a card's name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    gpu: String,
    /// Build the CUDA worker for this compute capability, such as 8.6, on a machine without such a card
    #[arg(long, value_name = "X.Y")]
    capability: Option<String>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let machine = Machine::here();
    let target = Target::resolve(&arguments.gpu, &machine)?;
    let mut addons = addon::all(&machine, &target);
    if let Some(capability) = &arguments.capability {
        let worker = CudaWorker::for_capability(&machine, capability);
        let wrong =
            || BadUsage(format!("--capability {capability}: it must be from 7.5 to 12.1, such as 8.6"));
        let worker: Box<dyn AddOn> = Box::new(worker.ok_or_else(wrong)?);
        addons.retain(|addon| addon.name() != worker.name());
        addons.insert(0, worker);
    }
    if arguments.names.is_empty() {
        super::output::print(&addons.iter().map(|addon| lines(&**addon)).collect::<String>())?;
        return Ok(exit::DONE);
    }
    let wanted: Result<Vec<&dyn AddOn>, BadUsage> = arguments
        .names
        .iter()
        .map(|name| {
            addons
                .iter()
                .map(|addon| &**addon)
                .find(|addon| addon.name() == name)
                .ok_or_else(|| unknown(name, &machine, &target))
        })
        .collect();
    let interrupt = Interrupt::listen()?;
    let narrator = Narrator::new(arguments.quiet, &interrupt);
    let setup = Setup { allowed: true, named: true, tell: &narrator };
    let mut lacking = Vec::new();
    for addon in wanted? {
        let provided = addon::ensure(addon, setup);
        setup.tell.done();
        match provided {
            Ok(receipt) => {
                super::output::print(&format!(
                    "{}: {}, {}\n",
                    addon.name(),
                    receipt.version,
                    receipt.path.display()
                ))?;
            }
            Err(missing) => {
                note(present::entry(addon.name(), &missing.why).trim_end());
                note(present::entry("  →", &missing.remedy).trim_end());
                lacking.push(addon.name());
            }
        }
    }
    if lacking.is_empty() {
        return Ok(exit::DONE);
    }
    anyhow::bail!("not set up: {}", lacking.join(", "))
}

fn unknown(name: &str, machine: &Machine, target: &Target) -> BadUsage {
    let names: Vec<&str> = addon::all(machine, target).iter().map(|addon| addon.name()).collect();
    let hint = did_you_mean(name, names.iter().copied());
    BadUsage(format!("unknown add-on {name:?}; available: {}{hint}", names.join(", ")))
}

/// An add-on, and whether it's here.
fn lines(addon: &dyn AddOn) -> String {
    let heading = present::entry(addon.name(), addon.title());
    let missing = |missing: Missing| {
        present::entry("", &format!("✗ {}", missing.why)) + &present::entry("  →", &missing.remedy)
    };
    heading
        + &match (addon.obstacle(), addon.here()) {
            (Some(obstacle), _) => missing(obstacle),
            (None, Ok(receipt)) => present::entry("", &format!("✓ {}, {}", receipt.version, receipt.origin)),
            (None, Err(absent)) => match addon.lacks() {
                Some(lacking) => missing(lacking),
                None => {
                    let why = format!("{}; takes {}", absent.why, addon.takes());
                    missing(Missing { why, ..absent })
                }
            },
        }
}
