//! Which of several limits holds.

use super::*;

fn own(json: &str) -> OwnCallLimits {
    serde_json::from_str(json).expect("names and numbers")
}

#[test]
fn every_default_is_within_its_ceiling_and_every_ceiling_within_its_bounds() {
    let (defaults, ceilings) = (CallLimits::default(), CallLimits::ceilings());
    for limit in CALL_LIMITS {
        let (default, ceiling) = (limit.of(&defaults), limit.of(&ceilings));
        assert!(limit.least <= default && default <= ceiling && ceiling <= limit.highest, "{limit:?}");
        let mut set = defaults;
        limit.set(&mut set, limit.highest);
        assert_eq!(limit.of(&set), limit.highest, "{limit:?} holds its highest value");
    }
}

#[test]
fn keys_and_names_are_unique() {
    for (place, limit) in CALL_LIMITS.iter().enumerate() {
        assert_eq!(CallLimit::named(limit.name).map(CallLimit::place), Some(place));
        assert_eq!(CallLimit::with_key(limit.key).map(CallLimit::place), Some(place));
    }
}

#[test]
fn the_smallest_of_operator_account_and_node_holds() {
    let (defaults, ceilings) = (CallLimits::default(), CallLimits { cpu_ms: 10_000, ..CallLimits::ceilings() });
    // Granted by the operator, lowered by the account, asked for by the node, and what holds.
    let cases = [
        ("{}", "{}", "{}", 2_000),
        (r#"{"cpu_ms":5000}"#, "{}", "{}", 5_000),
        (r#"{"cpu_ms":500}"#, "{}", "{}", 500),
        (r#"{"cpu_ms":50000}"#, "{}", "{}", 10_000),
        (r#"{"cpu_ms":5000}"#, r#"{"cpu_ms":3000}"#, "{}", 3_000),
        (r#"{"cpu_ms":5000}"#, r#"{"cpu_ms":8000}"#, "{}", 5_000),
        ("{}", r#"{"cpu_ms":8000}"#, "{}", 2_000),
        (r#"{"cpu_ms":5000}"#, r#"{"cpu_ms":3000}"#, r#"{"cpu_ms":4000}"#, 3_000),
        (r#"{"cpu_ms":5000}"#, r#"{"cpu_ms":3000}"#, r#"{"cpu_ms":1000}"#, 1_000),
        ("{}", "{}", r#"{"cpu_ms":9000}"#, 2_000),
    ];
    for (granted, lowered, node, expected) in cases {
        let account = AccountCallLimits { granted: own(granted), lowered: own(lowered) };
        let effective = own(node).lower(account.effective(defaults, &ceilings));
        assert_eq!(effective.cpu_ms, expected, "{granted} {lowered} {node}");
        assert_eq!(CallLimits { cpu_ms: defaults.cpu_ms, ..effective }, defaults, "the others stay");
    }
}

#[test]
fn a_change_sets_lifts_and_leaves_alone() {
    let change: CallLimitsChange = serde_json::from_str(r#"{"cpu_ms":1000,"requests":null}"#).expect("a change");
    let changed = change.applied_to(own(r#"{"requests":5,"memory_bytes":1048576}"#));
    assert_eq!(changed, own(r#"{"cpu_ms":1000,"memory_bytes":1048576}"#));
    assert_eq!(serde_json::to_string(&changed).expect("JSON"), r#"{"memory_bytes":1048576,"cpu_ms":1000}"#);
}

#[test]
fn unknown_names_and_impossible_values_are_refused() {
    for (json, text) in [
        (r#"{"cpu_msec":1}"#, "no call limit `cpu_msec`; did you mean `cpu_ms`?"),
        (r#"{"response_max":1}"#, "no call limit `response_max`; did you mean `response_bytes`?"),
        (r#"{"memory_bytes":1}"#, "`memory_bytes` is 1; from 65536 to 4294967296 is allowed"),
        (r#"{"requests_at_once":0}"#, "`requests_at_once` is 0; from 1 to 1000"),
        (r#"{"cpu_ms":-1}"#, "invalid value"),
    ] {
        let error = serde_json::from_str::<CallLimitsChange>(json).expect_err(json).to_string();
        assert!(error.contains(text), "{json}: {error}");
    }
}

#[test]
fn stored_limits_that_are_out_of_bounds_are_brought_into_them_and_keep_nobody_from_the_others() {
    let stored =
        serde_json::json!({ "memory_bytes": 1, "cpu_ms": u64::MAX, "wall_ms": 5_000, "gone": 7, "requests": "many" });
    let (own, changed) = OwnCallLimits::from_stored(&stored);
    let read: Vec<(&str, u64)> = own.iter().map(|(limit, value)| (limit.name, value)).collect();
    assert_eq!(read, [("memory_bytes", 64 * KIB), ("cpu_ms", DAY_MS), ("wall_ms", 5_000)]);
    assert_eq!(changed.len(), 4, "{changed:?}");
    assert!(OwnCallLimits::from_stored(&serde_json::json!([1])).0.is_empty());
    let good = serde_json::json!({ "cpu_ms": 1_000 });
    let same: OwnCallLimits = serde_json::from_value(good.clone()).expect("within bounds");
    assert_eq!(OwnCallLimits::from_stored(&good), (same, Vec::new()));
}
