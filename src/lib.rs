//! dpc
