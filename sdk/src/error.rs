//! Why a transformer failed, and whether the host should try again.
//!
//! Knows how the errors of the host calls are to be classed, wherever they sit in a chain of sources. Does not know the
//! node's retry policy: how often and how soon is for the host to decide.

use std::{error, fmt, time::Duration};

use crate::{config, http, records, storage};

/// What a transformer returns.
///
/// ```
/// use trellis_sdk::Result;
///
/// fn half(n: u32) -> Result<u32> {
///     Ok(n / 2)
/// }
/// # assert_eq!(half(4).unwrap(), 2);
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call of a transformer failed.
///
/// Any error that implements [`std::error::Error`] becomes one by `?`. It is *permanent* then, unless it is, or was caused
/// by, an error of [`http`], [`storage`], [`records`] or [`mod@config`] that is worth another attempt: a timeout stays retryable even
/// when it is wrapped in an error type of your own.
///
/// ```
/// use std::time::Duration;
/// use trellis_sdk::*;
///
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse::<u32>()?) // permanent: the same text never becomes a number
/// }
/// assert_eq!(parse("x").unwrap_err().kind(), ErrorKind::Permanent);
///
/// let busy = Error::retryable("the printer is busy").after(Duration::from_secs(30));
/// assert_eq!(busy.retry_after(), Some(Duration::from_secs(30)));
/// ```
// Not an `std::error::Error` itself: that would collide with the conversion from every such error.
pub struct Error {
    kind: ErrorKind,
    message: String,
    retry_after: Option<Duration>,
}

/// What the host does with a failure.
///
/// ```
/// use trellis_sdk::{Error, ErrorKind};
///
/// assert_eq!(Error::invalid_input("`name` is empty").kind(), ErrorKind::InvalidInput);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The inputs are not what the transformer accepts. Not retried.
    InvalidInput,
    /// The node's config is not usable. Not retried.
    InvalidConfig,
    /// Worth another attempt, under the node's retry policy.
    Retryable,
    /// Not worth another attempt.
    Permanent,
}

impl Error {
    /// The inputs are not what the transformer accepts. Not retried.
    ///
    /// ```
    /// use trellis_sdk::Error;
    ///
    /// assert_eq!(Error::invalid_input("`name` is empty").message(), "`name` is empty");
    /// ```
    pub fn invalid_input(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidInput, reason)
    }

    /// The node's config is not usable. Not retried.
    ///
    /// ```
    /// use trellis_sdk::Error;
    ///
    /// assert_eq!(Error::invalid_config("`url` is no address").message(), "`url` is no address");
    /// ```
    pub fn invalid_config(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidConfig, reason)
    }

    /// Worth another attempt, under the node's retry policy: `.map_err(Error::retryable)?`.
    ///
    /// ```
    /// use trellis_sdk::{Error, Result};
    ///
    /// fn printed(page: std::result::Result<(), &str>) -> Result<()> {
    ///     page.map_err(Error::retryable)
    /// }
    /// assert_eq!(printed(Err("out of paper")).unwrap_err().message(), "out of paper");
    /// ```
    pub fn retryable(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Retryable, reason)
    }

    /// Not worth another attempt.
    ///
    /// ```
    /// use trellis_sdk::{Error, ErrorKind};
    ///
    /// assert_eq!(Error::permanent("the account is closed").kind(), ErrorKind::Permanent);
    /// ```
    pub fn permanent(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Permanent, reason)
    }

    /// Asks the host to wait at least this long before the next attempt. Says nothing on an error that is not retried.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trellis_sdk::Error;
    ///
    /// let minute = Duration::from_secs(60);
    /// assert_eq!(Error::retryable("busy").after(minute).retry_after(), Some(minute));
    /// assert_eq!(Error::permanent("closed").after(minute).retry_after(), None);
    /// ```
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if self.kind == ErrorKind::Retryable {
            self.retry_after = Some(delay);
        }
        self
    }

    /// What the host will do with this failure.
    ///
    /// ```
    /// use trellis_sdk::{Error, ErrorKind};
    ///
    /// assert_eq!(Error::retryable("busy").kind(), ErrorKind::Retryable);
    /// ```
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The reason, with the reasons behind it.
    ///
    /// ```
    /// use trellis_sdk::Error;
    ///
    /// let error: Error = "x".parse::<u8>().unwrap_err().into();
    /// assert_eq!(error.message(), "invalid digit found in string");
    /// ```
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The least time to wait before the next attempt, when the error knows one.
    ///
    /// ```
    /// assert_eq!(trellis_sdk::Error::retryable("busy").retry_after(), None);
    /// ```
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn new(kind: ErrorKind, reason: impl fmt::Display) -> Self {
        Self { kind, message: reason.to_string(), retry_after: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        match self.retry_after {
            Some(delay) => write!(f, " (after {delay:?})"),
            None => Ok(()),
        }
    }
}

impl<E: error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self::from_chain(&error)
    }
}

impl Error {
    // Apart from `From`, so that it is compiled once and not for every type of error.
    fn from_chain(error: &(dyn error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut class = class_of(error);
        let mut source = error.source();
        while let Some(cause) = source {
            let reason = cause.to_string();
            // Many errors already tell their source's reason.
            if !message.contains(&reason) {
                message = format!("{message}: {reason}");
            }
            class = class.or_else(|| class_of(cause));
            source = cause.source();
        }
        let (kind, retry_after) = class.unwrap_or((ErrorKind::Permanent, None));
        Self { kind, message, retry_after }
    }
}

fn class_of(error: &(dyn error::Error + 'static)) -> Option<(ErrorKind, Option<Duration>)> {
    let (retryable, retry_after) = if let Some(error) = error.downcast_ref::<http::Error>() {
        (error.is_retryable(), error.retry_after())
    } else if let Some(error) = error.downcast_ref::<storage::Error>() {
        (error.is_retryable(), None)
    } else if let Some(error) = error.downcast_ref::<records::Error>() {
        (error.is_retryable(), None)
    } else if error.is::<config::Error>() {
        (true, None)
    } else {
        return None;
    };
    Some((if retryable { ErrorKind::Retryable } else { ErrorKind::Permanent }, retry_after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot load the rates")]
    struct NoRates(#[source] http::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot count: {0}")]
    struct NoCount(#[source] storage::Error);

    #[test]
    fn an_ordinary_error_is_permanent() {
        let error = Error::from("x".parse::<u8>().expect_err("no number"));
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert_eq!(error.message(), "invalid digit found in string");
    }

    #[test]
    fn an_error_caused_by_a_retryable_host_call_is_retryable() {
        let error = Error::from(NoRates(http::Error::Timeout));
        assert_eq!(error.kind(), ErrorKind::Retryable);
        assert_eq!(error.message(), "cannot load the rates: no answer in time");
    }

    #[test]
    fn an_error_caused_by_a_refused_host_call_is_permanent() {
        let error = Error::from(NoRates(http::Error::Denied("not granted".into())));
        assert_eq!(error.kind(), ErrorKind::Permanent);
    }

    #[test]
    fn a_reason_that_is_told_already_is_not_told_twice() {
        let error = Error::from(NoCount(storage::Error::Conflict));
        assert_eq!(error.message().matches("revision").count(), 1, "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Retryable);
    }

    #[test]
    fn only_a_retryable_error_keeps_a_delay() {
        let delay = Duration::from_secs(3);
        assert_eq!(Error::retryable("busy").after(delay).retry_after(), Some(delay));
        assert_eq!(Error::permanent("gone").after(delay).retry_after(), None);
    }
}
