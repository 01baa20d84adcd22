//! Every route against the document, and against the rules of declaring.

use std::collections::BTreeSet;

use http::Method;

use super::*;

fn methods_and_paths<'r>(routes: impl Iterator<Item = &'r Route>) -> Vec<String> {
    routes.flat_map(|route| route.methods.iter().map(move |method| format!("{method} {}", route.path))).collect()
}

/// Whoever adds a route that asks for no scope has to come by here.
#[test]
fn without_a_scope_there_are_these_routes_and_no_others() {
    let routes = routes();
    let public = methods_and_paths(routes.iter().filter(|route| route.access == Access::Public));
    assert_eq!(public, ["GET /openapi.json", "GET /healthz", "GET /readyz"]);
    let triggers: BTreeSet<&str> =
        routes.iter().filter(|route| route.access == Access::Trigger).map(|route| route.path).collect();
    assert_eq!(
        triggers.into_iter().collect::<Vec<_>>(),
        ["/hooks/{account}/{project}", "/hooks/{account}/{project}/{*path}"]
    );
    for route in routes.iter().filter(|route| route.path.starts_with("/v1/")) {
        assert!(matches!(route.access, Access::Scope(_)), "{}", route.path);
    }
}

#[test]
fn no_method_of_a_path_is_declared_twice() {
    let routes = routes();
    let all = methods_and_paths(routes.iter());
    let different: BTreeSet<&String> = all.iter().collect();
    assert_eq!(all.len(), different.len(), "{all:#?}");
}

#[test]
fn the_document_tells_every_route_with_what_it_takes_and_answers() {
    let (routes, document) = (routes(), document(&routes()));
    let mut ids = BTreeSet::new();
    for route in &routes {
        for method in &route.methods {
            let what = format!("{method} {}", route.path);
            let operation = &document["paths"][route.path.replace("{*", "{")][method.as_str().to_lowercase()];
            assert!(ids.insert(operation["operationId"].as_str().expect("an id").to_owned()), "{what}");
            assert!(!route.summary.is_empty() && operation["summary"] == route.summary, "{what}");
            assert!(!route.answers.is_empty(), "{what} answers nothing");
            for status in route.answers.iter().map(|answer| answer.status).chain(problem_statuses(route)) {
                assert!(operation["responses"][status.to_string()].is_object(), "{what}: {status}");
            }
            let told: Vec<&str> = operation["parameters"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|parameter| parameter["name"].as_str().filter(|_| parameter["in"] == "path"))
                .collect();
            assert_eq!(told, route.path_parameters().collect::<Vec<_>>(), "{what}");
            let has_body = route.body.is_some() && *method != Method::GET && *method != Method::DELETE;
            assert_eq!(operation["requestBody"].is_object(), has_body, "{what}");
        }
    }
}

/// Visits every value in a document.
fn visit<'d>(value: &'d Value, see: &mut impl FnMut(&'d Value)) {
    see(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        Value::Object(fields) => fields.values().for_each(|field| visit(field, see)),
        _ => {}
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = document(&routes());
    let mut count = 0;
    visit(&document, &mut |value| {
        if let Some(pointer) = value["$ref"].as_str() {
            let pointer = pointer.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            count += 1;
        }
    });
    assert!(count > 20, "{count} references");
}

/// A number without an end invites numbers that no field can hold.
#[test]
fn every_number_that_is_taken_has_bounds() {
    let document = document(&routes());
    let is_integer = |schema: &Value| {
        schema["type"] == "integer"
            || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "integer"))
    };
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("operations").values() {
            let mut taken = |value: &Value| {
                let is_bounded = ["minimum", "maximum"].iter().all(|bound| value[*bound].is_number());
                assert!(!is_integer(value) || is_bounded, "{path}: {value}");
            };
            visit(&operation["parameters"], &mut taken);
            visit(&operation["requestBody"], &mut taken);
        }
    }
}
