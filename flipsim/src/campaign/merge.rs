//! Joining parts.
