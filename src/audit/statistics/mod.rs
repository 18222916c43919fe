//! The statistics behind the audit, each with its source.

pub mod binomial;
pub mod gaussian;
pub mod moments;
pub mod normality;
pub mod one_run;
