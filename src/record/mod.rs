//! What was found out of a candidate: one type for each stage of a number's life, before anybody has judged it.
//!
//! A trial's [`Outcome`] is measured, predicted or failed; with what stands beside it, it's a [`Recording`], which is what the
//! journal keeps and everybody later reads. What a model takes from round to round is a [`Footprint`]. Why a candidate was tried
//! or left is a decision. Knows nobody who measures, keeps or judges.

mod confirmation;
mod decision;
mod failure;
mod footprint;
mod judged;
mod origin;
mod outcome;
mod part;
mod predicted;
mod recording;
mod service;
mod told;

pub use confirmation::{Checks, Confirmation, Finalists, MOST_CONFIRMING_ROUNDS, Variation, WorstBatch};
pub use decision::{Leaving, Stop, Why};
pub use failure::{Failure, Status};
pub use footprint::{Footprint, Levels, Round};
pub use judged::Judged;
pub use origin::Origin;
pub use outcome::{Failed, Outcome};
pub use part::Part;
pub use predicted::{Between, Predicted, PredictedBytes};
pub use recording::{Recording, SetAside};
pub use service::{Asked, Scenario, ScenarioKind, Search, Served};
pub use told::{Prior, Told};
