//! Sends e-mail through the HTTP API of a provider.
//!
//! A mail has one neutral shape here; what each provider makes of it is in `provider`. Mails of the same *topic* belong to one
//! conversation, and those that are scheduled and not sent yet can be taken back. Does not see the provider's key: the host adds
//! it to the requests.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod address;
mod provider;
#[cfg(test)]
mod tests;

use service::{
    Span,
    publication::{Cleaned, Cleanup, Publications},
    time,
};
use trellis_sdk::*;

use address::Address;
use provider::Post;

pub use provider::Provider;

/// Through whom mails go, and what becomes of older ones.
#[data]
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose API it is.
    pub provider: Provider,
    /// The sender: `ada@example.com` or `Ada <ada@example.com>`.
    pub from: String,
    /// Receivers, unless the mail names some.
    #[serde(default)]
    pub to: Vec<String>,
    /// What mails are about, unless the mail or the input `topic` says.
    #[serde(default)]
    pub topic: Option<String>,
    /// What is done, unless the mail says.
    #[serde(default)]
    pub action: Action,
    /// How long an older scheduled mail of the same topic stays after a new one. Without it, it is sent as well.
    #[serde(default)]
    pub replace_after: Option<Span>,
    /// Most mails to take back in one call.
    #[serde(default = "removals_max")]
    pub removals_max: usize,
    /// The store that remembers mails with a topic.
    #[serde(default = "store")]
    pub store: String,
    /// How long it remembers them.
    #[serde(default = "remember_for")]
    pub remember_for: Span,
    /// The address of the API, if not the provider's own.
    #[serde(default)]
    pub api_url: Option<String>,
}

fn removals_max() -> usize {
    20
}

fn store() -> String {
    "publications".into()
}

fn remember_for() -> Span {
    Span::seconds(90 * 86_400)
}

/// What is done.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Send a mail. Older scheduled ones of its topic are superseded.
    #[default]
    Publish,
    /// Take back all mails of the topic that are not sent yet.
    Remove,
    /// Take back superseded mails whose time is over, of the topic or, without one, of all topics.
    Clean,
}

/// A mail, or what is to be done with earlier ones.
#[data]
#[derive(Clone, Debug, Default)]
#[serde(default)]
pub struct Mail {
    /// Receivers: `ada@example.com` or `Ada <ada@example.com>`.
    pub to: Vec<String>,
    /// Receivers of copies.
    pub cc: Vec<String>,
    /// Receivers of copies whom the others do not see.
    pub bcc: Vec<String>,
    /// Where answers go.
    pub reply_to: Option<String>,
    /// The subject.
    pub subject: String,
    /// The plain text.
    pub text: Option<String>,
    /// The same as HTML.
    pub html: Option<String>,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
    /// When it is sent, such as `2026-05-01T12:00:00Z`, if not at once.
    pub send_at: Option<String>,
    /// What it is about, if not the topic of the config.
    pub topic: Option<String>,
    /// What is done, if not the action of the config.
    pub action: Option<Action>,
}

/// A file that goes with a mail: as text, or as base64.
#[data]
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The file's name.
    pub name: String,
    /// Its media type.
    #[serde(default = "content_type")]
    pub content_type: String,
    /// Its content, if it is text.
    #[serde(default)]
    pub text: Option<String>,
    /// Its content in base64.
    #[serde(default)]
    pub base64: Option<String>,
}

fn content_type() -> String {
    "text/plain; charset=utf-8".into()
}

/// What is sent.
#[inputs]
pub struct Inputs {
    /// The mail.
    #[port(name = "in")]
    mail: Option<Mail>,
    /// Its plain text, if `in` has none.
    text: Option<String>,
    /// Its topic, if `in` has none.
    topic: Option<String>,
}

/// What came of it.
#[derive(Ports, Debug, PartialEq)]
pub enum Outcome {
    /// The provider has taken the mail.
    Published(Published),
    /// Mails were taken back.
    Cleaned(Removals),
}

/// A mail that the provider has taken.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// What the provider knows it by.
    pub id: String,
    /// What became of older ones of the topic.
    pub older: Removals,
}

/// What became of earlier mails.
#[data]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    /// How many were taken back, or were sent already and are forgotten.
    pub removed: usize,
    /// How many were due and are still there: for the next cleaning.
    pub left: usize,
}

impl From<Cleaned> for Removals {
    fn from(Cleaned { removed, left }: Cleaned) -> Self {
        Self { removed, left }
    }
}

/// A mail that was looked through: what the provider's part works with.
pub(crate) struct Checked {
    from: Address,
    to: Vec<Address>,
    cc: Vec<Address>,
    bcc: Vec<Address>,
    reply_to: Option<Address>,
    mail: Mail,
    /// Unix seconds.
    send_at: Option<i64>,
}

/// Sends e-mail through the HTTP API of a provider.
#[transformer(title = "E-mail")]
pub fn email(input: Inputs, config: Config) -> Result<Outcome> {
    let Inputs { mail, text, topic } = input;
    let mut mail = mail.unwrap_or_default();
    mail.text = mail.text.or(text);
    let topic = mail.topic.clone().or(topic).or_else(|| config.topic.clone());
    let now = time::now();
    let post = Post::of(&config, now);
    let publications = Publications::of(&config.store, config.remember_for.0);
    let cleanup = Cleanup { after: config.replace_after.map(|span| span.0), removals_max: config.removals_max };
    match (mail.action.unwrap_or(config.action), topic) {
        (Action::Publish, topic) => {
            let mail = checked(mail, &config, now)?;
            publish(&mail, topic.as_deref(), &post, &publications, cleanup, now)
        }
        (Action::Remove, None) => Err(Error::invalid_input(
            "the action `remove` needs a topic; put `topic` into the mail or the config, or wire the input `topic`",
        )),
        (Action::Remove, Some(topic)) => {
            Ok(Outcome::Cleaned(publications.remove(&publications.of_topic(&topic)?, &post, cleanup)?.into()))
        }
        (Action::Clean, topic) => {
            let all = topic.map_or_else(|| publications.all(), |topic| publications.of_topic(&topic))?;
            Ok(Outcome::Cleaned(publications.clean(&all, &post, cleanup, now)?.into()))
        }
    }
}

fn publish(
    mail: &Checked,
    topic: Option<&str>,
    post: &Post,
    publications: &Publications,
    cleanup: Cleanup,
    now: i64,
) -> Result<Outcome> {
    let Some(topic) = topic else {
        let sent = post.send(mail, None)?;
        return Ok(Outcome::Published(Published { id: sent.id, older: Removals::default() }));
    };
    // Read before anything is sent: what fails here has no effect yet.
    let older = publications.of_topic(topic)?;
    let sent = post.send(mail, Some(topic))?;
    publications.remember(topic, &event::current().idempotency_key, &sent, now)?;
    let cleaned = publications.supersede(&older, post, cleanup, now)?;
    Ok(Outcome::Published(Published { id: sent.id, older: cleaned.into() }))
}

fn checked(mail: Mail, config: &Config, now: i64) -> Result<Checked> {
    let from =
        Address::parse(&config.from).map_err(|reason| Error::invalid_config(format_args!("`from`: {reason}")))?;
    let all = |key: &str, texts: &[String]| {
        let one = |text: &String| {
            Address::parse(text).map_err(|reason| Error::invalid_input(format_args!("`{key}`: {reason}")))
        };
        texts.iter().map(one).collect::<Result<Vec<_>>>()
    };
    let to = match mail.to.as_slice() {
        [] => all("to", &config.to).map_err(|error| Error::invalid_config(error.message()))?,
        to => all("to", to)?,
    };
    let (cc, bcc) = (all("cc", &mail.cc)?, all("bcc", &mail.bcc)?);
    let reply_to = all("reply_to", mail.reply_to.as_slice())?.pop();
    if to.is_empty() {
        return Err(Error::invalid_input("the mail has no receiver; put `to` into the mail or the config"));
    }
    if mail.subject.is_empty() || mail.subject.contains(['\r', '\n']) {
        return Err(Error::invalid_input("the mail's `subject` is empty, or has a line break"));
    }
    let is_empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    if is_empty(&mail.text) && is_empty(&mail.html) {
        return Err(Error::invalid_input("the mail is empty; give it a `text` or `html`, or wire the input `text`"));
    }
    for Attachment { name, content_type, text, base64 } in &mail.attachments {
        if [name, content_type].iter().any(|text| text.is_empty() || text.contains(char::is_control)) {
            return Err(Error::invalid_input(format_args!(
                "the attachment {name:?} has a `name` or `content_type` that is empty, or has a line break"
            )));
        }
        if text.is_some() == base64.is_some() {
            return Err(Error::invalid_input(format_args!("the attachment `{name}` needs either `text` or `base64`")));
        }
    }
    let send_at = mail.send_at.as_deref().map(|text| {
        time::seconds(text).ok_or_else(|| {
            Error::invalid_input(format_args!("`send_at`: `{text}` is no time; write it like 2026-05-01T12:00:00Z"))
        })
    });
    let send_at = send_at.transpose()?.filter(|send_at| *send_at > now);
    Ok(Checked { from, to, cc, bcc, reply_to, mail, send_at })
}
