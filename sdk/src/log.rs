//! Messages into the run's log.
//!
//! ```
//! use trellis_sdk::log;
//!
//! let orders = 3;
//! log::info!("{orders} orders");
//! ```
//!
//! The host bounds what one call may log, and stores it with the run. Never log a secret.

use std::fmt;

use crate::host;

/// How much a message matters.
///
/// ```
/// use trellis_sdk::log::Level;
///
/// assert!(Level::Debug < Level::Error);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What happened.
    Info,
    /// What somebody should look at some day.
    Warn,
    /// What went wrong.
    Error,
    /// What somebody must look at now.
    Critical,
}

/// Logs a message; `context` groups messages and may be empty. The macros of this module pass the module's path.
///
/// ```
/// use trellis_sdk::{fake, log};
///
/// log::write(log::Level::Info, "billing", format_args!("{} orders", 3));
/// assert_eq!(fake::logs()[0].context, "billing");
/// ```
pub fn write(level: Level, context: &str, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(text) => host::log(level, context, text),
        None => host::log(level, context, &message.to_string()),
    }
}

macro_rules! level_macro {
    ($dollar:tt $name:ident $hidden:ident $level:ident $doc:literal) => {
        #[doc(hidden)]
        #[macro_export]
        macro_rules! $hidden {
            ($dollar($dollar message:tt)+) => {
                $crate::log::write($crate::log::Level::$level, ::core::module_path!(), ::core::format_args!($dollar($dollar message)+))
            };
        }
        #[doc = $doc]
        #[doc(inline)]
        pub use $hidden as $name;
    };
}

level_macro!($ trace __log_trace Trace "Logs every step; takes what `format!` takes.");
level_macro!($ debug __log_debug Debug "Logs what helps to find a mistake; takes what `format!` takes.");
level_macro!($ info __log_info Info "Logs what happened; takes what `format!` takes.");
level_macro!($ warn __log_warn Warn "Logs what somebody should look at some day; takes what `format!` takes.");
level_macro!($ error __log_error Error "Logs what went wrong; takes what `format!` takes.");
level_macro!($ critical __log_critical Critical "Logs what somebody must look at now; takes what `format!` takes.");
