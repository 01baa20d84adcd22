//! What each provider makes of a mail: where it is sent, in which shape, and where the answer has the mail's id.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service::{publication::Place, time, unwelcome};
use trellis_sdk::*;

use crate::{Attachment, Checked, Config, address::Address};

/// Whose API it is.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Resend.
    Resend,
    /// Postmark. It cannot schedule mails.
    Postmark,
    /// Twilio SendGrid.
    Sendgrid,
}

/// A provider at its address.
pub(crate) struct Post {
    provider: Provider,
    api_url: String,
    now: i64,
}

/// A mail that the provider has taken.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) id: String,
    /// When it is sent, in Unix seconds, if not at once.
    pub(crate) send_at: Option<i64>,
}

impl Post {
    pub(crate) fn of(config: &Config, now: i64) -> Self {
        let own = match config.provider {
            Provider::Resend => "https://api.resend.com",
            Provider::Postmark => "https://api.postmarkapp.com",
            Provider::Sendgrid => "https://api.sendgrid.com",
        };
        let api_url = config.api_url.as_deref().unwrap_or(own).trim_end_matches('/').to_owned();
        Self { provider: config.provider, api_url, now }
    }

    /// Sends a mail, or gives it to the provider to send later.
    ///
    /// # Errors
    /// Invalid input: the provider cannot schedule; and what the provider says.
    pub(crate) fn send(&self, mail: &Checked, topic: Option<&str>) -> Result<Sent> {
        let id = match self.provider {
            Provider::Resend => self.post("/emails", &resend(mail, topic))?.text_at("/id")?,
            Provider::Postmark if mail.send_at.is_some() => {
                return Err(Error::invalid_input(
                    "postmark cannot schedule mails; leave out `send_at`, and give the node a `delay`",
                ));
            }
            Provider::Postmark => self.post("/email", &postmark(mail, topic))?.text_at("/MessageID")?,
            Provider::Sendgrid => self.sendgrid(mail, topic)?,
        };
        Ok(Sent { id, send_at: mail.send_at })
    }

    /// SendGrid takes scheduled mails back by the batch alone: each has one of its own, whose id is what is remembered.
    fn sendgrid(&self, mail: &Checked, topic: Option<&str>) -> Result<String> {
        let mut body = sendgrid(mail, topic);
        if mail.send_at.is_none() {
            let answer = self.post("/v3/mail/send", &body)?;
            return Ok(answer.0.header("x-message-id").unwrap_or_default().to_owned());
        }
        let batch = self.post("/v3/mail/batch", &json!({}))?.text_at("/batch_id")?;
        body["batch_id"] = batch.as_str().into();
        self.post("/v3/mail/send", &body)?;
        Ok(batch)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let request = http::post(format!("{}{path}", self.api_url)).header("accept", "application/json");
        let response = request.json(body)?.send()?;
        if response.is_success() { Ok(Answer(response)) } else { Err(unwelcome(&response)) }
    }
}

impl Place for Post {
    type Reference = Sent;

    /// Takes a mail back. What is sent is sent: it is only forgotten.
    fn remove(&self, sent: &Sent) -> Result<()> {
        if sent.send_at.is_none_or(|send_at| send_at <= self.now) {
            log::info!("the mail {} is sent already and cannot be taken back", sent.id);
            return Ok(());
        }
        match self.provider {
            Provider::Resend => {
                self.post(&format!("/emails/{}/cancel", http::percent_encode(&sent.id)), &json!({}))?;
            }
            Provider::Sendgrid => {
                let cancelled = json!({ "batch_id": sent.id, "status": "cancel" });
                self.post("/v3/user/scheduled_sends", &cancelled)?;
            }
            Provider::Postmark => log::warn!("postmark cannot take the mail {} back", sent.id),
        }
        Ok(())
    }
}

/// A welcome answer.
struct Answer(http::Response);

impl Answer {
    fn text_at(&self, pointer: &str) -> Result<String> {
        let body: Value = self.0.json()?;
        let text = body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| Error::permanent(format_args!("the provider's answer has no text at `{pointer}`")))
    }
}

/// What puts mails of one topic into one conversation: all of them refer to the same message.
fn conversation(mail: &Checked, topic: &str) -> String {
    format!("<{}@{}>", http::percent_encode(topic), mail.from.domain())
}

fn content(attachment: &Attachment) -> String {
    let encoded = |text: &String| STANDARD.encode(text);
    attachment.base64.clone().or_else(|| attachment.text.as_ref().map(encoded)).unwrap_or_default()
}

fn written(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// An object without what is null or empty.
fn compact(members: Value) -> Value {
    let Value::Object(mut members) = members else { return members };
    members.retain(|_, value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
    Value::Object(members)
}

fn resend(checked: &Checked, topic: Option<&str>) -> Value {
    let mail = &checked.mail;
    let attachments = mail.attachments.iter().map(|attachment| {
        json!({ "filename": attachment.name, "content_type": attachment.content_type, "content": content(attachment) })
    });
    compact(json!({
        "from": checked.from.to_string(),
        "to": written(&checked.to),
        "cc": written(&checked.cc),
        "bcc": written(&checked.bcc),
        "reply_to": checked.reply_to.as_ref().map(ToString::to_string),
        "subject": mail.subject,
        "text": mail.text,
        "html": mail.html,
        "scheduled_at": checked.send_at.map(time::rfc3339),
        "headers": topic.map(|topic| json!({ "References": conversation(checked, topic) })),
        "attachments": attachments.collect::<Vec<_>>(),
    }))
}

fn postmark(checked: &Checked, topic: Option<&str>) -> Value {
    let mail = &checked.mail;
    let attachments = mail.attachments.iter().map(|attachment| {
        json!({ "Name": attachment.name, "ContentType": attachment.content_type, "Content": content(attachment) })
    });
    compact(json!({
        "From": checked.from.to_string(),
        "To": written(&checked.to).join(", "),
        "Cc": written(&checked.cc).join(", "),
        "Bcc": written(&checked.bcc).join(", "),
        "ReplyTo": checked.reply_to.as_ref().map(ToString::to_string),
        "Subject": mail.subject,
        "TextBody": mail.text,
        "HtmlBody": mail.html,
        "Headers": topic.map(|topic| json!([{ "Name": "References", "Value": conversation(checked, topic) }])),
        "Attachments": attachments.collect::<Vec<_>>(),
    }))
}

fn sendgrid(checked: &Checked, topic: Option<&str>) -> Value {
    let mail = &checked.mail;
    let one = |address: &Address| compact(json!({ "email": address.email, "name": address.name }));
    let all = |addresses: &[Address]| addresses.iter().map(one).collect::<Vec<_>>();
    let receivers = compact(json!({ "to": all(&checked.to), "cc": all(&checked.cc), "bcc": all(&checked.bcc) }));
    let bodies = [("text/plain", &mail.text), ("text/html", &mail.html)];
    let bodies = bodies.into_iter().filter_map(|(kind, body)| {
        let body = body.as_deref().filter(|body| !body.is_empty())?;
        Some(json!({ "type": kind, "value": body }))
    });
    let attachments = mail.attachments.iter().map(|attachment| {
        let kind = attachment.content_type.split(';').next().unwrap_or_default().trim();
        json!({ "filename": attachment.name, "type": kind, "content": content(attachment), "disposition": "attachment" })
    });
    compact(json!({
        "personalizations": [receivers],
        "from": one(&checked.from),
        "reply_to": checked.reply_to.as_ref().map(one),
        "subject": mail.subject,
        "content": bodies.collect::<Vec<_>>(),
        "send_at": checked.send_at,
        "headers": topic.map(|topic| json!({ "References": conversation(checked, topic) })),
        "attachments": attachments.collect::<Vec<_>>(),
    }))
}
