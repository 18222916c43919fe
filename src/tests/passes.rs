//! What each pass promises.
