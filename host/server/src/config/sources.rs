//! Collecting what was written, wherever it was written: one layer over the other, each value knowing its origin.
//!
//! Does not know which settings there are, but for the names of the sections, without which a variable's name could not
//! be told apart into section and key.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{args::ConfigArgs, mistake::ConfigMistake};

/// The tables of the file, and the first words of variables after `TRELLIS_`.
pub(super) const SECTIONS: [&str; 14] = [
    "database",
    "postgres",
    "http",
    "tokens",
    "queue",
    "history",
    "run",
    "limiter",
    "sandbox",
    "ceiling",
    "uploads",
    "egress",
    "credentials",
    "log",
];

/// Variables that begin with `TRELLIS_` but belong to others: the command line as a client, builds of plugins, and this
/// module.
const NO_SETTINGS: [&str; 6] = [
    "TRELLIS_CONFIG",
    "TRELLIS_ACCOUNT",
    "TRELLIS_BUILD_DIR",
    "TRELLIS_TOKEN",
    "TRELLIS_URL",
    "TRELLIS_REGISTRY_PASSWORD",
];

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Default,
    /// A file, and the key in it (empty: the file as a whole).
    File(PathBuf, String),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, key) if key.is_empty() => write!(f, "{}", path.display()),
            Self::File(path, key) => write!(f, "{}: `{key}`", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

impl Origin {
    /// How this origin would spell a setting, for suggestions.
    pub fn spelling_of(&self, key: &str) -> String {
        match self {
            Self::Variable(_) => variable_of(key),
            Self::Flag(_) => format!("--set {key}="),
            Self::Default | Self::File(..) => format!("`{key}`"),
        }
    }
}

/// `http.body_max` → `TRELLIS_HTTP_BODY_MAX`.
pub fn variable_of(key: &str) -> String {
    format!("TRELLIS_{}", key.replace('.', "_").to_uppercase())
}

/// What was written, by dotted key, and what could not even be read.
#[derive(Debug)]
pub(super) struct Collected {
    pub values: BTreeMap<String, (Value, Origin)>,
    pub mistakes: Vec<ConfigMistake>,
}

/// Reads all sources, the strongest last.
pub(super) fn collect(args: &ConfigArgs, environment: impl IntoIterator<Item = (String, String)>) -> Collected {
    // An empty variable is how shells and compose files spell "not set".
    let variables: BTreeMap<String, String> = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut mistakes = Vec::new();
    let mut origins = Origins::default();
    let mut figment = Figment::new();
    for layer in file_layer(args, &variables, &mut mistakes)
        .into_iter()
        .chain(variable_layers(&variables))
        .chain(flag_layers(args, &mut mistakes))
    {
        figment = figment.merge(origins.register(layer));
    }
    // Only our own layers were merged, and those cannot fail.
    let merged = figment.data().expect("layers are dictionaries").remove(&Profile::Default).unwrap_or_default();
    let mut values = BTreeMap::new();
    flatten("", merged, &mut |key, value| {
        let origin = origins.of(&figment, &value, &key);
        values.insert(key, (value, origin));
    });
    Collected { values, mistakes }
}

/// Tables become dotted keys; arrays stay values.
fn flatten(prefix: &str, dict: Dict, take: &mut impl FnMut(String, Value)) {
    for (name, value) in dict {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Dict(_, inner) => flatten(&key, inner, take),
            value => take(key, value),
        }
    }
}

/// The values of one origin.
struct Layer {
    origin: Origin,
    values: Dict,
}

impl Layer {
    fn of_one(origin: Origin, key: &str, text: &str) -> Self {
        let nested = |value: Value, name: &str| Value::from(Map::from([(name.to_owned(), value)]));
        let value = key.rsplit('.').fold(Value::from(text), nested);
        let values = value.into_dict().expect("the fold wraps at least once");
        Self { origin, values }
    }
}

/// Figment keeps a name with each value; ours are too rich for a name, so they are looked up by number.
#[derive(Default)]
struct Origins(Vec<Origin>);

struct NumberedLayer {
    number: usize,
    values: Dict,
}

impl Provider for NumberedLayer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.number.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Origins {
    fn register(&mut self, layer: Layer) -> NumberedLayer {
        self.0.push(layer.origin);
        NumberedLayer { number: self.0.len() - 1, values: layer.values }
    }

    fn of(&self, figment: &Figment, value: &Value, key: &str) -> Origin {
        let number = figment.get_metadata(value.tag()).and_then(|metadata| metadata.name.parse::<usize>().ok());
        match number.and_then(|number| self.0.get(number)) {
            Some(Origin::File(path, _)) => Origin::File(path.clone(), key.to_owned()),
            Some(origin) => origin.clone(),
            None => Origin::Default,
        }
    }
}

fn file_layer(
    args: &ConfigArgs,
    variables: &BTreeMap<String, String>,
    mistakes: &mut Vec<ConfigMistake>,
) -> Option<Layer> {
    let (path, named_by) = match (&args.config, variables.get("TRELLIS_CONFIG")) {
        (Some(path), _) => (path.clone(), Origin::Flag("--config".to_owned())),
        (None, Some(path)) => (PathBuf::from(path), Origin::Variable("TRELLIS_CONFIG".to_owned())),
        (None, None) => return None,
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            let problem = format!("{} cannot be read: {error}", path.display());
            mistakes.push(ConfigMistake::new(named_by, problem, "name a TOML file, or leave it out"));
            return None;
        }
    };
    match toml::from_str::<Dict>(&text) {
        Ok(values) => Some(Layer { origin: Origin::File(path, String::new()), values }),
        Err(error) => {
            mistakes.push(syntax_mistake(&path, &text, &error));
            None
        }
    }
}

/// The line and column instead of the line itself, which may hold a password.
fn syntax_mistake(path: &Path, text: &str, error: &toml::de::Error) -> ConfigMistake {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text.as_bytes()[..start];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = start - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) + 1;
    let problem = format!("not TOML at line {line}, column {column}");
    let reason = error.message().lines().next().unwrap_or("mend the syntax").to_owned();
    ConfigMistake::new(Origin::File(path.to_owned(), String::new()), problem, reason)
}

fn variable_layers(variables: &BTreeMap<String, String>) -> Vec<Layer> {
    // The name that every platform uses; our own, more particular one comes after it and wins.
    let common = variables.get("DATABASE_URL");
    let common = common.map(|url| Layer::of_one(Origin::Variable("DATABASE_URL".to_owned()), "database.url", url));
    let ours = variables.iter().filter_map(|(name, value)| {
        let key = key_of_variable(name, value)?;
        Some(Layer::of_one(Origin::Variable(name.clone()), &key, value))
    });
    common.into_iter().chain(ours).collect()
}

/// `TRELLIS_HTTP_BODY_MAX` → `http.body_max`, `TRELLIS_DATA_DIR` → `data_dir`.
fn key_of_variable(name: &str, value: &str) -> Option<String> {
    let rest = name.strip_prefix("TRELLIS_")?;
    if NO_SETTINGS.contains(&name) || is_service_link(rest, value) {
        return None;
    }
    let lower = rest.to_lowercase();
    let in_section = SECTIONS.iter().find_map(|section| {
        let key = lower.strip_prefix(section)?.strip_prefix('_')?;
        Some(format!("{section}.{key}"))
    });
    Some(in_section.unwrap_or(lower))
}

/// What Kubernetes and Docker set in every container when a service beside it is called `trellis…`.
fn is_service_link(rest: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let rest = format!("_{rest}");
    rest.contains("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains("_PORT_") && rest.contains(protocol))
        || (rest.ends_with("_PORT") && is_address)
}

fn flag_layers(args: &ConfigArgs, mistakes: &mut Vec<ConfigMistake>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for assignment in &args.set {
        match assignment.split_once('=') {
            Some((key, value)) if is_key(key) => {
                layers.push(Layer::of_one(Origin::Flag(format!("--set {key}")), key, value));
            }
            // Not quoted: what stands there may be a password that lost its key.
            _ => mistakes.push(ConfigMistake::new(
                Origin::Flag("--set".to_owned()),
                "no key and value",
                "write it like --set http.body_max=2MiB",
            )),
        }
    }
    let unsafe_durability = args.allow_unsafe_durability.then(|| "true".to_owned());
    let own = [
        ("--listen", "listen", &args.listen),
        ("--public-url", "public_url", &args.public_url),
        ("--data-dir", "data_dir", &args.data_dir),
        ("--database-url", "database.url", &args.database_url),
        ("--log-format", "log.format", &args.log_format),
        ("--log-filter", "log.filter", &args.log_filter),
        ("--allow-unsafe-durability", "allow_unsafe_durability", &unsafe_durability),
    ];
    layers.extend(
        own.into_iter().filter_map(|(flag, key, value)| {
            Some(Layer::of_one(Origin::Flag(flag.to_owned()), key, value.as_deref()?))
        }),
    );
    layers
}

fn is_key(key: &str) -> bool {
    key.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}
