//! An engine with the misbehaving guest loaded, and short ways to call it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use bytes::Bytes;
use serde_json::Value;
use trellis_engine::{
    Call, CallReport, Digest, Effects, Engine, EngineConfig, Entry, Event, Failure, FailureKind, ListedKey, Outbound,
    Outcome, Secrets, Storage, StorageUnavailable, Transformer,
};
use trellis_model::{AccountId, call_limits::CallLimits, grant::Grants};

/// The component of `tests/guests/misbehave`, built once per process.
pub fn misbehave() -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES
        .get_or_init(|| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/misbehave");
            let built = trellis_build::build_plugin(&folder, &mut |_| {}).expect("the guest builds");
            built.bytes.into()
        })
        .clone()
}

/// The component of `tests/guests/keyvalue`, built once per process.
pub fn keyvalue() -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES
        .get_or_init(|| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/keyvalue");
            let built = trellis_build::build_plugin(&folder, &mut |_| {}).expect("the guest builds");
            built.bytes.into()
        })
        .clone()
}

/// Shared by all tests, so that the guest is compiled once per machine and not once per test.
fn artefacts_folder() -> PathBuf {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    COMPILED
        .get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-artefacts");
            let engine = Engine::new(&EngineConfig::new(&folder)).expect("an engine");
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(engine.compile(misbehave())).expect("the guest is accepted");
            })
            .join()
            .expect("the guest compiles");
            folder
        })
        .clone()
}

pub fn config() -> EngineConfig {
    EngineConfig { instances_max: 4, ..EngineConfig::new(artefacts_folder()) }
}

/// An engine, the misbehaving guest in it, and what its calls are given.
pub struct Fixture {
    pub engine: Engine,
    pub transformer: Arc<Transformer>,
    pub limits: CallLimits,
    pub grants: Grants,
    pub secrets: Secrets,
    pub storage: Arc<dyn Storage>,
    pub outbound: Option<Arc<dyn Outbound>>,
    pub config: Arc<str>,
    pub attributes: Vec<(String, String)>,
}

impl Fixture {
    pub async fn new() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: EngineConfig) -> Self {
        let engine = Engine::new(&config).expect("an engine");
        let digest = Digest::of(&misbehave());
        let transformer =
            engine.load(digest, || async { Ok::<_, String>(misbehave()) }).await.expect("the guest is accepted");
        Self {
            engine,
            transformer,
            limits: CallLimits::default(),
            grants: Grants::default(),
            secrets: Secrets::default(),
            storage: Arc::new(Committed::default()),
            outbound: None,
            config: "{}".into(),
            attributes: vec![("trigger".to_owned(), "tasks".to_owned())],
        }
    }

    /// The same, with the guest that knows `wasi:keyvalue` alone.
    pub async fn with_keyvalue() -> Self {
        let fixture = Self::new().await;
        let digest = Digest::of(&keyvalue());
        let load = fixture.engine.load(digest, || async { Ok::<_, String>(keyvalue()) });
        let transformer = load.await.expect("the guest is accepted");
        Self { transformer, ..fixture }
    }

    pub fn grant(mut self, http: &[&str], storage: &[&str]) -> Self {
        self.grants.http = http.iter().map(|grant| grant.parse().expect("a valid grant")).collect();
        self.grants.storage = storage.iter().map(|grant| grant.parse().expect("a valid grant")).collect();
        self
    }

    pub fn call_of(&self, action: &Value) -> Call {
        Call {
            account: AccountId(1),
            event: Event {
                run: "run_0000000000001".to_owned(),
                node: "total".to_owned(),
                attempt: 1,
                idempotency_key: "run_0000000000001-total".to_owned(),
                attributes: self.attributes.clone(),
                inputs: vec![("in".to_owned(), action.to_string())],
            },
            config: Arc::clone(&self.config),
            limits: self.limits,
            grants: Arc::new(self.grants.clone()),
            secrets: Arc::new(self.secrets.clone()),
            storage: Arc::clone(&self.storage),
            outbound: self.outbound.clone().unwrap_or_else(|| self.engine.outbound(AccountId(1))),
            targets: None,
            progress: None,
            clock: None,
        }
    }

    pub async fn call(&self, action: Value) -> CallReport {
        self.transformer.call(self.call_of(&action)).await
    }

    /// Calls, and expects one emission to `out`.
    pub async fn output(&self, action: Value) -> Value {
        let effects = effects(self.call(action).await);
        assert_eq!(effects.emissions.len(), 1, "{effects:?}");
        assert_eq!(effects.emissions[0].port, "out");
        serde_json::from_str(effects.emissions[0].json.get()).expect("the engine checked that it is JSON")
    }

    /// Calls, and expects a failure of this kind whose message has `text` in it.
    pub async fn fails(&self, action: Value, kind: FailureKind, text: &str) -> CallReport {
        let shown = action.to_string();
        let report = self.call(action).await;
        let failure = failure(&report);
        assert_eq!(failure.kind, kind, "{shown}: {failure}");
        assert!(failure.message.contains(text), "{shown}: {failure}");
        report
    }

    /// The guest still works, and so does the engine.
    pub async fn is_well(&self) {
        let output = self.output(serde_json::json!({"do": "random", "bytes": 5})).await;
        assert_eq!(output, serde_json::json!(5));
    }
}

pub fn effects(report: CallReport) -> Effects {
    match report.outcome {
        Outcome::Emitted(effects) => effects,
        Outcome::Failed(failure) => panic!("failed: {failure}; log: {:?}", report.log),
        Outcome::Suspended(full) => panic!("suspended: {full}"),
    }
}

pub fn failure(report: &CallReport) -> &Failure {
    match &report.outcome {
        Outcome::Failed(failure) => failure,
        Outcome::Emitted(effects) => panic!("did not fail: {effects:?}"),
        Outcome::Suspended(full) => panic!("suspended: {full}"),
    }
}

/// Committed state in a map.
#[derive(Default)]
pub struct Committed {
    pub entries: Mutex<BTreeMap<(String, String), Entry>>,
    pub unavailable: bool,
}

impl Committed {
    pub fn of(entries: &[(&str, &str, &str, u64)]) -> Arc<dyn Storage> {
        let entries = entries.iter().map(|(store, key, value, revision)| {
            let entry = Entry { value: value.as_bytes().to_vec(), revision: *revision };
            (((*store).to_owned(), (*key).to_owned()), entry)
        });
        Arc::new(Self { entries: Mutex::new(entries.collect()), unavailable: false })
    }

    fn check(&self) -> Result<(), StorageUnavailable> {
        if self.unavailable { Err(StorageUnavailable("no connection".to_owned())) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl Storage for Committed {
    async fn get(&self, store: &str, key: &str) -> Result<Option<Entry>, StorageUnavailable> {
        self.check()?;
        let key = (store.to_owned(), key.to_owned());
        Ok(self.entries.lock().expect("not poisoned").get(&key).cloned())
    }

    async fn list(
        &self,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ListedKey>, StorageUnavailable> {
        self.check()?;
        let entries = self.entries.lock().expect("not poisoned");
        let matching = entries.iter().filter(|((name, key), _)| {
            name == store && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
        });
        let listed = matching.map(|((_, key), entry)| ListedKey { key: key.clone(), revision: entry.revision });
        Ok(listed.take(limit as usize).collect())
    }
}
