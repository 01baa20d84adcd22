//! The triggers of a project: what starts which grid.

use super::{
    Dedupe, EventSchema, Reply, ReplyFrom, SECTIONS_MAX, check_count,
    document::Item,
    event_schema,
    reader::{Faults, Fields},
    reply, senders,
};
use crate::{schema::PatternBudget, signature::SenderSignature};

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
    /// Begins with `/`; matched exactly, or up to its `/*`, which only triggers that serve have.
    pub path: String,
    /// The request itself is the event, and the answer of the run is the answer: `serve = "plugin"`.
    pub serves: bool,
    pub auth: TriggerAuth,
    pub on_limit: OnLimit,
    /// How a repeat of an event is recognised, besides by its `Idempotency-Key`: as the trigger says, or else by the id that
    /// the scheme of its signatures gives an event.
    pub dedupe: Option<Dedupe>,
    /// What events look like. Others are refused.
    pub schema: Option<EventSchema>,
    pub reply: Reply,
}

impl HttpTrigger {
    /// Whether requests to a path below the project are for this trigger, and by how many letters of its own.
    pub fn takes(&self, path: &str) -> Option<usize> {
        let Some(begin) = self.path.strip_suffix("/*").filter(|_| self.serves) else {
            return (self.path == path).then_some(usize::MAX);
        };
        let rest = path.strip_prefix(begin)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(begin.len())
    }
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

/// The output of a plugin that answers requests.
const RESPONSE_PORT: &str = "response";

const METHODS: [(&str, &str); 5] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE")];

pub(super) fn read(faults: &mut Faults, item: &Item) -> Vec<Trigger> {
    let items = faults.list(item);
    check_count(faults, item, items.len(), SECTIONS_MAX, "triggers");
    let mut triggers: Vec<Trigger> = Vec::new();
    let mut patterns = PatternBudget::new(PatternBudget::MANIFEST);
    for item in items.iter().take(SECTIONS_MAX) {
        let trigger = read_trigger(faults, item, &mut patterns);
        check_twins(faults, item, &trigger, &triggers);
        triggers.push(trigger);
    }
    triggers
}

fn read_trigger(faults: &mut Faults, item: &Item, patterns: &mut PatternBudget) -> Trigger {
    let fields = faults.fields(
        item,
        &["name", "kind", "grid", "methods", "path", "auth", "on_limit", "dedupe", "schema", "reply", "serve"],
    );
    let name_item = fields.required(faults, "name", "add `name = \"…\"`");
    let name = name_item.and_then(|item| faults.text(item)).unwrap_or_default();
    if let Some(item) = name_item {
        faults.name(&name, &item.place, "trigger");
    }
    if let Some(kind) = fields.required(faults, "kind", "add `kind = \"http\"`") {
        faults.word(kind, &[("http", ())]);
    }
    let grid = fields.required(faults, "grid", "add `grid = \"…\"`, a name under `[grids]`");
    Trigger {
        name,
        grid: grid.and_then(|item| faults.text(item)).unwrap_or_default(),
        http: read_http(faults, fields, patterns),
    }
}

fn read_http(faults: &mut Faults, fields: Fields<'_>, patterns: &mut PatternBudget) -> HttpTrigger {
    let serves = fields.optional("serve").and_then(|item| faults.word(item, &[("plugin", true)])).unwrap_or_default();
    let methods = match fields.optional("methods") {
        Some(item) => {
            let items = faults.list(item);
            if items.is_empty() {
                faults.push(item.place.fault("no method is left").fix("leave `methods` out for POST alone"));
            }
            items.iter().filter_map(|item| faults.word(item, &METHODS)).map(str::to_owned).collect()
        }
        None if serves => METHODS.iter().map(|(name, _)| (*name).to_owned()).collect(),
        None => vec!["POST".to_owned()],
    };
    let auth = fields.optional("auth").and_then(|item| senders::read(faults, item)).unwrap_or(TriggerAuth::Token);
    let dedupe = fields.optional("dedupe").and_then(|item| faults.parsed(item));
    let on_limit = fields
        .optional("on_limit")
        .and_then(|item| faults.word(item, &[("reject", OnLimit::Reject), ("queue", OnLimit::Queue)]));
    HttpTrigger {
        methods,
        path: read_path(faults, fields, serves),
        serves,
        dedupe: dedupe.or_else(|| event_id(&auth)),
        auth,
        on_limit: on_limit.unwrap_or(OnLimit::Reject),
        schema: fields.optional("schema").and_then(|item| event_schema::read(faults, item, patterns)),
        reply: read_reply(faults, fields, serves),
    }
}

/// A trigger that serves answers with the port `response`.
fn read_reply(faults: &mut Faults, fields: Fields<'_>, serves: bool) -> Reply {
    let item = fields.optional("reply");
    let reply = item.map(|item| reply::read(faults, item)).unwrap_or_default();
    match (serves, reply) {
        (false, reply) => reply,
        (true, Reply::Result(from)) => {
            Reply::Result(ReplyFrom { port: from.port.or_else(|| Some(RESPONSE_PORT.to_owned())), ..from })
        }
        (true, Reply::Accepted) => {
            if let Some(item) = item {
                let fault = item.place.fault("a trigger that serves answers with a result");
                faults.push(fault.fix("leave `reply` out, or name the node whose output `response` is the answer"));
            }
            Reply::Result(ReplyFrom { port: Some(RESPONSE_PORT.to_owned()), ..ReplyFrom::default() })
        }
    }
}

fn event_id(auth: &TriggerAuth) -> Option<Dedupe> {
    match auth {
        TriggerAuth::Signature(signature) => signature.scheme.event_id()?.parse().ok(),
        TriggerAuth::Token | TriggerAuth::None => None,
    }
}

const PATH_BYTES_MAX: usize = 256;

fn read_path(faults: &mut Faults, fields: Fields<'_>, serves: bool) -> String {
    let Some(item) = fields.required(faults, "path", "add `path = \"/…\"`") else {
        return String::new();
    };
    let Some(path) = faults.text(item) else {
        return String::new();
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let named = if serves {
        path.strip_suffix('*').filter(|path| path.ends_with('/')).unwrap_or(path.as_str())
    } else {
        path.as_str()
    };
    let valid = path.starts_with('/')
        && path.len() <= PATH_BYTES_MAX
        && named.bytes().all(plain)
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

#[cfg(test)]
mod tests {
    use crate::manifest::Manifest;

    fn trigger(serve: &str, path: &str) -> Result<super::HttpTrigger, String> {
        let text = format!(
            "[project]\nname = \"p\"\n[plugins]\na = \"a@1\"\n[[triggers]]\nname = \"t\"\nkind = \"http\"\n\
             grid = \"g\"\npath = \"{path}\"\n{serve}\n[grids.g.nodes]\na = {{ plugin = \"a\" }}\n"
        );
        let manifest = Manifest::from_toml(&text).map_err(|faults| format!("{faults:?}"))?;
        Ok(manifest.triggers[0].http.clone())
    }

    #[test]
    fn a_trigger_that_serves_takes_what_lies_below_its_path() {
        let site = trigger("serve = \"plugin\"", "/site/*").expect("a trigger");
        for (path, letters) in
            [("/site", Some(5)), ("/site/", Some(5)), ("/site/a/b", Some(5)), ("/sites", None), ("/", None)]
        {
            assert_eq!(site.takes(path), letters, "{path}");
        }
        assert_eq!(trigger("serve = \"plugin\"", "/*").expect("all").takes("/anything"), Some(0));
        let one = trigger("serve = \"plugin\"", "/page").expect("a trigger");
        assert_eq!((one.takes("/page"), one.takes("/page/a")), (Some(usize::MAX), None));
        assert!(site.methods.len() > 1, "pages are asked for with all methods");
    }

    #[test]
    fn only_triggers_that_serve_end_in_a_star() {
        for (serve, path) in [("", "/site/*"), ("serve = \"plugin\"", "/si*te"), ("serve = \"plugin\"", "/site*")] {
            let refused = trigger(serve, path).expect_err(path);
            assert!(refused.contains("no path that a trigger can have"), "{refused}");
        }
    }
}
