//! What can happen, one struct each; one file per path.
