//! The events of a run, as a client reads them while the run goes on.

use serde_json::Value;

use super::Api;

/// One server-sent event.
#[derive(Clone, Debug)]
pub struct RunEvent {
    pub kind: String,
    pub id: String,
    pub data: Value,
}

/// A stream of them.
pub struct RunEvents {
    response: reqwest::Response,
    text: String,
    /// All that came so far.
    pub seen: Vec<RunEvent>,
}

impl RunEvents {
    /// Begins to read, from behind an event on.
    pub async fn of(api: &Api, run: &str, after: Option<&str>) -> Self {
        let headers: Vec<(&str, &str)> = after.map(|id| ("last-event-id", id)).into_iter().collect();
        let response = api.open(&format!("/v1/runs/{run}/events"), &headers).await;
        assert_eq!(response.status(), 200, "the events of {run}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new(), seen: Vec::new() }
    }

    /// None: the stream has ended.
    pub async fn next(&mut self) -> Option<RunEvent> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (parse(event), rest.to_owned());
                self.text = rest;
                if let Some(event) = event {
                    self.seen.push(event.clone());
                    return Some(event);
                }
                continue;
            }
            let bytes = self.response.chunk().await.expect("the stream goes on")?;
            self.text.push_str(std::str::from_utf8(&bytes).expect("events are not cut within a letter here"));
        }
    }

    /// Reads until an event says so.
    pub async fn until(&mut self, what: &str, is_it: impl Fn(&RunEvent) -> bool) -> RunEvent {
        while let Some(event) = self.next().await {
            if is_it(&event) {
                return event;
            }
        }
        panic!("the stream ended before {what}: {:#?}", self.seen);
    }

    /// Reads until a node is in a state.
    pub async fn until_node(&mut self, node: &str, state: &str) -> RunEvent {
        self.until(&format!("{node} was {state}"), |event| event.data["node"] == node && event.data["state"] == state)
            .await
    }

    /// Reads to the end; answers with the state in which the run ended.
    pub async fn end(&mut self) -> String {
        while self.next().await.is_some() {}
        let last = self.seen.last().expect("the end of the run is told");
        assert!(last.kind == "run" && last.id.ends_with("-end"), "{last:?}");
        last.data["state"].as_str().expect("a state").to_owned()
    }
}

/// None: a sign of life.
fn parse(text: &str) -> Option<RunEvent> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    let data = serde_json::from_str(&field("data:")?).expect("the data is JSON");
    Some(RunEvent { kind: field("event:")?, id: field("id:")?, data })
}
