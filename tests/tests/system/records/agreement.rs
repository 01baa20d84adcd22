//! The fake of the SDK, the harness and a host agree: whatever is done to a collection, all three answer the same.

use serde_json::{Map, Value, json};
use trellis_sdk::{fake, records};
use trellis_testing::Plugin;

use super::granted;
use crate::support::{Stage, guest, node, project};

const SEEDS: u64 = 24;
const OPERATIONS: usize = 24;

/// Numbers that differ from seed to seed, by the method SplitMix64 of Steele, Lea and Flood.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % most
    }

    fn key(&mut self) -> String {
        ["a", "b", "c", "d/e", "ä", "z."][self.below(6) as usize].to_owned()
    }

    /// Few values, so that they meet, of every type.
    fn value(&mut self) -> Value {
        let long = "x".repeat(511 + self.below(4) as usize);
        [
            json!(null),
            json!(false),
            json!(true),
            json!(-1.5),
            json!(0),
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_992.0),
            json!(u64::MAX),
            json!(""),
            // The guest takes it for NUL, which events cannot carry.
            json!("\u{2400}"),
            json!("open"),
            json!("opened"),
            json!(long),
        ][self.below(13) as usize]
            .clone()
    }

    fn record(&mut self) -> Value {
        let mut record = Map::new();
        for name in ["n", "m"] {
            match self.below(8) {
                0 => {}
                1 => drop(record.insert(name.to_owned(), json!([1]))),
                _ => drop(record.insert(name.to_owned(), self.value())),
            }
        }
        if self.below(20) == 0 { json!("no object") } else { Value::Object(record) }
    }

    fn condition(&mut self) -> Value {
        let index = ["n", "m"][self.below(2) as usize];
        let operators = ["equal", "less", "less-or-equal", "greater", "greater-or-equal", "one-of", "starts-with"];
        let operator = operators[self.below(7) as usize];
        let value = match operator {
            "one-of" => json!([self.value(), self.value()]),
            "starts-with" => json!(["", "o", "open", "x"][self.below(4) as usize]),
            _ => self.value(),
        };
        json!([index, operator, value])
    }

    fn query(&mut self, collection: &str) -> Value {
        let filter: Vec<Value> = (0..self.below(3)).map(|_| self.condition()).collect();
        let index = ["n", "m"][self.below(2) as usize];
        let order = match self.below(3) {
            0 => Value::Null,
            _ => json!([index, self.below(2) == 0]),
        };
        json!({ "query": { "collection": collection, "filter": filter, "order": order, "limit": 1 + self.below(4), "all": true } })
    }

    fn operation(&mut self, collection: &str) -> Value {
        let key = self.key();
        match self.below(10) {
            0..4 => json!({ "put": [collection, key, self.record()] }),
            4 => json!({ "put-if": [collection, key, self.record(), 0] }),
            5 => json!({ "delete": [collection, key] }),
            6 => json!({ "get": [collection, key] }),
            _ => self.query(collection),
        }
    }

    fn operations(&mut self, collection: &str) -> Value {
        (0..OPERATIONS).map(|_| self.operation(collection)).collect()
    }
}

/// What can be compared: revisions are numbers of whoever keeps them, and words may differ.
fn comparable(answers: &Value) -> Value {
    let answer = |answer: &Value| match answer {
        Value::Object(error) if error.contains_key("error") => {
            let text = error["error"].as_str().unwrap_or_default();
            json!({ "error": text.split(':').next() })
        }
        Value::Array(pair) if pair.len() == 2 && pair[0].is_array() => {
            pair[0].as_array().expect("a list").iter().map(|entry| entry[0].clone()).collect()
        }
        Value::Array(pair) if pair.len() == 2 => pair[0].clone(),
        other => other.clone(),
    };
    answers.as_array().expect("a list of answers").iter().map(answer).collect()
}

/// The operations as a transformer does them, on the fake of the SDK.
fn by_fake(operations: &Value) -> Value {
    let operations: Value =
        serde_json::from_str(&operations.to_string().replace('\u{2400}', "\\u0000")).expect("JSON still");
    operations
        .as_array()
        .expect("a list")
        .iter()
        .map(|operation| fake_answer(operation).unwrap_or_else(|error| shown(&error)))
        .collect()
}

fn shown(error: &records::Error) -> Value {
    let word = match error {
        records::Error::Conflict => "conflict",
        records::Error::Invalid(_) => "invalid",
        _ => "another error",
    };
    json!({ "error": word })
}

fn fake_answer(operation: &Value) -> Result<Value, records::Error> {
    let (name, given) = operation.as_object().and_then(|one| one.iter().next()).expect("an operation");
    let text = |place: usize| given[place].as_str().expect("text");
    if name == "query" {
        return fake_query(given);
    }
    let collection = records::collection::<Value>(text(0));
    match name.as_str() {
        "put" => collection.put(text(1), &given[2])?,
        "put-if" => collection.write(text(1)).if_absent().put(&given[2])?,
        "delete" => collection.delete(text(1))?,
        _ => return Ok(collection.entry(text(1))?.map_or(Value::Null, |entry| json!([entry.data, entry.revision]))),
    }
    Ok(json!("ok"))
}

fn fake_query(given: &Value) -> Result<Value, records::Error> {
    let mut query = records::collection::<Value>(given["collection"].as_str().expect("a name")).query();
    for condition in given["filter"].as_array().expect("a list") {
        let (index, value) = (condition[0].as_str().expect("a name"), &condition[2]);
        query = match condition[1].as_str().expect("an operator") {
            "equal" => query.equal(index, value),
            "less" => query.less(index, value),
            "less-or-equal" => query.less_or_equal(index, value),
            "greater" => query.greater(index, value),
            "greater-or-equal" => query.greater_or_equal(index, value),
            "one-of" => query.one_of(index, value.as_array().expect("a list")),
            _ => query.starts_with(index, value.as_str().expect("text")),
        };
    }
    if let Some(index) = given["order"][0].as_str() {
        query = query.order_by(index);
        if given["order"][1] == true {
            query = query.descending();
        }
    }
    let limit = given["limit"].as_u64().and_then(|limit| u32::try_from(limit).ok()).expect("a number");
    let found: Result<Vec<Value>, records::Error> =
        query.page_size(limit).iter().map(|entry| entry.map(|entry| json!([entry.key, entry.revision]))).collect();
    Ok(json!([found?, null]))
}

/// The first operations, then others on top of what they have left, then others when all is committed.
struct Case {
    collection: String,
    calls: [Value; 3],
}

impl Case {
    fn of(seed: u64) -> Self {
        let (mut numbers, collection) = (Numbers(seed), format!("c{seed}"));
        let calls = std::array::from_fn(|_| numbers.operations(&collection));
        Self { collection, calls }
    }

    fn by_fake(&self) -> Vec<Value> {
        fake::reset();
        fake::collection(&self.collection).index("n", "/n").index("m", "/m");
        let first: Vec<Value> = self.calls[..2].iter().map(by_fake).collect();
        fake::commit();
        first.into_iter().chain([by_fake(&self.calls[2])]).map(|answers| comparable(&answers)).collect()
    }

    fn by_harness(&self) -> Vec<Value> {
        let definition = json!({ "indexes": { "n": "/n", "m": "/m" } });
        let plugin = Plugin::from_bytes(guest("misbehave").bytes.clone()).collection(&self.collection, definition);
        let call = |operations: &Value| {
            let report = plugin.call("in", json!({ "do": "records", "operations": operations }));
            comparable(report.emitted("out"))
        };
        self.calls.iter().map(call).collect()
    }
}

fn manifest(cases: &[Case]) -> Value {
    let node = |input: &str| {
        let mut node = granted(json!({ "plugin": "misbehave", "inputs": { "in": format!("event#/{input}") } }));
        node["grants"]["records"] = cases.iter().map(|case| format!("{}:rw", case.collection)).collect();
        node
    };
    let mut second = node("second");
    second["inputs"]["after"] = json!("first.out");
    let mut manifest = project("agreement", &json!({ "first": node("first"), "second": second }));
    manifest["grids"]["later"] = json!({ "nodes": { "third": node("third") } });
    let definition = json!({ "indexes": { "n": "/n", "m": "/m" } });
    let collections = cases.iter().map(|case| (case.collection.clone(), definition.clone()));
    manifest["collections"] = Value::Object(collections.collect());
    manifest
}

#[tokio::test]
async fn the_sdks_fake_the_harness_and_a_host_answer_the_same() {
    let cases: Vec<Case> = (0..SEEDS).map(Case::of).collect();
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    account.deploy(&manifest(&cases)).await;
    for (seed, case) in cases.iter().enumerate() {
        let act = |operations: &Value| json!({ "do": "records", "operations": operations });
        let event = json!({ "first": act(&case.calls[0]), "second": act(&case.calls[1]) });
        let run = account.run("agreement", &event).await;
        let later = json!({ "third": act(&case.calls[2]) });
        let later = account.api.post("/v1/projects/agreement/grids/later/events", &later).await.expect(202);
        let later = account.succeeded(later["run"].as_str().expect("a run")).await;
        let by_host = [node(&run, "first"), node(&run, "second"), node(&later, "third")]
            .map(|node| comparable(&node["outputs"]["out"]));
        let by_fake = case.by_fake();
        for (place, operations) in case.calls.iter().enumerate() {
            let told = format!("seed {seed}, call {place}: {operations:#}");
            assert_eq!(by_host[place], by_fake[place], "the host and the SDK's fake, {told}");
        }
        let by_harness = case.by_harness();
        assert_eq!(by_harness, by_host, "the harness and the host, seed {seed}");
    }
}
