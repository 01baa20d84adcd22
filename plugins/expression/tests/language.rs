//! What the language can do, as cases: expression, input, and the values it yields.

use expression::{Expression, Failure};
use serde_json::{Value, json};

fn run(expression: &str, input: Value) -> Result<Vec<Value>, Failure> {
    let expression = Expression::parse(expression).unwrap_or_else(|mistake| panic!("{expression}: {mistake}"));
    expression.values(input, json!({ "attempt": 2 })).collect()
}

/// Checks that each expression yields exactly one value.
fn check(cases: &[(&str, Value, Value)]) {
    for (expression, input, output) in cases {
        let yielded = run(expression, input.clone());
        assert_eq!(yielded, Ok(vec![output.clone()]), "{expression} of {input}");
    }
}

fn failure(expression: &str, input: Value) -> String {
    run(expression, input).expect_err("a failure").to_string()
}

#[test]
fn paths_and_operators() {
    check(&[
        (".", json!({ "a": [1, 2.5, "x", null, true] }), json!({ "a": [1, 2.5, "x", null, true] })),
        (".a.b[1]", json!({ "a": { "b": [1, 2] } }), json!(2)),
        (".a?.b // \"none\"", json!({}), json!("none")),
        (
            "{ total: (.price * .count), name }",
            json!({ "price": 2.5, "count": 2, "name": "x" }),
            json!({ "total": 5, "name": "x" }),
        ),
        ("[.[] | . % 3]", json!([4, 5, 6]), json!([1, 2, 0])),
        ("if . > 3 then \"big\" elif . > 1 then \"small\" else \"tiny\" end", json!(2), json!("small")),
        (". as [$a, { b: $c }] | $a + $c", json!([1, { "b": 2 }]), json!(3)),
        ("reduce .[] as $n (0; . + $n)", json!([1, 2, 3]), json!(6)),
        ("[foreach .[] as $n (0; . + $n)]", json!([1, 2, 3]), json!([1, 3, 6])),
        ("try error(\"no\") catch .", json!(null), json!("no")),
        ("try error catch .a", json!({ "a": 1 }), json!(1)),
        ("label $out | .[] | if . > 1 then ., break $out else empty end", json!([1, 2, 3]), json!(2)),
        ("def double: . * 2; map(double)", json!([1, 2]), json!([2, 4])),
        ("[..]", json!([[1]]), json!([[[1]], [1], 1])),
        (".a += 1 | .b |= not | .c //= 3", json!({ "a": 1, "b": true }), json!({ "a": 2, "b": false, "c": 3 })),
        ("\"\\(.a): \\(.b)\"", json!({ "a": "x", "b": [1] }), json!("x: [1]")),
        ("$event.attempt", json!(null), json!(2)),
        ("[true, false, null]", json!(null), json!([true, false, null])),
    ]);
}

#[test]
fn several_values_come_one_by_one_and_none_is_fine() {
    assert_eq!(run(".[]", json!([1, 2])), Ok(vec![json!(1), json!(2)]));
    assert_eq!(run("empty", json!(1)), Ok(vec![]));
    let expression = Expression::parse("1, error(\"late\")").expect("valid");
    assert_eq!(
        expression.values(json!(null), json!(null)).next(),
        Some(Ok(json!(1))),
        "what is not asked for is not computed"
    );
}

#[test]
fn kinds_and_conversion() {
    check(&[
        (
            "map(type)",
            json!([null, true, 1, "", [], {}]),
            json!(["null", "boolean", "number", "string", "array", "object"]),
        ),
        ("[.[] | numbers, strings]", json!([1, "a", null]), json!([1, "a"])),
        ("[.[] | nulls, booleans, arrays, objects]", json!([null, false, [], {}, 1]), json!([null, false, [], {}])),
        ("[.[] | values, iterables]", json!([null, [], 2]), json!([[], [], 2])),
        ("[.[] | scalars]", json!([null, [], 2]), json!([null, 2])),
        ("map(tostring)", json!(["a", 1, [true], { "b": null }]), json!(["a", "1", "[true]", "{\"b\":null}"])),
        ("map(tonumber)", json!(["1", "2.5", 3, "-1e2"]), json!([1, 2.5, 3, -100])),
        ("map(toboolean)", json!(["true", false]), json!([true, false])),
        ("map(toarray)", json!([1, [2]]), json!([[1], [2]])),
        ("[tojson, (tojson | fromjson)]", json!({ "a": [1] }), json!(["{\"a\":[1]}", { "a": [1] }])),
        ("not", json!(null), json!(true)),
    ]);
}

#[test]
fn sequences() {
    check(&[
        ("[range(3)]", json!(null), json!([0, 1, 2])),
        ("[range(1; 3)]", json!(null), json!([1, 2])),
        ("[range(6; 0; -2)]", json!(null), json!([6, 4, 2])),
        ("[limit(2; repeat(. * 2))]", json!(1), json!([1, 2])),
        ("[while(. < 10; . * 3)]", json!(1), json!([1, 3, 9])),
        ("until(. > 10; . * 3)", json!(1), json!(27)),
        ("[recurse(if . < 2 then . + 1 else empty end)]", json!(0), json!([0, 1, 2])),
        ("[recurse(.a; . != null)]", json!({ "a": { "b": 1 } }), json!([{ "a": { "b": 1 } }, { "b": 1 }])),
        ("[recurse]", json!([1]), json!([[1], 1])),
        ("[first(.[]), last(.[]), nth(1; .[])]", json!([4, 5, 6]), json!([4, 6, 5])),
        ("[first, last, nth(1)]", json!([4, 5, 6]), json!([4, 6, 5])),
        ("[skip(1; .[])]", json!([4, 5, 6]), json!([5, 6])),
        ("[any, all, any(. > 2), all(. > 0), isempty(.[])]", json!([1, 2]), json!([true, true, false, true, false])),
        ("[any, all, isempty(.[])]", json!([]), json!([false, true, true])),
        ("[all, any]", json!([true, false]), json!([false, true])),
        ("any(1, error(\"never asked\"); . == 1)", json!(null), json!(true)),
        ("[add, add(.[] * 2)]", json!([1, 2]), json!([3, 6])),
        ("add", json!([]), json!(null)),
    ]);
}

#[test]
fn arrays() {
    check(&[
        ("map(. + 1)", json!([1, 2]), json!([2, 3])),
        ("[sort, reverse, length]", json!([2, 1]), json!([[1, 2], [1, 2], 2])),
        (
            "sort_by(.a, -.b) | map(.b)",
            json!([{ "a": 2, "b": 1 }, { "a": 1, "b": 2 }, { "a": 1, "b": 3 }]),
            json!([3, 2, 1]),
        ),
        ("group_by(.a) | map(length)", json!([{ "a": 1 }, { "a": 2 }, { "a": 1 }]), json!([2, 1])),
        ("[min, max]", json!([2, 1, 3]), json!([1, 3])),
        ("[min, max]", json!([]), json!([null, null])),
        ("[min_by(.a), max_by(.a)]", json!([{ "a": 2 }, { "a": 1 }]), json!([{ "a": 1 }, { "a": 2 }])),
        ("unique", json!([2, 1, 2]), json!([1, 2])),
        ("unique_by(length)", json!(["a", "bb", "c"]), json!(["a", "bb"])),
        ("flatten", json!([1, [2, [3, [4]]]]), json!([1, 2, 3, 4])),
        ("[flatten(1), flatten(0)]", json!([1, [2, [3]]]), json!([[1, 2, [3]], [1, [2, [3]]]])),
        ("transpose", json!([[1, 2], [3]]), json!([[1, 3], [2, null]])),
        ("transpose", json!([]), json!([])),
        ("[combinations]", json!([[1, 2], [3, 4]]), json!([[1, 3], [1, 4], [2, 3], [2, 4]])),
        ("[combinations(2)]", json!([0, 1]), json!([[0, 0], [0, 1], [1, 0], [1, 1]])),
        ("[index(2), rindex(2), indices(2)]", json!([1, 2, 2]), json!([1, 2, [1, 2]])),
        ("[contains([\"b\"]), inside([\"abc\", \"d\"])]", json!(["abc"]), json!([true, true])),
        ("bsearch(3)", json!([1, 3]), json!(1)),
        ("walk(if type == \"number\" then . + 1 else . end)", json!([1, { "a": [2] }]), json!([2, { "a": [3] }])),
    ]);
}

#[test]
fn objects_and_paths() {
    check(&[
        ("[keys, keys_unsorted, length]", json!({ "b": 1, "a": 2 }), json!([["a", "b"], ["a", "b"], 2])),
        ("map_values(. + 1)", json!({ "a": 1 }), json!({ "a": 2 })),
        ("map_values(empty)", json!({ "a": 1 }), json!({})),
        ("to_entries", json!({ "a": 1 }), json!([{ "key": "a", "value": 1 }])),
        (
            "from_entries",
            json!([{ "key": "a", "value": 1 }, { "name": "b", "value": null }, { "k": 3, "v": 4 }]),
            json!({ "a": 1, "b": null, "3": 4 }),
        ),
        ("with_entries(.value += 1)", json!({ "a": 1 }), json!({ "a": 2 })),
        ("[has(\"a\"), has(\"c\")]", json!({ "a": null }), json!([true, false])),
        ("map(in([5, 6]))", json!([0, 2]), json!([true, false])),
        ("[paths]", json!({ "a": [1] }), json!([["a"], ["a", 0]])),
        ("[paths(type == \"number\")]", json!({ "a": [1], "b": "x" }), json!([["a", 0]])),
        ("[path(.a[0])]", json!(null), json!([["a", 0]])),
        ("[getpath([\"a\", \"b\"]), getpath([\"x\", \"y\"])]", json!({ "a": { "b": 1 } }), json!([1, null])),
        ("setpath([\"a\", 1, \"b\"]; 1)", json!({}), json!({ "a": [null, { "b": 1 }] })),
        ("[setpath([-1]; 0), setpath([0]; 0), setpath([]; 0)]", json!([1, 2]), json!([[1, 0], [0, 2], 0])),
        ("delpaths([[\"a\"], [\"b\", 0]])", json!({ "a": 1, "b": [1, 2] }), json!({ "b": [2] })),
        ("del(.a, .c)", json!({ "a": 1, "b": 2 }), json!({ "b": 2 })),
        ("del(.[0, 2])", json!([1, 2, 3]), json!([2])),
        ("del(.[] | select(. > 1))", json!([1, 2, 3]), json!([1])),
        ("pick(.a.b, .d)", json!({ "a": { "b": 1, "c": 2 } }), json!({ "a": { "b": 1 }, "d": null })),
        ("(.. | select(type == \"number\")) |= . + 1", json!({ "a": [1] }), json!({ "a": [2] })),
    ]);
}

#[test]
fn text() {
    check(&[
        ("[length, utf8bytelength, ascii_upcase, ascii_downcase]", json!("äB"), json!([2, 3, "äB", "äb"])),
        (
            "[startswith(\"a\"), endswith(\"a\"), ltrimstr(\"a\"), rtrimstr(\"c\")]",
            json!("abc"),
            json!([true, false, "bc", "ab"]),
        ),
        ("[trim, ltrim, rtrim]", json!(" a "), json!(["a", "a ", " a"])),
        ("join(\"-\")", json!(["a", 1, null, true]), json!("a-1--true")),
        ("join(\",\")", json!([]), json!("")),
        ("[split(\", \"), . / \", \"]", json!("a, b"), json!([["a", "b"], ["a", "b"]])),
        ("[explode, (explode | implode)]", json!("aé"), json!([[97, 233], "aé"])),
        ("[.[1:3], .[-1:]]", json!("aéxb"), json!(["éx", "b"])),
        ("[indices(\"a\"), contains(\"an\")]", json!("banana"), json!([[1, 3, 5], true])),
    ]);
}

#[test]
fn regular_expressions() {
    let found = json!({ "offset": 1, "length": 2, "string": "b1", "captures": [
        { "offset": 1, "length": 1, "string": "b", "name": "letter" },
        { "offset": 2, "length": 1, "string": "1", "name": null },
    ] });
    check(&[
        ("[test(\"B\"), test(\"B\"; \"i\"), test(\"^b\"; null)]", json!("abc"), json!([false, true, false])),
        ("[match(\"(?<letter>[a-z])(\\\\d)\")]", json!("éb1c2"), json!([found])),
        ("[match(\"[a-z]\\\\d\"; \"g\").offset]", json!("éb1c2"), json!([1, 3])),
        ("capture(\"(?<y>\\\\d+)-(?<m>\\\\d+)\")", json!("on 2030-12"), json!({ "y": "2030", "m": "12" })),
        (
            "[capture(\"(?<a>a)|(?<b>b)\"; \"g\")]",
            json!("ab"),
            json!([{ "a": "a", "b": null }, { "a": null, "b": "b" }]),
        ),
        (
            "[[scan(\"\\\\d\")], [scan(\"([a-z])(\\\\d)\")]]",
            json!("a1b2"),
            json!([["1", "2"], [["a", "1"], ["b", "2"]]]),
        ),
        ("[split(\", *\"; null), [splits(\" *, *\")]]", json!("a ,b"), json!([["a ", "b"], ["a", "b"]])),
        (
            "[sub(\"b\"; \"x\"), gsub(\"b\"; \"x\"), gsub(\"(?<l>B)\"; \"<\\(.l)>\"; \"i\")]",
            json!("abb"),
            json!(["axb", "axx", "a<b><b>"]),
        ),
        ("[match(\"\"; \"gn\")]", json!("ab"), json!([])),
        ("[match(\"\"; \"g\").offset]", json!("ab"), json!([0, 1, 2])),
        ("test(\"a . b\"; \"xs\")", json!("a\nb"), json!(true)),
    ]);
    assert!(failure("test(\"(\")", json!("a")).contains("the regex `(` cannot be read"));
    assert!(failure("test(\"a\"; \"q\")", json!("a")).contains("no regex flag `q`"));
    assert!(failure("test(\"a\")", json!(1)).contains("cannot use 1 as string"));
}

#[test]
fn numbers() {
    check(&[
        ("[floor, ceil, round, trunc]", json!(-1.5), json!([-2, -1, -2, -1])),
        ("[sqrt, pow(.; 0.5), pow(2; 3)]", json!(16), json!([4, 4, 8])),
        ("[(0 | exp), (1 | log), (8 | log2), (1000 | log10 | round)]", json!(null), json!([1, 0, 3, 3])),
        ("map(abs)", json!([-1, 2.5]), json!([1, 2.5])),
        ("[nan | isnan, isinfinite, isnormal]", json!(null), json!([true, false, false])),
        ("[infinite, 1 | isinfinite, isnormal]", json!(null), json!([true, false, false, true])),
        ("[nan, infinite, -infinite]", json!(null), json!([null, f64::MAX, f64::MIN])),
        ("[6 / 2, 7 / 2]", json!(null), json!([3, 3.5])),
        // Past 32 bits, which is where machine integers end in Wasm, and past 53 and 64 bits.
        (". + 1", json!(4_294_967_295_u32), json!(4_294_967_296_u64)),
        (".", json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_993_u64)),
        ("[., . - 1]", json!(u64::MAX), json!([u64::MAX, u64::MAX - 1])),
        (". * . * .", json!(u64::MAX), json!(6.277101735386681e57)),
        ("[limit(2; .[])] | length", json!([1, 2, 3]), json!(2)),
    ]);
}

#[test]
fn dates() {
    check(&[
        (
            "[todate, todateiso8601, (todate | fromdate)]",
            json!(1_425_599_621),
            json!(["2015-03-05T23:53:41Z", "2015-03-05T23:53:41Z", 1_425_599_621]),
        ),
        ("fromdateiso8601", json!("2015-03-05T23:53:41.5+01:00"), json!(1_425_596_021.5)),
        ("gmtime", json!(1_425_599_621), json!([2015, 2, 5, 23, 53, 41, 4, 63])),
        ("gmtime | mktime", json!(1_425_599_621), json!(1_425_599_621)),
        (
            "[strftime(\"%Y-%m-%d\"), (gmtime | strftime(\"%A, %B %d\"))]",
            json!(1_425_599_621),
            json!(["2015-03-05", "Thursday, March 05"]),
        ),
        ("strptime(\"%Y-%m-%dT%H:%M:%SZ\") | mktime", json!("2015-03-05T23:51:47Z"), json!(1_425_599_507)),
        ("strptime(\"%d/%m/%Y %H:%M %z\") | mktime", json!("06/03/2015 01:53 +0200"), json!(1_425_599_580)),
        ("now > 1700000000 and now < 9000000000", json!(null), json!(true)),
    ]);
    for (expression, input) in [
        ("fromdate", json!("yesterday")),
        ("todate", json!(1e300)),
        ("mktime", json!([2015, 13, 1, 0, 0, 0, 0, 0])),
        ("mktime", json!([2015])),
        ("strptime(\"%Y\")", json!("x")),
        ("strftime(\"%&\")", json!(0)),
    ] {
        assert!(run(expression, input.clone()).is_err(), "{expression} of {input}");
    }
}

#[test]
fn formats() {
    check(&[
        ("[@text, @json]", json!([1]), json!(["[1]", "[1]"])),
        ("@html \"<b>\\(.)</b>\"", json!("<&'\">"), json!("<b>&lt;&amp;&#39;&quot;&gt;</b>")),
        ("@uri \"/\\(.)?\"", json!("a/ü b"), json!("/a%2F%C3%BC%20b?")),
        ("[@base64, (@base64 | @base64d)]", json!("héllo"), json!(["aMOpbGxv", "héllo"])),
        ("@csv", json!(["a \"b\"", 1, null, true]), json!("\"a \"\"b\"\"\",1,,true")),
        ("@tsv", json!(["a\tb\\", 1, null]), json!("a\\tb\\\\\t1\t")),
        ("@sh", json!(["it's", 1]), json!("'it'\\''s' 1")),
    ]);
    assert!(failure("@csv", json!([[1]])).contains("cannot be a field of CSV"));
    assert!(failure("@base64d", json!("!")).contains("cannot be read as base64"));
}

#[test]
fn debug_logs_and_passes_the_value_on() {
    check(&[("debug | debug(\"seen \\(.)\")", json!([1]), json!([1]))]);
    let messages: Vec<String> = trellis_sdk::fake::logs().into_iter().map(|log| log.message).collect();
    assert_eq!(messages, ["[1]", "\"seen [1]\""]);
}

#[test]
fn failures_say_what_is_wrong_in_bounded_words() {
    assert_eq!(failure("error(\"no stock\")", json!(null)), "the expression fails: no stock");
    assert_eq!(failure(".a", json!("x")), "the expression fails: cannot index \"x\" with \"a\"");
    assert!(failure(".[]", json!("x".repeat(100_000))).len() < 1_000);
    assert!(failure("tonumber", json!("x")).contains("\"x\" cannot be read as a number"));
    assert_eq!(
        failure("{ (1 | tojson | tonumber): 2 }", json!(null)),
        "the expression yields an object with the key 1, which JSON has no form for"
    );
    assert_eq!(failure("tobytes", json!("a")), "the expression yields a byte string, which JSON has no form for");
}

#[test]
fn mistakes_name_their_place() {
    for (expression, message) in [
        ("", "line 1, column 1: expected term, but the expression ends"),
        (".a |\n  map(.b", "line 2, column 9: expected closing parenthesis, but the expression ends"),
        ("{a: 1", "line 1, column 6: expected closing brace, but the expression ends"),
        (".a | mpa(.b)", "line 1, column 6: there is no function `mpa` with 1 argument(s)"),
        ("halt", "line 1, column 1: there is no function `halt`"),
        ("input", "line 1, column 1: there is no function `input`"),
        ("$ENV", "line 1, column 1: there is no variable `$ENV`"),
        (". as $x | $y", "line 1, column 11: there is no variable `$y`"),
        ("if . then 1", "line 1, column 12: expected else or end"),
        ("1 +", "line 1, column 4: expected term"),
        (".é &", "line 1, column 2: "),
        ("include \"lib\"; .", "line 1, column 10: there are no modules"),
        ("import \"lib\" as lib; .", "line 1, column 9: there are no modules"),
    ] {
        let mistake = Expression::parse(expression).expect_err("a mistake").to_string();
        assert!(mistake.starts_with(message), "{expression}: {mistake}");
    }
}
