//! The triggers of a project: what starts which grid.

use super::{
    Dedupe, EventSchema, Reply, SECTIONS_MAX, check_count,
    document::Item,
    event_schema,
    reader::{Faults, Fields},
    reply, senders,
};
use crate::signature::SenderSignature;

/// An event generator; targets one grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub name: String,
    pub grid: String,
    pub http: HttpTrigger,
}

/// `kind = "http"`: served below `/hooks/{account}/{project}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTrigger {
    /// Upper case; at least one.
    pub methods: Vec<String>,
    /// Begins with `/`; matched exactly.
    pub path: String,
    pub auth: TriggerAuth,
    pub on_limit: OnLimit,
    /// How a repeat of an event is recognised, besides by its `Idempotency-Key`: as the trigger says, or else by the id that
    /// the scheme of its signatures gives an event.
    pub dedupe: Option<Dedupe>,
    pub reply: Reply,
    /// What events look like. Others are refused.
    pub schema: Option<EventSchema>,
}

/// Who may send events to a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerAuth {
    /// The bearer of a token with the scope `events:write` for this project.
    Token,
    /// Whoever signs the request with a secret that the project has as well.
    Signature(SenderSignature),
    /// Anybody.
    None,
}

/// What happens to an event of an account that is over its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// 429 with Retry-After.
    Reject,
    /// Accepted; waits its turn.
    Queue,
}

const METHODS: [(&str, &str); 5] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

pub(super) fn read(faults: &mut Faults, item: &Item) -> Vec<Trigger> {
    let items = faults.list(item);
    check_count(faults, item, items.len(), SECTIONS_MAX, "triggers");
    let mut triggers: Vec<Trigger> = Vec::new();
    for item in items.iter().take(SECTIONS_MAX) {
        let trigger = read_trigger(faults, item);
        check_twins(faults, item, &trigger, &triggers);
        triggers.push(trigger);
    }
    triggers
}

fn read_trigger(faults: &mut Faults, item: &Item) -> Trigger {
    let fields = faults
        .fields(item, &["name", "kind", "grid", "methods", "path", "auth", "on_limit", "dedupe", "reply", "schema"]);
    let name_item = fields.required(faults, "name", "add `name = \"…\"`");
    let name = name_item.and_then(|item| faults.text(item)).unwrap_or_default();
    if let Some(item) = name_item {
        faults.name(&name, &item.place, "trigger");
    }
    if let Some(kind) = fields.required(faults, "kind", "add `kind = \"http\"`") {
        faults.word(kind, &[("http", ())]);
    }
    let grid = fields.required(faults, "grid", "add `grid = \"…\"`, a name under `[grids]`");
    Trigger { name, grid: grid.and_then(|item| faults.text(item)).unwrap_or_default(), http: read_http(faults, fields) }
}

fn read_http(faults: &mut Faults, fields: Fields<'_>) -> HttpTrigger {
    let methods = match fields.optional("methods") {
        Some(item) => {
            let items = faults.list(item);
            if items.is_empty() {
                faults.push(item.place.fault("no method is left").fix("leave `methods` out for POST alone"));
            }
            items.iter().filter_map(|item| faults.word(item, &METHODS)).map(str::to_owned).collect()
        }
        None => vec!["POST".to_owned()],
    };
    let auth = fields.optional("auth").and_then(|item| senders::read(faults, item)).unwrap_or(TriggerAuth::Token);
    let dedupe = fields.optional("dedupe").and_then(|item| faults.parsed(item));
    let on_limit = fields
        .optional("on_limit")
        .and_then(|item| faults.word(item, &[("reject", OnLimit::Reject), ("queue", OnLimit::Queue)]));
    HttpTrigger {
        methods,
        path: read_path(faults, fields),
        dedupe: dedupe.or_else(|| event_id(&auth)),
        auth,
        on_limit: on_limit.unwrap_or(OnLimit::Reject),
        reply: fields.optional("reply").map(|item| reply::read(faults, item)).unwrap_or_default(),
        schema: fields.optional("schema").and_then(|item| event_schema::read(faults, item)),
    }
}

fn event_id(auth: &TriggerAuth) -> Option<Dedupe> {
    match auth {
        TriggerAuth::Signature(signature) => signature.scheme.event_id()?.parse().ok(),
        TriggerAuth::Token | TriggerAuth::None => None,
    }
}

const PATH_BYTES_MAX: usize = 256;

fn read_path(faults: &mut Faults, fields: Fields<'_>) -> String {
    let Some(item) = fields.required(faults, "path", "add `path = \"/…\"`") else {
        return String::new();
    };
    let Some(path) = faults.text(item) else {
        return String::new();
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let valid = path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && path.bytes().all(plain)
        && !path.split('/').any(|step| step == "." || step == "..");
    if !valid {
        let fault = item.place.fault(format!("`{path}` is no path that a trigger can have"));
        faults.push(fault.fix("begin with `/` and use letters, digits, `-`, `.`, `_`, `~` and `/`, at most 256 bytes"));
    }
    path
}

/// Two triggers with one name, or with one method and path, could not be told apart.
fn check_twins(faults: &mut Faults, item: &Item, trigger: &Trigger, earlier: &[Trigger]) {
    if !trigger.name.is_empty() && earlier.iter().any(|other| other.name == trigger.name) {
        faults.push(item.place.fault(format!("trigger `{}` is defined twice", trigger.name)).fix("rename one of them"));
    }
    let twin = earlier.iter().find(|other| {
        other.http.path == trigger.http.path
            && other.http.methods.iter().any(|method| trigger.http.methods.contains(method))
    });
    if let Some(twin) = twin {
        let message = format!("trigger `{}` has a method and path in common with `{}`", trigger.name, twin.name);
        faults.push(item.place.fault(message).fix("give one of them another path"));
    }
}
