//! What was found out of a candidate: one type for each stage of a number's life, before anybody has judged it.
//!
//! A trial's [`Outcome`] is measured, predicted or failed; with what stands beside it, it's a [`Recording`], which is what the
//! journal keeps and everybody later reads. What a model takes from round to round is a [`Footprint`]. Knows nobody who
//! measures, keeps or judges.

mod failure;
mod footprint;
mod judged;
mod origin;
mod outcome;
mod predicted;
mod recording;

pub use failure::{Failure, Status};
pub use footprint::{Footprint, Levels, Round};
pub use judged::Judged;
pub use origin::Origin;
pub use outcome::{Failed, Outcome};
pub use predicted::{Between, Predicted, PredictedBytes};
pub use recording::{Recording, SetAside};
