//! Whole-system tests: the real host, real Postgres, hostile guests, faults.
