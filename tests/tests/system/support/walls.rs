//! What must hold of a host whatever its guests do: it lives, its memory comes back, and a neighbour's run ends.
//!
//! Each attack is made several times, beside canaries of another account, and then as often again: the first times fill
//! pools, caches and the allocator's, which stay full; what grows after that is lost.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::{Account, Host, HostPlan, Outside, Stage, action, eventually, grants, node, project, reason};

/// How often an attack is made before memory is looked at, and between the two looks.
const REPEATS: u32 = 3;
/// How much more memory a host may have in use afterwards, in percent.
const GROWTH_PERCENT_MAX: u64 = 5;

/// A stage with an attacker, a neighbour, and a world outside that both may ask.
pub struct Walls {
    pub stage: Stage,
    pub outside: Outside,
    pub bad: Account,
    pub good: Account,
    /// How many attacks were deployed.
    count: Mutex<u32>,
}

/// What a guest does, and what its run says in the end.
pub struct Attack {
    /// As tests/guests/misbehave knows it.
    pub action: Value,
    pub limits: Value,
    pub ends: Ends,
}

pub enum Ends {
    /// The node fails with this kind, and its message has this in it.
    Failed(&'static str, &'static str),
    /// It comes to nothing bad; its output, as text, has this in it.
    Harmless(&'static str),
}

impl Attack {
    pub fn new(action: Value, ends: Ends) -> Self {
        Self { action, limits: json!({}), ends }
    }

    /// The node has these limits.
    pub fn limited(self, limits: Value) -> Self {
        Self { limits, ..self }
    }
}

impl Walls {
    pub async fn new() -> Self {
        Self::with(|plan| plan).await
    }

    pub async fn with(settings: impl FnOnce(HostPlan) -> HostPlan) -> Self {
        let outside = Outside::start().await;
        // Few instances: each that was used once keeps a little memory for the next call.
        let few = |plan: HostPlan| plan.allow(&outside).set("sandbox.instances_max", "8");
        // Large blocks go back to the system at once: what is seen is what the host holds.
        let honest = |plan: HostPlan| {
            plan.with_variable("MALLOC_MMAP_THRESHOLD_", "65536").with_variable("MALLOC_ARENA_MAX", "2")
        };
        let stage = Stage::with(|plan| settings(honest(few(plan)))).await;
        let (bad, good) = (stage.account("bad").await, stage.account("good").await);
        let canary = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": ". + 1" } });
        good.deploy(&project("canary", &json!({ "same": canary }))).await;
        Self { stage, outside, bad, good, count: Mutex::new(0) }
    }

    pub fn host(&self) -> &Host {
        &self.stage.host
    }

    /// A run of the neighbour's, from its event to its end.
    pub async fn canary(&self) {
        let run = self.good.run("canary", &json!(41)).await;
        assert_eq!(node(&run, "same")["outputs"]["out"], 42, "{run:#}");
    }

    /// Makes an attack by a guest, and sees what comes of it.
    pub async fn withstand(&self, attack: &Attack) {
        let project = self.deploy(attack).await;
        self.withstand_all(async || self.attack(&project, attack).await).await;
    }

    /// Makes any attack.
    pub async fn withstand_all(&self, attack: impl AsyncFn()) {
        self.beside_canaries(&attack).await;
        let before = self.settled_kib().await;
        self.beside_canaries(&attack).await;
        self.canary().await;
        let most = before + before * GROWTH_PERCENT_MAX / 100;
        let what = format!("memory of {before} KiB comes back to at most {most} KiB");
        eventually(&what, async || (self.host().resident_kib() <= most).then_some(())).await;
        assert!(!self.host().is_gone(), "the host lives");
    }

    async fn beside_canaries(&self, attack: &impl AsyncFn()) {
        for _ in 0..REPEATS {
            tokio::join!(attack(), self.canary());
        }
    }

    async fn deploy(&self, attack: &Attack) -> String {
        let number = {
            let mut count = self.count.lock().expect("nobody panics while holding it");
            *count += 1;
            *count
        };
        let mut node = action(&attack.action);
        node["limits"] = attack.limits.clone();
        node["retry"] = json!({ "attempts": 1 });
        node["grants"]["http"] = grants(&self.outside)["http"].clone();
        let name = format!("attack-{number}");
        self.bad.deploy(&project(&name, &json!({ "bad": node }))).await;
        name
    }

    async fn attack(&self, project: &str, attack: &Attack) {
        let run = self.bad.start(project, &json!(null)).await;
        let run = self.bad.ended(&run).await;
        match attack.ends {
            Ends::Failed(kind, says) => {
                let (was, message) = reason(&run, "bad");
                assert!(was == kind && message.contains(says), "{was}: {message}");
                assert_eq!(run["state"], "dead");
            }
            Ends::Harmless(says) => {
                assert_eq!(run["state"], "succeeded", "{run:#}");
                let output = node(&run, "bad")["outputs"]["out"].to_string();
                assert!(output.contains(says), "{output}");
            }
        }
    }

    /// What the host has in use when it has come to rest.
    async fn settled_kib(&self) -> u64 {
        let mut last = 0;
        eventually("the host's memory comes to rest", async || {
            let now = self.host().resident_kib();
            let is_settled = now.abs_diff(last) * 200 <= now;
            last = now;
            is_settled.then_some(now)
        })
        .await
    }
}
