//! What a configuration may say, and what is said when it is wrong.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Parser;
use tempfile::NamedTempFile;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    config: ConfigArgs,
}

fn args(flags: &[&str]) -> ConfigArgs {
    Command::try_parse_from(["trellis"].iter().chain(flags)).expect("clap takes any text").config
}

fn load(flags: &[&str], variables: &[(&str, &str)]) -> Result<LoadedConfig, ConfigMistakes> {
    Config::load(&args(flags), variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn load_file(text: &str, flags: &[&str], variables: &[(&str, &str)]) -> Result<LoadedConfig, ConfigMistakes> {
    let file = file(text);
    let path = file.path().to_str().expect("a plain path");
    load(&[&["--config", path], flags].concat(), variables)
}

/// The mistakes, with the file's random name replaced by `FILE`.
fn mistakes(text: &str, flags: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    let path = file.path().to_str().expect("a plain path");
    let refused = load(&[&["--config", path], flags].concat(), variables).expect_err("there are mistakes");
    refused.0.iter().map(|mistake| mistake.to_string().replace(path, "FILE")).collect()
}

#[test]
fn without_any_source_the_defaults_hold() {
    let config = load(&[], &[("PATH", "/bin"), ("HOME", "/root")]).expect("nothing is wrong").config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:7800");
    assert_eq!(config.data_dir, PathBuf::from(".trellis"));
    assert!(config.database.url.is_none() && config.public_url.is_none() && !config.allow_unsafe_durability);
    assert!(config.egress.allow_private.is_empty());
    assert_eq!(config.sandbox.limits, trellis_model::call_limits::CallLimits::default());
    assert_eq!(config.run.run_limits(), trellis_model::run_limits::RunLimits::default());
    assert_eq!(config.limiter.account_limits(), trellis_model::window::AccountLimits::default());
    assert_eq!(config.queue.lease, Duration::from_secs(10));
    assert_eq!(config.base_url(), "http://127.0.0.1:7800");
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let text = "data_dir = \"/file\"\n[http]\nbody_max = \"1KiB\"\ndrain = \"1s\"\nconnections_max = 7\n";
    let variables =
        [("TRELLIS_HTTP_BODY_MAX", "2KiB"), ("TRELLIS_DATA_DIR", "/variable"), ("TRELLIS_HTTP_DRAIN", "2s")];
    let flags = ["--data-dir", "/flag", "--set", "http.body_max=3KiB"];
    let config = load_file(text, &flags, &variables).expect("nothing is wrong").config;
    assert_eq!(config.http.body_max, ByteSize::kib(3));
    assert_eq!(config.data_dir, PathBuf::from("/flag"));
    assert_eq!(config.http.drain, Duration::from_secs(2));
    assert_eq!(config.http.connections_max, 7);
}

#[test]
fn every_kind_of_value_is_read_from_the_file_and_from_text() {
    let text = r#"
        listen = "[::1]:1"
        allow_unsafe_durability = true
        [egress]
        allow_private = ["127.0.0.1:9000", "[::1]:9001"]
        [log]
        format = "json"
        filter = "warn,trellis=debug"
        [limiter]
        mode = "cast"
        burst_per_minute = 10
        [sandbox]
        memory = 33554432
        [queue]
        lease = "20s"
        [history]
        housekeeping = "2m"
        [run]
        pending_keys = 7
        [uploads]
        compile_memory = 1073741824
    "#;
    let variables = [
        ("TRELLIS_LISTEN", "[::1]:1"),
        ("TRELLIS_ALLOW_UNSAFE_DURABILITY", "true"),
        ("TRELLIS_EGRESS_ALLOW_PRIVATE", "127.0.0.1:9000, [::1]:9001"),
        ("TRELLIS_LOG_FORMAT", "json"),
        ("TRELLIS_LOG_FILTER", "warn,trellis=debug"),
        ("TRELLIS_LIMITER_MODE", "cast"),
        ("TRELLIS_LIMITER_BURST_PER_MINUTE", "10"),
        ("TRELLIS_SANDBOX_MEMORY", "32MiB"),
        ("TRELLIS_QUEUE_LEASE", "20s"),
        ("TRELLIS_HISTORY_HOUSEKEEPING", "2m"),
        ("TRELLIS_RUN_PENDING_KEYS", "7"),
        ("TRELLIS_UPLOADS_COMPILE_MEMORY", "1GiB"),
    ];
    let from_file = load_file(text, &[], &[]).expect("nothing is wrong").config;
    let from_text = load(&[], &variables).expect("nothing is wrong").config;
    assert_eq!(format!("{from_file:?}"), format!("{from_text:?}"));
    assert_eq!(from_text.egress.allow_private.len(), 2);
    assert_eq!(from_text.sandbox.limits.memory_bytes, 32 << 20);
    assert_eq!(from_text.uploads.compile_memory, ByteSize::gib(1));
    assert_eq!(from_text.limiter.mode, IncrementMode::Cast);
    assert_eq!(from_text.log.format, LogFormat::Json);
    assert_eq!(from_text.log.filter.to_env_filter().to_string(), "trellis=debug,warn");
}

#[test]
fn all_mistakes_of_all_sources_are_told_at_once() {
    let text = "data_dri = \"x\"\n[http]\ndrain = \"30\"\nbody_max = \"2GiB\"\n";
    let flags = ["--listen", "everywhere", "--set", "limiter.mode=shout", "--set", "nonsense"];
    let variables = [("TRELLIS_QUEUE_LEASE", "1s"), ("TRELLIS_HTTP_CONECTIONS_MAX", "5")];
    assert_eq!(
        mistakes(text, &flags, &variables),
        [
            "flag --set: no key and value; write it like --set http.body_max=2MiB",
            "flag --listen: `everywhere` cannot be used; write an IP address and a port, such as \"0.0.0.0:7800\" or \"[::]:7800\"",
            "FILE: `http.body_max`: `2GiB` is out of bounds; use 1KiB to 1GiB",
            "FILE: `http.drain`: `30` cannot be used; write a time with its unit, such as \"500ms\", \"30s\" or \"5m\"",
            "environment variable TRELLIS_QUEUE_LEASE: `1s` is out of bounds; use 2s to 5m",
            "flag --set limiter.mode: `shout` cannot be used; write \"call\" or \"cast\"",
            "FILE: `data_dri`: there is no such setting; did you mean `data_dir`?",
            "environment variable TRELLIS_HTTP_CONECTIONS_MAX: there is no such setting; did you mean TRELLIS_HTTP_CONNECTIONS_MAX?",
        ]
    );
}

#[test]
fn values_of_the_wrong_shape_are_told_apart() {
    let cases = [
        ("http = 5", "FILE: `http`: `http` is a table; write its keys instead, such as `http.header_timeout`"),
        ("listen = { port = 1 }", "FILE: `listen.port`: `listen` is no table; give it a single value"),
        ("allow_unsafe_durability = \"perhaps\"", "`perhaps` cannot be used; write true or false"),
        ("[limiter]\nexact = 1.5", "`1.5` cannot be used; write true or false"),
        ("[limiter]\nsmoothing = \"soft\"", "`soft` cannot be used; write \"fixed\" or \"sliding\""),
        ("[queue]\nruns_max = -3", "`-3` cannot be used; write a whole number"),
        ("[queue]\nlease = 30", "`30` cannot be used; write a time with its unit"),
        ("[egress]\nallow_private = [\"127.0.0.1\"]", "`127.0.0.1` in the list cannot be used"),
        ("public_url = \"ftp://x\"", "`ftp://x` cannot be used; write an http or https address"),
        ("body_max = \"1MiB\"", "FILE: `body_max`: there is no such setting; did you mean `http.body_max`?"),
        ("[colours]\nwall = \"red\"", "did you mean `sandbox.wall`?"),
        ("whatever = 1", "there is no such setting; leave it out; --print-config lists all there are"),
        ("[log]\nfilter = \"trellis=loud\"", "`trellis=loud` cannot be used; write levels"),
        ("[uploads]\ndescribe_cpu = \"6s\"", "FILE: `uploads.describe_cpu`: it is more than the wall time; lower it"),
        ("[uploads]\ncompile_memory = \"1MiB\"", "`1MiB` is out of bounds; use 64MiB to 64GiB"),
        ("[sandbox]\ncpu = \"40s\"", "FILE: `sandbox.cpu`: it is more than the wall time; lower it"),
        (
            "[ceiling]\ncpu = \"1s\"",
            "FILE: `ceiling.cpu`: it is less than what every account has; raise it, or lower `sandbox.cpu`",
        ),
        (
            "[sandbox]\nmemory_total = \"32MiB\"",
            "FILE: `sandbox.memory_total`: it is less than a single call may use; raise it, or lower `sandbox.memory`",
        ),
        ("[sandbox]\nrequest_max = \"2GiB\"", "`2GiB` is out of bounds; use 0B to 1GiB"),
        ("[limiter]\nmode = \"cast\"\nexact = true", "FILE: `limiter.mode`: `cast` cannot be exact"),
    ];
    for (text, expected) in cases {
        let mistakes = mistakes(text, &[], &[]);
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        assert!(mistakes[0].contains(expected), "{text}: {}", mistakes[0]);
    }
}

#[test]
fn a_file_that_cannot_be_used_does_not_hide_other_mistakes() {
    let missing = load(&["--config", "/no/such/file", "--listen", "x"], &[]).expect_err("two mistakes");
    assert_eq!(missing.0.len(), 2);
    assert!(missing.to_string().starts_with("2 mistakes in the configuration:\n  - flag --config: /no/such/file"));

    let by_variable = load(&[], &[("TRELLIS_CONFIG", "/no/such/file")]).expect_err("a mistake");
    assert!(by_variable.to_string().contains("environment variable TRELLIS_CONFIG: /no/such/file cannot be read"));

    let broken = mistakes("[database]\nurl = \"postgres://me:hunter2@db/x\n", &["--listen", "x"], &[]);
    assert_eq!(broken.len(), 2);
    assert!(broken[0].starts_with("FILE: not TOML at line 2, column "), "{}", broken[0]);
    assert!(!broken[0].contains("hunter2"), "{}", broken[0]);
}

#[test]
fn the_particular_name_of_the_database_wins_over_the_common_one() {
    let url = |variables: &[(&str, &str)]| {
        let config = load(&[], variables).expect("nothing is wrong").config;
        config.database.url.map(|url| url.expose().to_owned())
    };
    let common = ("DATABASE_URL", "postgres://common/x");
    let particular = ("TRELLIS_DATABASE_URL", "postgresql://particular/x");
    assert_eq!(url(&[common]).as_deref(), Some("postgres://common/x"));
    assert_eq!(url(&[common, particular]).as_deref(), Some("postgresql://particular/x"));
    assert_eq!(url(&[("DATABASE_URL", "")]), None, "an empty variable is one that is not set");
}

#[test]
fn a_password_is_shown_nowhere() {
    for url in ["postgres://me:hunter2@db/x", "postgres://db/x?user=me&password=hunter2&sslmode=require"] {
        let loaded = load(&[], &[("DATABASE_URL", url)]).expect("nothing is wrong");
        let database = loaded.config.database.url.as_ref().expect("it is set");
        assert_eq!(database.expose(), url);
        for shown in [loaded.to_toml(), format!("{:?}", loaded.config), database.to_string()] {
            assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
        }
    }
    let wrong = load(&["--database-url", "mysql://me:hunter2@db/x"], &[("TRELLIS_DATABASE_UR", "hunter2")]);
    let text = wrong.expect_err("no Postgres").to_string();
    assert!(!text.contains("hunter2") && text.contains("flag --database-url: the address cannot be used"), "{text}");
}

#[test]
fn the_printed_configuration_gives_the_same_configuration() {
    let text = "[egress]\nallow_private = [\"127.0.0.1:9000\"]\n[sandbox]\nlog_max = \"1536B\"\n";
    let variables = [("TRELLIS_PUBLIC_URL", "https://hooks.example.com/"), ("DATABASE_URL", "postgres://db/x")];
    let first = load_file(text, &["--set", "http.drain=1m 30s"], &variables).expect("nothing is wrong");
    let printed = first.to_toml();
    assert!(printed.contains("drain = \"1m 30s\"  # from flag --set http.drain\n"), "{printed}");
    assert!(
        printed.contains("public_url = \"https://hooks.example.com/\"  # from environment variable TRELLIS_PUBLIC_URL")
    );
    assert!(printed.contains("\n[postgres]\n# bin is not set\n"), "{printed}");
    assert!(printed.contains("lease = \"10s\"\n"), "{printed}");
    let second = load_file(&printed, &[], &[]).expect("what is printed can be read");
    assert_eq!(format!("{:?}", first.config), format!("{:?}", second.config));
    assert_eq!(second.config.base_url(), "https://hooks.example.com");
}

#[test]
fn variables_that_belong_to_others_are_passed_over() {
    let variables = [
        ("TRELLIS_TOKEN", "trl_x"),
        ("TRELLIS_URL", "http://x"),
        ("TRELLIS_SERVICE_HOST", "10.0.0.1"),
        ("TRELLIS_SERVICE_PORT_HTTP", "80"),
        ("TRELLIS_PORT", "tcp://10.0.0.1:80"),
        ("TRELLIS_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("TRELLIS_HTTP_SERVICE_PORT", "80"),
        ("TRELLISES", "1"),
    ];
    load(&[], &variables).expect("none of them is a setting");
    assert!(load(&[], &[("TRELLIS_PORT", "80")]).is_err(), "this one someone has set by hand");
}

#[test]
fn an_address_that_means_all_is_not_one_to_go_to() {
    let config = load(&["--listen", "0.0.0.0:80"], &[]).expect("nothing is wrong").config;
    assert_eq!(config.base_url(), "http://localhost:80");
    let config = load(&["--listen", "localhost:81"], &[]).expect("nothing is wrong").config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:81");
}

#[test]
fn a_ceiling_follows_what_every_account_has_and_memory_can_always_be_given() {
    let text = "[sandbox]\nrequests = 5000\nmemory_total = \"128MiB\"\n";
    let sandbox = load_file(text, &[], &[]).expect("nothing is wrong").config.sandbox;
    assert_eq!(sandbox.ceilings.requests, 5_000);
    assert_eq!(sandbox.ceilings.memory_bytes, 128 << 20);
    assert_eq!(sandbox.ceilings.cpu_ms, trellis_model::call_limits::CallLimits::ceilings().cpu_ms);
}

#[test]
fn every_section_can_be_set_by_variables() {
    let variables = [
        ("TRELLIS_CEILING_CPU", "90s"),
        ("TRELLIS_HISTORY_HOUSEKEEPING", "2m"),
        ("TRELLIS_RUN_PENDING_KEYS", "7"),
        ("TRELLIS_SANDBOX_ACCOUNT_PERCENT", "50"),
    ];
    let config = load(&[], &variables).expect("nothing is wrong").config;
    assert_eq!(config.sandbox.ceilings.cpu_ms, 90_000);
    assert_eq!(config.history.housekeeping, Duration::from_secs(120));
    assert_eq!(config.run.pending_keys, 7);
    assert_eq!(config.sandbox.account_percent, 50);
}

#[test]
fn lists_in_flags_are_written_with_commas_or_as_in_a_file() {
    let texts = ["127.0.0.1:9000,[::1]:9001", "[\"127.0.0.1:9000\", \"[::1]:9001\"]", "localhost:9000, [::1]:9001"];
    for text in texts {
        let loaded = load(&["--set", &format!("egress.allow_private={text}")], &[]).expect(text);
        let shown: Vec<String> = loaded.config.egress.allow_private.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1:9000", "[::1]:9001"], "{text}");
    }
    for (text, item) in
        [("10.0.0.1", "10.0.0.1"), ("[\"10.0.0.1:80\", \"db\"]", "db"), ("http://localhost:80", "http://localhost:80")]
    {
        let refused = load(&["--set", &format!("egress.allow_private={text}")], &[]).expect_err(text).to_string();
        let expected = format!("`{item}` in the list cannot be used; write IP addresses with ports");
        assert!(refused.contains(&expected) && refused.contains("elsewhere as 127.0.0.1:9000"), "{refused}");
    }
    let denied = load(&["--set", "egress.deny=[\"203.0.113.0/24\", \"*.example.com\"]"], &[]).expect("a list");
    assert_eq!(denied.config.egress.deny.len(), 2);
}

#[test]
fn what_settings_lead_to_is_told_together_with_all_else() {
    let args = args(&["--set", "tokens.operator_file=missing", "--set", "http.body_max=much"]);
    let look = |config: &Config| {
        assert_eq!(config.tokens.operator_file, Some(PathBuf::from("missing")));
        vec![("tokens.operator_file", "it is not there".to_owned(), "write one")]
    };
    let refused = Config::load_with(&args, [], look).expect_err("two mistakes").to_string();
    for part in ["2 mistakes", "--set tokens.operator_file: it is not there; write one", "--set http.body_max"] {
        assert!(refused.contains(part), "{refused}");
    }
}
