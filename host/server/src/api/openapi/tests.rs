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
    assert_eq!(
        public,
        ["GET /openapi.json", "GET /problems", "GET /problems/{problem}", "GET /healthz", "GET /readyz"]
    );
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

/// What is wrong with a value by a schema, as far as the words of our own schemas go.
fn misfit(schema: &Value, value: &Value, document: &Value) -> Option<String> {
    if let Some(pointer) = schema["$ref"].as_str() {
        return misfit(document.pointer(&pointer[1..]).expect("it leads somewhere"), value, document);
    }
    for choices in ["anyOf", "oneOf"] {
        if let Some(all) = schema[choices].as_array() {
            let fits = all.iter().any(|choice| misfit(choice, value, document).is_none());
            return (!fits).then(|| format!("{value} is none of {schema}"));
        }
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    let words = schema["enum"].as_array();
    let is_out = schema["minimum"].as_f64().zip(value.as_f64()).is_some_and(|(least, value)| value < least)
        || schema["maximum"].as_f64().zip(value.as_f64()).is_some_and(|(most, value)| value > most);
    if !kinds.is_empty() && !kinds.iter().any(is) || words.is_some_and(|words| !words.contains(value)) || is_out {
        return Some(format!("{value} is not of {schema}"));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.filter(|_| value.is_object()).find(|name| value.get(name).is_none()) {
        return Some(format!("{value} lacks {missing}"));
    }
    let fields = value.as_object().into_iter().flatten();
    let in_fields = fields.filter_map(|(name, field)| misfit(schema["properties"].get(name)?, field, document));
    let in_items = value.as_array().into_iter().flatten().filter_map(|item| misfit(&schema["items"], item, document));
    in_fields.chain(in_items).next()
}

#[test]
fn every_operation_has_examples_that_fit() {
    let document = document(&routes());
    let mut count = 0;
    let mut check = |what: &str, of: &Value| {
        let example = of.get("example").unwrap_or_else(|| panic!("{what}: no example in {of}"));
        assert_eq!(misfit(&of["schema"], example, &document), None, "{what}");
        count += 1;
    };
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let what = format!("{method} {path}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for parameter in parameters.filter(|parameter| parameter["in"] != "header") {
                check(&format!("{what}: {}", parameter["name"]), parameter);
            }
            let bodies = std::iter::once(&operation["requestBody"])
                .chain(operation["responses"].as_object().into_iter().flat_map(Map::values));
            for body in bodies.filter_map(|body| body["content"].get(JSON)) {
                check(&what, body);
            }
        }
    }
    check("a problem", &document["components"]["responses"]["Problem"]["content"][CONTENT_TYPE]);
    assert!(count > 80, "{count} examples");
}

#[test]
fn the_headers_that_events_heed_are_told() {
    let document = document(&routes());
    let operation = &document["paths"]["/v1/projects/{project}/grids/{grid}/events"]["post"];
    let parameters = operation["parameters"].as_array().expect("a list");
    let in_header: Vec<&str> = parameters
        .iter()
        .filter(|parameter| parameter["in"] == "header")
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    assert_eq!(in_header, ["Prefer", "Idempotency-Key"]);
}

/// A list without an end costs whoever asks for it, and whoever answers, more with every year.
#[test]
fn every_list_comes_in_pages() {
    let document = document(&routes());
    let mut lists = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let answer = &item["get"]["responses"]["200"]["content"][JSON]["schema"];
        let answer = match answer["$ref"].as_str() {
            Some(pointer) => document.pointer(&pointer[1..]).expect("it leads somewhere"),
            None => answer,
        };
        let fields = answer["properties"].as_object();
        if answer["type"] == "array" {
            panic!("{path} answers with a bare list, which can have no `next`");
        }
        if !fields.is_some_and(|fields| fields.contains_key("items")) {
            continue;
        }
        if path == "/v1/schemas" {
            // A few, which grow with the program alone.
            continue;
        }
        lists.push(path.as_str());
        assert!(fields.is_some_and(|fields| fields.contains_key("next")), "{path}: no `next` in the answer");
        let taken: Vec<&str> = item["get"]["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert!(taken.contains(&"limit"), "{path} takes no `limit`");
        assert!(taken.contains(&"after") || taken.contains(&"before"), "{path} takes no cursor");
        let limit = item["get"]["parameters"].as_array().into_iter().flatten().find(|one| one["name"] == "limit");
        assert!(limit.is_some_and(|limit| limit["schema"]["maximum"].is_number()), "{path}: `limit` has no end");
    }
    assert!(lists.len() >= 8, "{lists:?}");
}

#[test]
fn the_versions_that_plugins_can_have_fit_the_pattern() {
    let pattern = path_schema("version")["pattern"].as_str().expect("a pattern").to_owned();
    // What `trellis deploy` makes of a local plugin's version has to fit above all.
    let is_version = |text: &str| regex_lite::Regex::new(&pattern).expect("a pattern").is_match(text);
    for version in ["1.2.3", "0.1.0-local.h0123456789ab", "1.0.0-rc.1.local.h0123456789ab", "1.0.0-x-y.7+build.5"] {
        assert!(is_version(version) && version.parse::<semver::Version>().is_ok(), "{version}");
    }
    for text in ["1.2", "1.2.3-", "1.2.3+", "v1.2.3", "1.2.3 ", "1.2.3-a..b"] {
        assert!(!is_version(text) && text.parse::<semver::Version>().is_err(), "{text}");
    }
}
