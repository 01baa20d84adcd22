//! Points at which tests make a host fail, or switch one of its guards off to see that it is needed.
//!
//! Without the feature `failpoints` there is nothing of them in the program. Does not know who switches what on: that is the
//! program of the whole-system tests, which alone is built with the feature.

/// What the macro needs, whoever calls it.
#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub use fail::eval;

/// A named step: `fail_point!("commit-before-fence")` is where a test can kill or stop the host, or hold it up.
///
/// A guard: `fail_point!("fence-off", Ok(outcomes))` leaves the function with that value when a test has switched the guard
/// off.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        // What it is told to return is nothing that a step could use.
        let _: Option<()> = $crate::fail_point::eval($name, |_| ());
    };
    ($name:literal, $value:expr) => {
        if let Some(value) = $crate::fail_point::eval($name, |_| $value) {
            return value;
        }
    };
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {};
    ($name:literal, $value:expr) => {};
}
