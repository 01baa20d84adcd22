//! What must hold of a host whatever its guests do: it lives, its memory comes back, and a neighbour's run ends.
//!
//! Each attack is made several times, beside canaries of another account, and then as often again until memory does not
//! grow any more: the first rounds fill pools, caches and the allocator's, which stay full. What is lost grows with every
//! round.

use std::{sync::Mutex, time::Duration};

use serde_json::{Value, json};

use super::{Account, Host, HostPlan, Outside, Stage, action, eventually, grants, node, project, reason};

/// How often an attack is made before memory is looked at, and between the two looks.
const REPEATS: u32 = 3;
/// A host that has not come to rest by then has lost something.
const ROUNDS_MAX: usize = 5;
/// How long memory may take to come back after a round.
const REST_LONGEST: Duration = Duration::from_secs(5);
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
    /// It comes to this output.
    Emits(Value),
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

    /// How many runs the attacks have made so far.
    pub async fn runs_of_the_attacker(&self) -> usize {
        let page = self.bad.api.get("/v1/runs?limit=500").await.expect(200);
        page["items"].as_array().expect("a page of runs").len()
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
        let mut seen = Vec::new();
        while !self.returns_to_rest(&attack, &mut seen).await {
            assert!(seen.len() < ROUNDS_MAX, "memory grows with every round, in KiB: {seen:?}");
        }
        self.canary().await;
        assert!(!self.host().is_gone(), "the host lives");
    }

    /// One round; whether memory is afterwards what it was before.
    async fn returns_to_rest(&self, attack: &impl AsyncFn(), seen: &mut Vec<u64>) -> bool {
        let before = self.settled_kib().await;
        seen.push(before);
        self.beside_canaries(attack).await;
        let most = before + before * GROWTH_PERCENT_MAX / 100;
        let what = format!("memory of {before} KiB comes back to at most {most} KiB");
        let is_back = eventually(&what, async || (self.host().resident_kib() <= most).then_some(()));
        tokio::time::timeout(REST_LONGEST, is_back).await.is_ok()
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
        match &attack.ends {
            Ends::Failed(kind, says) => {
                let (was, message) = reason(&run, "bad");
                assert!(was == *kind && message.contains(says), "{was}: {message}");
                assert_eq!(run["state"], "dead");
            }
            Ends::Harmless(says) => {
                assert_eq!(run["state"], "succeeded", "{run:#}");
                let output = node(&run, "bad")["outputs"]["out"].to_string();
                assert!(output.contains(says), "{output}");
            }
            Ends::Emits(expected) => {
                assert_eq!(run["state"], "succeeded", "{run:#}");
                assert_eq!(&node(&run, "bad")["outputs"]["out"], expected);
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
