//! Differential privacy: everything a guarantee rests on, and nothing else.
//!
//! The module knows nothing of graphs, kernels or models, so that it can be audited alone. Each part
//! guarantees one thing:
//!
//! | module | guarantees |
//! |---|---|
//! | [`plan`] | one validated, immutable object holds every number that sampling, noise, division, accounting and the certificate use |
//! | [`keys`] | the randomness of a run comes from the operating system, and sampling and noise never share any of it |
//! | [`adjacency`], [`sampling`], [`schedule`] | the plan's vocabulary: what neighbours and units are, how batches are drawn, how numbers change |
//! | [`release`] | the parts of a step together cost what the step is charged |
//! | [`sampler`] | batches are drawn as the plan says, a unit never with a higher probability |
//! | [`clipping`] | what a clip factor is, for finite and non-finite gradients, and which bounds a step has |
//! | [`grid`] | integer sums cannot overflow, and what rounding to them adds to the sensitivity is known |
//! | [`discrete`] | integer noise is drawn from the discrete Gaussian exactly, and costs what the accountant charges |
//! | [`scales`] | integer noise is as large as the multiplier says, in the units of what it is added to |
//! | [`grid_noise`] | fresh integer noise for every step, parameter and element |
//! | [`correlation`] | integer noise that cancels in part over the steps, and costs what the accountant charges |
//! | [`noise`] | fresh `N(0, 1)` noise for every step, parameter and element, scaled once |
//! | [`accountant`] | an upper bound on ε for the steps taken, or an error |
//! | [`calibrate`] | a noise multiplier, a number of steps or a sample rate whose ε does not exceed the target |
//! | [`trials`] | the number of trials is drawn as the accountant charges, and without looking at the data |
//! | [`tuning`] | noise with which the choice of the best trial does not exceed the target |
//! | [`ledger`] | every step that could have been observed is on disk before it can be |
//! | [`shared`] | the ranks of a run have one key and one ledger, which rank 0 draws and writes |
//! | [`certificate`] | the claim, what it covers, and how to check it from the ledger |
//!
//! The only places where a run
//! - **samples** is [`sampler::Sampler::sample`];
//! - **clips** is the clip-factor kernel of the compiled program, which agrees with
//!   [`clipping::ClipFunction::factor`];
//! - **adds noise** is [`grid_noise::GridNoise::take`] to integer sums, or [`noise::NoiseSource::take`] to those of floats, once
//!   for each logical step, after the sums of all ranks are one;
//! - **divides** is by [`plan::PrivacyPlan::divisor`], a constant;
//! - **accounts** is [`ledger::Ledger::record`], and then an [`accountant::Accountant`] over
//!   [`ledger::Contents::history`]; for a choice among trials [`ledger::Ledger::select`], and then [`accountant::Selection::epsilon`].

pub mod accountant;
pub mod adjacency;
mod ahead;
pub mod calibrate;
pub mod certificate;
pub mod clipping;
pub mod correlation;
pub mod discrete;
pub mod grid;
pub mod grid_noise;
pub mod keys;
pub mod ledger;
pub mod noise;
mod normal;
mod pieces;
pub mod plan;
pub mod release;
pub mod request;
pub mod sampler;
pub mod sampling;
pub mod scales;
pub mod schedule;
pub mod shared;
pub mod trials;
pub mod tuning;

pub use clipping::ClipRule;
