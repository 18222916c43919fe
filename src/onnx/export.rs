//! Trained values, written back into the model that they came from.
