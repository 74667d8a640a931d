//! Where models are to run.

use crate::addon::Setup;
use crate::hardware::{Machine, Provenance, Target, TargetError};
use crate::knob::Candidate;
use crate::provision;
use crate::record::{Failure, Status};
use crate::runner::Supplies;

/// A device, as far as it's here.
pub struct Place {
    /// As it was asked for, or where that is.
    pub device: String,
    /// Or why nothing can run there.
    pub target: Result<Target, Failure>,
    /// What built-in backends need there.
    pub supplies: Supplies,
}

impl Place {
    /// A name that means nothing is a slip and ends it all; what isn't here is a row with that reason.
    pub fn find(
        wanted: &str,
        machine: &Machine,
        candidates: &[&Candidate],
        setup: Setup,
    ) -> anyhow::Result<Place> {
        let absent = |why: String| {
            let target = Err(Failure::new(Status::NotAvailable, why));
            Ok(Place { device: wanted.to_owned(), target, supplies: Supplies::default() })
        };
        match Target::resolve(wanted, machine) {
            Ok(target) if target.provenance == Provenance::Predicted => absent(target.description),
            Err(TargetError::NoSuchDevice { device, here }) => {
                absent(format!("{device} is not in this machine ({here})"))
            }
            Err(error) => Err(error.into()),
            Ok(target) => {
                let engines = provision::engines(candidates, machine, &target, setup);
                setup.tell.done();
                let supplies = Supplies { program: std::env::current_exe()?, engines, ..Supplies::default() };
                let device = target.device.clone().unwrap_or_else(|| target.name.clone());
                Ok(Place { device, target: Ok(target), supplies })
            }
        }
    }
}
