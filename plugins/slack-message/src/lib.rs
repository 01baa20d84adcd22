//! Publishes messages in Slack, and cleans up after itself.
//!
//! What Slack is told and how its refusals are classed is `slack`'s part; what is remembered of a publication, and when an older
//! one goes, is `service`'s. Does not see the token: the host adds it to the requests.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod slack;
#[cfg(test)]
mod tests;

use service::{
    Span,
    publication::{Cleaned, Cleanup, Publications, Remembered},
    time,
};
use trellis_sdk::*;

use slack::{Posted, Slack};

/// Where messages go, and what becomes of older ones.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// The channel, unless the message names one: its id, or its name for public ones.
    pub channel: Option<String>,
    /// What messages are about, unless the message or the input `topic` says. Messages of the same topic replace each other.
    pub topic: Option<String>,
    /// What is done, unless the message says.
    pub action: Action,
    /// How long an older message of the same topic stays after a new one. Without it, for ever.
    pub replace_after: Option<Span>,
    /// Most messages to delete in one call.
    pub removals_max: usize,
    /// The store that remembers messages with a topic.
    pub store: String,
    /// How long it remembers them.
    pub remember_for: Span,
    /// The address of the API.
    pub api_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            channel: None,
            topic: None,
            action: Action::Publish,
            replace_after: None,
            removals_max: 20,
            store: "publications".into(),
            remember_for: Span::seconds(90 * 86_400),
            api_url: "https://slack.com/api".into(),
        }
    }
}

/// What is done.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Post a message. Older ones of its topic are superseded.
    Publish,
    /// Change the current message of the topic. Without one, post it.
    Update,
    /// Delete all messages of the topic.
    Remove,
    /// Delete superseded messages whose time is over, of the topic or, without one, of all topics.
    Clean,
}

/// A message, or what is to be done with earlier ones.
#[data]
#[derive(Clone, Debug, Default)]
#[serde(default)]
pub struct Message {
    /// The text, in Slack's mrkdwn. With `blocks`, what notifications show.
    pub text: Option<String>,
    /// Blocks of Slack's Block Kit.
    pub blocks: Option<Vec<Value>>,
    /// The channel, if not that of the config.
    pub channel: Option<String>,
    /// The `ts` of the message to answer to, in its thread.
    pub thread: Option<String>,
    /// What the message is about, if not the topic of the config.
    pub topic: Option<String>,
    /// What is done, if not the action of the config.
    pub action: Option<Action>,
}

/// What is published.
#[inputs]
#[derive(Default)]
pub struct Inputs {
    /// The message.
    #[port(name = "in")]
    message: Option<Message>,
    /// Its text, if `in` has none.
    text: Option<String>,
    /// Its topic, if `in` has none.
    topic: Option<String>,
}

/// What came of it.
#[derive(Ports, Debug, PartialEq)]
pub enum Outcome {
    /// A message was posted or changed.
    Published(Published),
    /// Messages were deleted.
    Cleaned(Removals),
}

/// A message that is there now.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The id of its channel.
    pub channel: String,
    /// What Slack knows it by within the channel.
    pub ts: String,
    /// Whether it was there before and was changed.
    pub updated: bool,
    /// What became of older ones of the topic.
    pub older: Removals,
}

/// What became of earlier messages.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    /// How many were deleted.
    pub removed: usize,
    /// How many were due and are still there: for the next cleaning.
    pub left: usize,
}

impl From<Cleaned> for Removals {
    fn from(Cleaned { removed, left }: Cleaned) -> Self {
        Self { removed, left }
    }
}

/// One call: what is to be done, and with what.
struct Desk {
    slack: Slack,
    publications: Publications,
    cleanup: Cleanup,
    message: Message,
    now: i64,
}

/// Publishes messages in Slack, and cleans up after itself.
#[transformer]
pub fn slack_message(input: Inputs, config: Config) -> Result<Outcome> {
    let Inputs { message, text, topic } = input;
    let mut message = message.unwrap_or_default();
    message.text = message.text.or(text);
    message.topic = message.topic.or(topic).or(config.topic);
    message.channel = message.channel.or(config.channel);
    let action = message.action.unwrap_or(config.action);
    let desk = Desk {
        slack: Slack::at(config.api_url),
        publications: Publications::of(&config.store, config.remember_for.0),
        cleanup: Cleanup { after: config.replace_after.map(|span| span.0), removals_max: config.removals_max },
        message,
        now: time::now(),
    };
    match action {
        Action::Publish => desk.publish(),
        Action::Update => desk.update(),
        Action::Remove => desk.remove(),
        Action::Clean => desk.clean(),
    }
}

impl Desk {
    fn publish(&self) -> Result<Outcome> {
        let Some(topic) = &self.message.topic else {
            let posted = self.slack.post(&self.message)?;
            return Ok(published(posted, false, Cleaned::default()));
        };
        // Read before anything is posted: what fails here has no effect yet.
        let older = self.publications.of_topic(topic)?;
        self.post(topic, &older)
    }

    fn post(&self, topic: &str, older: &[Remembered]) -> Result<Outcome> {
        let posted = self.slack.post(&self.message)?;
        self.publications.remember(topic, &event::current().idempotency_key, &posted, self.now)?;
        let cleaned = self.publications.supersede(older, &self.slack, self.cleanup, self.now)?;
        Ok(published(posted, false, cleaned))
    }

    fn update(&self) -> Result<Outcome> {
        let topic = self.topic("update")?;
        let older = self.publications.of_topic(topic)?;
        if let Some(current) = self.publications.current::<Posted>(&older)?
            && let Some(posted) = self.slack.update(&current, &self.message)?
        {
            return Ok(published(posted, true, Cleaned::default()));
        }
        self.post(topic, &older)
    }

    fn remove(&self) -> Result<Outcome> {
        let all = self.publications.of_topic(self.topic("remove")?)?;
        Ok(Outcome::Cleaned(self.publications.remove(&all, &self.slack, self.cleanup)?.into()))
    }

    fn clean(&self) -> Result<Outcome> {
        let all = match &self.message.topic {
            Some(topic) => self.publications.of_topic(topic)?,
            None => self.publications.all()?,
        };
        Ok(Outcome::Cleaned(self.publications.clean(&all, &self.slack, self.cleanup, self.now)?.into()))
    }

    fn topic(&self, action: &str) -> Result<&str> {
        self.message.topic.as_deref().ok_or_else(|| {
            Error::invalid_input(format_args!(
                "the action `{action}` needs a topic; put `topic` into the message or the config, or wire the input `topic`"
            ))
        })
    }
}

fn published(Posted { channel, ts }: Posted, updated: bool, older: Cleaned) -> Outcome {
    Outcome::Published(Published { channel, ts, updated, older: older.into() })
}
