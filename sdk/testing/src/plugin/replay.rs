//! A plugin as it was called in a recorded run: with the config, event, grants, limits and time of then.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use trellis_engine::Event;
use trellis_model::{
    fixture::{Exchange, Fixture, FixtureNode},
    run::{call_attributes, idempotency_key},
};

use super::Plugin;
use crate::{
    clock::FixedClock,
    http::{Response, Unanswered},
    report::Report,
};

impl Plugin {
    /// Its crate's name, if it was built from one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Calls the plugin once more as a node was called. What the fixture stores and answers stands over what this plugin was
    /// given; nothing of the call is kept.
    #[track_caller]
    pub(crate) fn replayed(&self, fixture: &Fixture, node: &FixtureNode) -> (Report, Vec<Unanswered>) {
        let mut plugin = self.as_of(fixture, node);
        for stored in &node.storage {
            let bytes = stored.value.as_str().map_or_else(|| stored.value.to_string(), str::to_owned);
            plugin = plugin.storage(&stored.store, &stored.key, bytes);
        }
        for stored in &node.records {
            plugin = plugin.records(&stored.collection, [(stored.key.as_str(), stored.data.clone())]);
        }
        for (request, replies) in in_turn(&node.http) {
            let (method, url) = request.split_once(' ').unwrap_or((request, ""));
            plugin = plugin.http_mock(method, url, replies);
        }
        let inputs: Vec<(&str, Value)> =
            node.inputs.iter().map(|(port, value)| (port.as_str(), value.clone())).collect();
        plugin.call_once(&inputs)
    }

    #[track_caller]
    fn as_of(&self, fixture: &Fixture, node: &FixtureNode) -> Self {
        let records = match self.records.copy_with(&fixture.collections) {
            Ok(records) => records,
            Err(faults) => panic!("a collection of the fixture cannot be used: {faults}"),
        };
        let of_event: Vec<(String, String)> =
            fixture.attributes.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Self {
            name: self.name.clone(),
            transformer: Arc::clone(&self.transformer),
            event: Event {
                run: fixture.run.clone(),
                node: node.node.clone(),
                attempt: node.attempt,
                idempotency_key: idempotency_key(&fixture.run, &node.node, node.element),
                attributes: call_attributes(&of_event, node.element),
                inputs: Vec::new(),
            },
            config: node.config.clone(),
            limits: node.limits,
            grants: Some(node.grants.clone()),
            mocks: self.mocks.clone(),
            storage: Arc::new(self.storage.copy()),
            stores: self.stores.clone(),
            records,
            grids: self.grids.iter().chain(&node.grants.emit).cloned().collect(),
            credentials: self.credentials.clone(),
            readable: self.readable.clone(),
            secrets: self.secrets.clone(),
            clock: Some(Arc::new(FixedClock::at(&fixture.accepted_at))),
            full_targets: self.full_targets.clone(),
        }
    }
}

/// The answers to each request, in their order.
fn in_turn(exchanges: &[Exchange]) -> BTreeMap<&str, Vec<Response>> {
    let mut replies: BTreeMap<&str, Vec<Response>> = BTreeMap::new();
    for exchange in exchanges {
        replies.entry(&exchange.request).or_default().push(response(exchange));
    }
    replies
}

fn response(exchange: &Exchange) -> Response {
    let response = match &exchange.body {
        Value::Null => Response::status(exchange.status),
        Value::String(text) => Response::bytes(exchange.status, text.as_str()),
        body => Response::json(exchange.status, body),
    };
    exchange.headers.iter().fold(response, |response, (name, value)| response.header(name, value))
}
