//! The statistics behind the audit, each with its source.

pub mod binomial;
pub mod chi_square;
pub mod gaussian;
pub mod moments;
pub mod normality;
pub mod one_run;

/// Where `holds` begins to between two numbers, from above.
fn bisect([mut low, mut high]: [f64; 2], holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        match holds(middle) {
            true => high = middle,
            false => low = middle,
        }
    }
    high
}
