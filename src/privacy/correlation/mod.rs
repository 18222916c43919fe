//! Correlated noise: matrix factorisation, whose noise cancels in part over the steps, in integers and with proof.
//!
//! # Mechanism
//! Let `X` have a row for each of n steps: the clipped sum `x_t` of the units of step t, integers of the grid
//! ([`super::grid`]). With independent noise the sum of all gradients up to step t, which is what the parameters
//! follow, has the noise of t + 1 steps. Here steps are released as `x_t + n_t`, where the n of successive steps are
//! correlated: what a step adds for noise, later ones partly take away. K is a lower-triangular integer matrix, the
//! *strategy*, and the fresh `z_t` are independent values of the discrete Gaussian `N_Z(0, s²)`:
//!
//! | `--noise-correlation` | K | n |
//! |---|---|---|
//! | `banded:B` | Toeplitz, of B bands `k_0, …, k_(B-1)` | `n_t = ⌊(z_t - Σ_(j=1..B-1) k_j n_(t-j))/k_0 + 1/2⌋`: `K⁻¹ z`, rounded (DP-BandMF: Choquette-Choo et al. 2023, <https://arxiv.org/abs/2306.08153>, Algorithm 9) |
//! | `tree` | a row for each sum that a prefix of a cycle is put together of in binary: steps `t+1-2^l` to t, where `2^l` is the largest power of two that divides t + 1 counted in the cycle | `n_t = z_t - Σ_(i<l) z` of the last rows of lower levels i (DP-FTRL: Kairouz et al. 2021, <https://arxiv.org/abs/2103.00039>, with a tree for each cycle, and without Honaker's estimator) |
//!
//! K has as many columns as steps. It is stated in the plan and the certificate, in integers: c of [`strategy`] times
//! [`strategy::UNIT`], rounded, which costs a share of at most 10⁻³ of the squared error for up to 100 bands; the noise
//! is calibrated for the rounded matrix.
//!
//! # Theorem 1: integers
//! *What is released is a function of `K X + Z`.* Banded: with `m_t = Σ_j k_j x_(t-j) + z_t` and `y_t = x_t + n_t`,
//! `m_t - Σ_(j≥1) k_j y_(t-j) = k_0 x_t + z_t - Σ_(j≥1) k_j n_(t-j)`. Its quotient by `k_0`, rounded by `⌊· + 1/2⌋`, is
//! `x_t + n_t = y_t`, since `x_t` is an integer and passes through the rounding. So y follows from m by a recurrence
//! that sees nothing else, for any x and z and whatever the rounding. Tree: `m_t` is a sum of X over rows plus `z_t`; a
//! prefix sum of y is the sum of the m that it is put together of. ∎
//!
//! By post-processing, privacy is that of `K X + Z`: integers of known sensitivity plus values of the discrete
//! Gaussian, to which the theorem of [`super::discrete::accounting`] applies row by row, each of d elements. Rounding
//! `K⁻¹ z` leaves nothing in low bits, and no real number is ever released. Sums and noise of floats (`--noise float`)
//! have no such proof, and are refused.
//!
//! # Participation
//! Sampling is cyclic ([`super::sampling::Sampling::Cyclic`]): each unit is put into one of p *parts* at random,
//! uniformly and independently of all others, once for the whole run; step t draws units of part t mod p, each
//! independently with probability q. So a unit takes part at most every p steps (*min-sep* participation, ibid.), and
//! at most `k = ⌈n/p⌉` times. p is at least B.
//!
//! # Theorem 2: sensitivity
//! *A unit that takes part at steps `i_1 < … < i_k`, at least B apart, moves `K X` by at most `√(Σ_j ‖K e_(i_j)‖²)`
//! times its bound Δ, so by at most `√k κ Δ` with the largest norm κ of a column.* Column i of a banded K is 0 outside
//! of rows i to i + B - 1, and such of a tree outside of the rest of its cycle: the columns of one unit have no row in
//! common, and squares add up (ibid., section 3). ∎ So s is σκΔ for the noise multiplier σ ([`super::scales`]), in the
//! grid of each clip group: σ is the noise of `K X + Z` over what *one participation* moves it by. `κ² = Σ_j k_j²` for
//! banded matrices; a leaf is in at most `⌊log₂ p⌋ + 1` of the sums of a tree.
//!
//! # Theorem 3: accounting
//! *The release of n steps costs no more than k steps of DP-SGD with noise multiplier σ and Poisson sampling at rate
//! q.* Fix all parts, and a unit u in part r. The rows that hold anything of what u adds at step i are i to i + B - 1,
//! or to the end of the cycle, and no other participation of u has part in them. Given what was released before step i,
//! `x_i` has u's gradient with probability q, and then rows i, i + 1, … of `K X` move by `k_0 g, k_1 g, …`, for one g
//! with `‖g‖ ≤ Δ` that is fixed at step i, and all else in these rows follows from what was released and from the draws
//! of other units. Those rows are one subsampled Gaussian mechanism of sensitivity at most κΔ. There are at most k, one
//! after the other, and adaptive composition bounds them, as it does DP-SGD (ibid., Theorem 4; that rows of `K X`
//! depend on earlier releases is no loss: Denisov et al. 2022, <https://arxiv.org/abs/2202.08312>, Theorem 2.1). The
//! guarantee for each assignment of parts is one for their mixture, as the assignment does not depend on the data. ∎
//!
//! With q = 1, when the batch is the whole part (`--sampling cyclic`), this is the Gaussian mechanism of sensitivity
//! `√k κ Δ` exactly, without amplification; with p = B and small q, amplified DP-BandMF. What is charged is in
//! [`participation`]; a run that was interrupted pays for the rows that it released twice, whose participations may
//! overlap in time (concurrent composition costs no more: Vadhan and Zhang 2023, <https://arxiv.org/abs/2207.08335>).
//!
//! # Adjacency
//! A neighbour has one unit more or less (*add-remove*), or one replaced by another that takes its part and its turns
//! (*replace-one*, at twice the distance, as the accountants know). All other units keep their parts, since each has
//! its own independent of their number; sizes of parts are binomial and never released. Parts of equal size, as other
//! implementations make them, would move a unit of another part for each one that is removed, and allow only zeroing
//! one out. Which unit is in which part is kept secret by the run: a list of parts by position would say where a unit
//! was removed.
//!
//! # State
//! [`stream::NoiseStream`] keeps the integers of the last B - 1 steps, or one for each level of the tree, on the host:
//! B - 1 times the parameters, of 8 bytes. Whoever has them and what was released has the sums without noise, so that a
//! run writes them to a file of its own that nobody else may read, beside each checkpoint, and removes them with it; a
//! finished run leaves none.
//!
//! | module | does |
//! |---|---|
//! | [`strategy`] | which K, how far it moves a unit, and how noisy prefix sums are |
//! | `toeplitz` | finds the coefficients with the least squared error of prefix sums |
//! | [`stream`] | makes n of z |
//! | [`participation`] | what steps are to an accountant |

pub mod participation;
pub mod strategy;
pub mod stream;
mod toeplitz;

#[cfg(test)]
mod tests;

pub use strategy::{Correlation, Strategy};
pub use stream::{NoiseStream, StreamError, StreamState};
