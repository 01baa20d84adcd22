//! The targets of a project: services that take only so many requests, and how many that is.

use std::{fmt, str::FromStr};

use url::{Host, Url};

use super::{
    SECTIONS_MAX, check_count,
    document::{Item, ItemKind},
    reader::{Faults, Fields},
};
use crate::{
    grant::{HostPattern, host_pattern},
    targets::{RateLimit, TargetLimit},
};

/// Hosts that take a limited number of requests. Of several that match a request, the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub hosts: TargetHosts,
    pub limit: TargetLimit,
    /// How long a request waits within its call before its node is suspended, in milliseconds.
    pub wait_max_ms: u64,
    /// Whether all hosts that the pattern covers have one limit together. Otherwise each has its own.
    pub is_shared: bool,
}

impl Target {
    /// The one of `targets` that holds a request to `url`, and the name of the host whose limit counts.
    pub fn find<'t>(targets: &'t [Self], url: &Url) -> Option<(&'t Self, String)> {
        let target = targets.iter().find(|target| target.hosts.matches(url))?;
        let host = if target.is_shared { String::new() } else { url.host_str()?.to_owned() };
        Some((target, host))
    }
}

/// `api.example.com`, `*.example.com`, either with a port; without one, every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHosts {
    pattern: HostPattern,
    port: Option<u16>,
}

/// Text that is no pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTargetHosts {
    #[error("`{0}` is a URL; write the host alone, like `api.example.com` or `*.example.com`")]
    Url(String),
    #[error("`{0}`: `*` may only stand for the leftmost labels of a name, like `*.example.com`")]
    Wildcard(String),
    #[error("`{0}` is no host; write it like `api.example.com`, `*.example.com` or `api.example.com:8443`")]
    Host(String),
}

impl TargetHosts {
    /// Whether a request to `url` goes to one of these hosts.
    pub fn matches(&self, url: &Url) -> bool {
        self.port.is_none_or(|port| url.port_or_known_default() == Some(port))
            && url.host().is_some_and(|host| self.pattern.matches(&host))
    }

    /// Whether every request that `other` matches is matched by this.
    fn covers(&self, other: &Self) -> bool {
        let covers_port = self.port.is_none() || self.port == other.port;
        let covers_host = match (&self.pattern, &other.pattern) {
            (_, HostPattern::Exact(host)) => self.pattern.matches(&borrowed(host)),
            (HostPattern::Subdomains(own), HostPattern::Subdomains(others)) => others.ends_with(own.as_str()),
            (HostPattern::Exact(_), HostPattern::Subdomains(_)) => false,
        };
        covers_port && covers_host
    }
}

fn borrowed(host: &Host) -> Host<&str> {
    match host {
        Host::Domain(domain) => Host::Domain(domain),
        Host::Ipv4(address) => Host::Ipv4(*address),
        Host::Ipv6(address) => Host::Ipv6(*address),
    }
}

impl FromStr for TargetHosts {
    type Err = InvalidTargetHosts;

    fn from_str(text: &str) -> Result<Self, InvalidTargetHosts> {
        if text.contains('/') {
            return Err(InvalidTargetHosts::Url(text.to_owned()));
        }
        let invalid = || InvalidTargetHosts::Host(text.to_owned());
        let (is_wildcard, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        if rest.contains('*') {
            return Err(InvalidTargetHosts::Wildcard(text.to_owned()));
        }
        // A URL parser drops a port that is its scheme's own, so the port is read here.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?))
            }
            _ => (rest, None),
        };
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| invalid())?;
        let is_host_alone = url.port().is_none()
            && url.path() == "/"
            && url.username().is_empty()
            && url.query().is_none()
            && url.fragment().is_none();
        if !is_host_alone {
            return Err(invalid());
        }
        let pattern = host_pattern(&url, is_wildcard).ok_or_else(|| InvalidTargetHosts::Wildcard(text.to_owned()))?;
        Ok(Self { pattern, port })
    }
}

impl fmt::Display for TargetHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            HostPattern::Exact(host) => write!(f, "{host}")?,
            HostPattern::Subdomains(suffix) => write!(f, "*{suffix}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Requests in a window, and in a bucket, at most.
const REQUESTS_MAX: u64 = 1_000_000;
const PER_LEAST_MS: u64 = 100;
const PER_MOST_MS: u64 = 31 * 86_400_000;
/// Requests that leak from a bucket in a second: from one in about twenty minutes on.
const LEAK_LEAST: f64 = 0.001;
const LEAK_MOST: f64 = 100_000.0;
const CONCURRENCY_MAX: u64 = 10_000;
/// Long enough for most bursts, short enough that few instances stand about waiting.
const WAIT_DEFAULT_MS: u64 = 3_000;
const WAIT_MOST_MS: u64 = 60_000;
const DEFAULT_PER_MS: u64 = 1_000;

const KEYS: [&str; 10] =
    ["name", "host", "rate", "per", "smooth", "bucket", "leak", "concurrency", "wait_max", "shared"];

pub(super) fn read(faults: &mut Faults, item: &Item) -> Vec<Target> {
    let items = faults.list(item);
    check_count(faults, item, items.len(), SECTIONS_MAX, "targets");
    let mut targets: Vec<Target> = Vec::new();
    for item in items.iter().take(SECTIONS_MAX) {
        if let Some(target) = read_target(faults, item) {
            check_earlier(faults, item, &target, &targets);
            targets.push(target);
        }
    }
    targets
}

fn read_target(faults: &mut Faults, item: &Item) -> Option<Target> {
    let fields = faults.fields(item, &KEYS);
    let name_item = fields.required(faults, "name", "add `name = \"…\"`");
    let name = name_item.and_then(|item| faults.text(item)).unwrap_or_default();
    if let Some(item) = name_item {
        faults.name(&name, &item.place, "target");
    }
    let hosts = fields.required(faults, "host", "add `host = \"api.example.com\"`");
    let hosts = hosts.and_then(|item| faults.parsed(item));
    let limit = TargetLimit { rate: read_rate(faults, item, fields), concurrency: read_concurrency(faults, fields) };
    let says_nothing = ["rate", "bucket", "concurrency"].iter().all(|key| fields.optional(key).is_none());
    if says_nothing && matches!(item.kind, ItemKind::Table(_)) {
        let fault = item.place.fault(format!("target `{name}` limits nothing"));
        faults.push(fault.fix("add `rate` with `per`, `bucket` with `leak`, or `concurrency`"));
    }
    let wait_max = fields.optional("wait_max").and_then(|item| faults.duration_ms(item, 0, WAIT_MOST_MS));
    let is_shared = fields.optional("shared").is_some_and(|item| read_flag(faults, item));
    Some(Target { name, hosts: hosts?, limit, wait_max_ms: wait_max.unwrap_or(WAIT_DEFAULT_MS), is_shared })
}

/// `rate` with `per`, smoothed or not; or `bucket` with `leak`.
fn read_rate(faults: &mut Faults, item: &Item, fields: Fields<'_>) -> Option<RateLimit> {
    if fields.optional("bucket").is_some() || fields.optional("leak").is_some() {
        for key in ["rate", "per", "smooth"] {
            if let Some(other) = fields.optional(key) {
                let fault =
                    other.place.fault(format!("`{key}` says how a window counts, and this target has a bucket"));
                faults.push(fault.fix("keep either `rate` with `per`, or `bucket` with `leak`"));
            }
        }
        let size = fields.required(faults, "bucket", "add `bucket = 40`: how many may be sent at once");
        let size = size.and_then(|item| faults.whole_number(item, 1, REQUESTS_MAX));
        let leak = fields.required(faults, "leak", "add `leak = 2.0`: how many a second may be sent in the long run");
        let leak = leak.and_then(|item| faults.number(item, LEAK_LEAST, LEAK_MOST));
        return Some(RateLimit::Bucket { size: narrow(size?), interval_us: (1_000_000.0 / leak?).ceil() as i64 });
    }
    let per = fields.optional("per").map(|item| faults.duration_ms(item, PER_LEAST_MS, PER_MOST_MS));
    let is_smooth = fields.optional("smooth").map(|item| read_flag(faults, item));
    let Some(rate) = fields.optional("rate") else {
        if per.is_some() || is_smooth.is_some() {
            let fault = item.place.fault("`per` and `smooth` mean nothing without `rate`");
            faults.push(fault.fix("add `rate`: how many requests in that time"));
        }
        return None;
    };
    let max = narrow(faults.whole_number(rate, 1, REQUESTS_MAX)?);
    let period_ms = per.unwrap_or(Some(DEFAULT_PER_MS))?.cast_signed();
    if is_smooth == Some(true) {
        // Evenly spaced: a bucket for one.
        let interval_us = (period_ms * 1_000 + i64::from(max) - 1) / i64::from(max);
        return Some(RateLimit::Bucket { size: 1, interval_us });
    }
    Some(RateLimit::Window { max, period_ms })
}

fn read_concurrency(faults: &mut Faults, fields: Fields<'_>) -> Option<u32> {
    fields.optional("concurrency").and_then(|item| faults.whole_number(item, 1, CONCURRENCY_MAX)).map(narrow)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("checked range")
}

fn read_flag(faults: &mut Faults, item: &Item) -> bool {
    let ItemKind::Bool(flag) = item.kind else {
        faults.push(item.place.fault(format!("expected true or false, found {}", item.kind_name())));
        return false;
    };
    flag
}

/// A target of the same name could not be told apart, and one behind a wider pattern would never be reached.
fn check_earlier(faults: &mut Faults, item: &Item, target: &Target, earlier: &[Target]) {
    if !target.name.is_empty() && earlier.iter().any(|other| other.name == target.name) {
        faults.push(item.place.fault(format!("target `{}` is defined twice", target.name)).fix("rename one of them"));
    }
    if let Some(other) = earlier.iter().find(|other| other.hosts.covers(&target.hosts)) {
        let (name, hosts) = (&target.name, &target.hosts);
        let message = format!("target `{name}` is never reached: `{}` above takes all of `{hosts}`", other.name);
        faults.push(item.place.fault(message).fix(format!("put it before `{}`", other.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::Fault, manifest::Manifest};

    fn read(targets: &str) -> Result<Vec<Target>, Vec<Fault>> {
        Manifest::from_toml(&format!("[project]\nname = \"p\"\n{targets}")).map(|manifest| manifest.targets)
    }

    fn one(lines: &str) -> Target {
        let mut targets = read(&format!("[[targets]]\nname = \"t\"\n{lines}")).expect("valid");
        targets.remove(0)
    }

    fn check(lines: &str, expected: &str) {
        let faults = read(&format!("[[targets]]\nname = \"t\"\n{lines}")).expect_err(lines);
        assert!(faults.iter().any(|fault| fault.to_string().contains(expected)), "{lines}: {faults:#?}");
        assert!(faults.iter().all(|fault| fault.pointer.starts_with("/targets/0")), "{lines}: {faults:#?}");
    }

    #[test]
    fn every_kind_of_limit_is_understood() {
        let shopify = one("host = \"*.myshopify.com\"\nbucket = 40\nleak = 2.0\nconcurrency = 4\nwait_max = \"5s\"");
        assert_eq!(shopify.limit.rate, Some(RateLimit::Bucket { size: 40, interval_us: 500_000 }));
        assert_eq!((shopify.limit.concurrency, shopify.wait_max_ms, shopify.is_shared), (Some(4), 5_000, false));
        let rate = |lines: &str| one(&format!("host = \"a.example.com\"\n{lines}")).limit.rate;
        assert_eq!(rate("rate = 5\nper = \"1m\""), Some(RateLimit::Window { max: 5, period_ms: 60_000 }));
        assert_eq!(rate("rate = 5"), Some(RateLimit::Window { max: 5, period_ms: 1_000 }));
        let spaced = Some(RateLimit::Bucket { size: 1, interval_us: 333_334 });
        assert_eq!(rate("rate = 3\nper = \"1s\"\nsmooth = true"), spaced);
        assert_eq!(rate("concurrency = 1"), None);
    }

    #[test]
    fn what_the_readme_shows_is_valid() {
        let readme = include_str!("../../../../README.md");
        let shown = readme.split("```").find_map(|block| block.strip_prefix("toml\n[[targets]]")).expect("an example");
        assert_eq!(read(&format!("[[targets]]{shown}")).map(|targets| targets.len()), Ok(3));
    }

    #[test]
    fn what_cannot_be_meant_is_a_fault_that_says_how_to_mend_it() {
        check("host = \"a.example.com\"", "limits nothing");
        check("host = \"https://a.example.com\"\nrate = 1", "is a URL; write the host alone");
        check("host = \"a.*.com\"\nrate = 1", "like `*.example.com`");
        check("host = \"*\"\nrate = 1", "like `*.example.com`");
        check("host = \"*.10.0.0.1\"\nrate = 1", "like `*.example.com`");
        check("host = \"a b\"\nrate = 1", "is no host");
        check("host = \"a.example.com:port\"\nrate = 1", "is no host");
        check("host = \"a.example.com:0\"\nrate = 1", "is no host");
        check("host = \"u@a.example.com\"\nrate = 1", "is no host");
        check("rate = 1", "`host` is missing");
        check("host = \"a.example.com\"\nrat = 1", "did you mean `rate`?");
        check("host = \"a.example.com\"\nrate = 0", "out of range");
        check("host = \"a.example.com\"\nrate = 1\nper = \"1ms\"", "is allowed");
        check("host = \"a.example.com\"\nper = \"1s\"\nconcurrency = 1", "mean nothing without `rate`");
        check("host = \"a.example.com\"\nbucket = 1", "`leak` is missing");
        check("host = \"a.example.com\"\nbucket = 1\nleak = 1\nrate = 2", "keep either");
        check("host = \"a.example.com\"\nrate = 1\nshared = \"yes\"", "expected true or false");
        check("host = \"a.example.com\"\nrate = 1\nwait_max = \"1h\"", "is allowed");
    }

    #[test]
    fn a_target_that_is_never_reached_is_a_fault() {
        let two = |first: &str, second: &str| {
            read(&format!(
                "[[targets]]\nname = \"a\"\nhost = \"{first}\"\nrate = 1\n[[targets]]\nname = \"b\"\nhost = \"{second}\"\nrate = 1"
            ))
        };
        for (first, second) in [
            ("*.example.com", "api.example.com"),
            ("*.example.com", "*.eu.example.com"),
            ("*.example.com", "*.example.com:8443"),
            ("api.example.com", "API.example.com"),
        ] {
            let faults = two(first, second).expect_err(second);
            assert!(faults[0].to_string().contains("never reached"), "{faults:?}");
            assert!(faults[0].to_string().contains("put it before `a`"), "{faults:?}");
        }
        for (first, second) in [
            ("api.example.com", "*.example.com"),
            ("*.example.com:8443", "*.example.com"),
            ("*.example.com", "example.com"),
            ("*.example.com", "badexample.com"),
        ] {
            assert_eq!(two(first, second).map(|targets| targets.len()), Ok(2), "{first}, {second}");
        }
    }

    #[test]
    fn the_first_target_that_matches_counts_and_each_host_has_its_own_limit() {
        let targets = read(
            "[[targets]]\nname = \"own\"\nhost = \"one.example.com\"\nrate = 1\n\
             [[targets]]\nname = \"shops\"\nhost = \"*.example.com\"\nrate = 1\n\
             [[targets]]\nname = \"all\"\nhost = \"*.example.net:8080\"\nrate = 1\nshared = true\n\
             [[targets]]\nname = \"six\"\nhost = \"[::1]:80\"\nrate = 1",
        )
        .expect("valid");
        let find = |url: &str| {
            let url = Url::parse(url).expect("valid");
            Target::find(&targets, &url).map(|(target, host)| (target.name.clone(), host))
        };
        let found = |name: &str, host: &str| Some((name.to_owned(), host.to_owned()));
        assert_eq!(find("https://one.example.com/x"), found("own", "one.example.com"));
        assert_eq!(find("https://Two.example.com:99/"), found("shops", "two.example.com"));
        assert_eq!(find("http://a.example.net:8080/"), found("all", ""));
        assert_eq!(find("http://a.example.net/"), None);
        assert_eq!(find("http://[::1]/"), found("six", "[::1]"));
        assert_eq!(find("https://example.org/"), None);
    }
}
