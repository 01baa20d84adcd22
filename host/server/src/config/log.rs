//! The host's own log.

use tracing_subscriber::EnvFilter;

use super::{Section, setting::Setting};

/// What is logged, and how it looks.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Default `text`: the reader is more often a person than a collector.
    pub format: LogFormat,
    /// Default `info`: starts, stops, deployments and refusals, but nothing per run.
    pub filter: LogFilter,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Levels by target, as `tracing` understands them; known to be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// For a subscriber.
    pub fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::try_new(&self.0).expect("it was parsed when the configuration was read")
    }
}

impl LogConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            format: section.setting("format", LogFormat::Text),
            filter: section.setting("filter", LogFilter("info".to_owned())),
        }
    }
}

impl Setting for LogFormat {
    const EXPECTED: &'static str = "\"text\" or \"json\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn to_toml(&self) -> toml::Value {
        match self {
            Self::Text => "text".into(),
            Self::Json => "json".into(),
        }
    }
}

impl Setting for LogFilter {
    const EXPECTED: &'static str = "levels, such as \"info\" or \"warn,trellis=debug\"";

    fn from_text(text: &str) -> Option<Self> {
        EnvFilter::try_new(text).ok()?;
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> toml::Value {
        self.0.as_str().into()
    }
}
