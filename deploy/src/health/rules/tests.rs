//! What expressions mean, what they may cost, and whose rule counts.

use proptest::prelude::*;
use serde_json::json;
use tk8s_core::HealthState::{Degraded, Healthy, Progressing, Suspended, Unknown};

use super::*;

fn rule(fields: &[(&str, &str)]) -> Rule {
    read(fields).unwrap_or_else(|broken| panic!("{broken:?}"))
}

fn read(fields: &[(&str, &str)]) -> Result<Rule, Vec<Broken>> {
    let of = |key: &str| fields.iter().find(|(name, _)| *name == key).map(|(_, text)| (*text).to_owned());
    let kinds = vec![of("kinds").unwrap_or_else(|| "Widget.example.com".into())];
    let text = RuleText::of(kinds, of("ignoreGeneration").is_some(), of);
    Rule::read(&text, "`rules.yaml`")
}

fn widget(status: Value) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "generation": 3, "labels": {"a": "b"}},
        "spec": {"replicas": 3, "ports": [80, 443], "big": 18446744073709551615_u64, "half": 0.5}, "status": status,
    })
}

/// The health that a rule with this one expression gives.
fn healthy_if(expression: &str, status: Value) -> Health {
    Rules::new(vec![rule(&[("healthy", expression)])], BTreeMap::new()).judge(&widget(status))
}

#[test]
fn expressions_mean_what_they_mean_in_kubernetes() {
    let status = || {
        json!({
            "phase": "Running", "ready": 2, "share": 0.5, "nothing": null, "tags": ["a", "b"],
            "parts": [{"name": "x", "up": true}, {"name": "y", "up": false}, {"name": "z"}], "map": {"k": "v", "l": "w"},
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "Old"},
                {"type": "Ready", "status": "True", "observedGeneration": 3},
                {"type": "Synced", "status": "True", "observedGeneration": 2, "message": "done"},
            ],
        })
    };
    for expression in [
        "status.phase == 'Running' && status.ready + 1 == spec.replicas",
        "object.metadata.name == 'w' && metadata.labels['a'] == 'b' && metadata.labels.a != 'c'",
        "has(status.phase) && !has(status.fase) && has(status.nothing)",
        "status.?fase.orValue('none') == 'none' && status.?phase.orValue('none') == 'Running'",
        "status.?a.?b.?c.orValue(1) == 1 && !status.?a.b.c.hasValue() && status.?phase.value() == 'Running'",
        "status.map[?'nokey'].orValue('?') == '?' && status.tags[?7].orValue('?') == '?' && status.tags[1] == 'b'",
        "status.parts.exists(p, has(p.up) && p.up) && !status.parts.all(p, has(p.up))",
        // The third part has no `up`: the first decides before it is looked at, and the second decides in spite of it.
        "status.parts.exists(p, p.up) && !status.parts.all(p, p.up)",
        "status.parts.exists_one(p, p.name == 'x') && status.parts.filter(p, has(p.up)).size() == 2",
        "status.parts.map(p, p.name) == ['x', 'y', 'z'] && status.parts.map(p, has(p.up), p.name).join('+') == 'x+y'",
        "status.map.map(k, k) == ['k', 'l'] && 'k' in status.map && 'b' in status.tags && !('c' in status.tags)",
        "condition('Ready').status == 'True' && condition('Ready').reason == '' && condition('None').status == ''",
        "condition('Synced').status == 'Unknown' && condition('Synced').reason == 'NotObserved'",
        "status.conditions.condition('Ready').status == 'True' && status.tags.condition('Ready').status == ''",
        "'abc'.startsWith('ab') && 'abc'.endsWith('bc') && 'abc'.contains('b') && 'ABC'.lowerAscii() == 'abc'",
        "'v1.2.3'.matches('^v[0-9]+[.]') && !'x'.matches('^v')",
        "size('äöü') == 3 && size(spec.ports) == 2 && size(status.map) == 2 && 'ab'.size() == 2",
        "7 / 2 == 3 && 7 % 2 == 1 && -7 < 0 && 2 * 3 - 1 == 5 && 1.0 == 1 && 1 < 1.5 && spec.half == status.share",
        "string(12) + 'x' == '12x' && int('12') == 12 && double('1.5') > 1 && int(1.9) == 1 && string(true) == 'true'",
        "[1, 2] + [3] == [1, 2, 3] && {'a': 1}.a == 1 && {'a': [1]} == {'a': [1]} && 'b' > 'a' && null == status.nothing",
        "(status.phase == 'Running' ? 1 : status.nofield) == 1 && state == ''",
        "true || status.nofield == 1",
        "status.nofield == 1 || true",
        "!(false && status.nofield == 1) && !(status.nofield == 1 && false)",
        "[[1, 2], [3]].exists(l, l.exists(i, i == 3)) && [1, 2].map(i, [3, 4].map(j, i * j)) == [[3, 4], [6, 8]]",
    ] {
        assert_eq!(healthy_if(expression, status()), Health::healthy(), "{expression}");
    }
}

#[test]
fn a_rule_that_does_not_fit_the_object_makes_it_unknown_with_the_reason() {
    for (expression, why) in [
        ("status.nofield == 1", "there is no field `nofield`"),
        ("status.phase.deep == 1", "a text has no field `deep`"),
        ("status.phase", "it has to be true or false"),
        ("status.phase && true", "a text stands where a bool is needed"),
        ("status.phase > 1", "a text and an int have no order"),
        ("status.phase + 1 == 2", "`+` doesn't work on a text and an int"),
        ("status.phase.exists(p, true)", "a text has no items"),
        ("status.tags[9] == 'a'", "there is no such item"),
        ("size(1) == 1", "an int has no size"),
        ("1 / 0 == 1", "divided by zero"),
        ("9223372036854775807 + 1 == 0", "the number is too large"),
        ("-(-9223372036854775807 - 1) == 0", "the number is too large"),
        ("int('x') == 1", "the text is no int"),
        ("has(status.phase.x)", "`has` of a field of a text"),
        ("status.?none.value() == 1", "there is no value"),
        ("status.tags.all(t, t == 1 / 0)", "divided by zero"),
    ] {
        let health = healthy_if(expression, json!({"phase": "x", "tags": ["a"]}));
        assert_eq!((health.state, health.reason.as_str()), (Unknown, "HealthRuleFailed"), "{expression}: {health:?}");
        assert!(health.message.starts_with("the rule in `rules.yaml`, `healthy`: "), "{health:?}");
        assert!(health.message.contains(why), "{expression}: {health:?}");
    }
}

#[test]
fn the_first_state_that_is_true_counts_and_none_is_on_its_way() {
    let rules = Rules::new(
        vec![rule(&[
            ("suspended", "status.phase == 'Paused'"),
            ("degraded", "status.phase in ['Failed', 'Paused']"),
            ("progressing", "status.phase == 'Starting'"),
            ("unknown", "status.phase == 'Lost'"),
            ("healthy", "status.phase == 'Ready'"),
            ("reason", "state == 'Degraded' ? 'ItBroke' : ''"),
            ("message", "state == 'Degraded' ? 'it broke: ' + status.why : ''"),
        ])],
        BTreeMap::new(),
    );
    for (phase, state, reason, message) in [
        ("Paused", Suspended, "Paused", "its phase is `Paused`"),
        ("Failed", Degraded, "ItBroke", "it broke: no disk"),
        ("Starting", Progressing, "Starting", "its phase is `Starting`"),
        ("Lost", Unknown, "Lost", "its phase is `Lost`"),
        ("Ready", Healthy, "", ""),
        ("Other", Progressing, "Other", "its phase is `Other`"),
    ] {
        let health = rules.judge(&widget(json!({"phase": phase, "why": "no disk"})));
        assert_eq!((health.state, health.reason.as_str(), health.message.as_str()), (state, reason, message));
    }
}

#[test]
fn a_rule_without_healthy_leaves_the_rest_to_the_conventions() {
    let rules = Rules::new(vec![rule(&[("degraded", "has(status.quotaExceeded)")])], BTreeMap::new());
    assert_eq!(rules.judge(&widget(json!({"quotaExceeded": true}))).state, Degraded);
    let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
    assert_eq!(rules.judge(&widget(ready("True"))).state, Healthy);
    assert_eq!(rules.judge(&widget(ready("Unknown"))).state, Progressing);
}

#[test]
fn a_component_s_rules_count_before_the_agent_s_and_those_before_what_is_built_in() {
    let says = |reason: &str| rule(&[("kinds", "*.*"), ("degraded", "true"), ("reason", &format!("'{reason}'"))]);
    let component = |name: &str| BTreeMap::from([(name.parse().expect("a name"), vec![says("Component")])]);
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"agent.tk8s.io/component": "shop"}}, "spec": {"paused": true},
    });
    let reason = |rules: Rules, object: &Value| rules.judge(object).reason;
    assert_eq!(reason(Rules::new(vec![says("File")], component("shop")), &deployment), "Component");
    assert_eq!(reason(Rules::new(vec![says("File"), says("Later")], component("other")), &deployment), "File");
    assert_eq!(reason(Rules::default(), &deployment), "Paused");
    // What is being deleted is judged by no rule.
    deployment["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(reason(Rules::new(vec![says("File")], component("shop")), &deployment), "BeingDeleted");
}

#[test]
fn kinds_are_named_as_kubectl_names_them() {
    for (pattern, group, kind, matches) in [
        ("Widget.example.com", "example.com", "Widget", true),
        ("Widget.example.com", "example.org", "Widget", false),
        ("*.example.com", "example.com", "Gadget", true),
        ("*.example.com", "sub.example.com", "Gadget", false),
        ("Widget.*.example.com", "sub.example.com", "Widget", true),
        ("Widget.*.example.com", "example.com", "Widget", false),
        ("Widget.*", "anything", "Widget", true),
        ("ConfigMap", "", "ConfigMap", true),
        ("ConfigMap", "example.com", "ConfigMap", false),
    ] {
        let pattern = KindPattern::read(pattern).expect(pattern);
        assert_eq!(pattern.is_for(group, kind), matches, "{pattern:?} {group} {kind}");
    }
    for wrong in ["", "Wid get.example.com", "Widget.Example.com", ".example.com", "W/x", "Widget.exa*mple"] {
        assert!(KindPattern::read(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn a_status_of_an_older_generation_is_on_its_way_unless_the_rule_ignores_generations() {
    let lagging =
        widget(json!({"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}]}));
    let ready = ("healthy", "condition('Ready').status == 'True'");
    let judge = |rule: Rule| Rules::new(vec![rule], BTreeMap::new()).judge(&lagging);
    assert_eq!(judge(rule(&[ready])).reason, "NotObserved");
    assert_eq!(judge(rule(&[ready, ("ignoreGeneration", "true")])), Health::healthy());
}

#[test]
fn what_can_not_be_evaluated_is_refused_when_it_is_read() {
    for (expression, why) in [
        ("status.phase ==", "column"),
        ("status.phase = 'x'", "column"),
        ("stats.phase == 'x'", "nothing is called `stats`: known are `object`, `metadata`, `spec`, `status`, `state`"),
        ("now() > 1", "there is no function `now` here"),
        ("status.phase.reverse() == 'x'", "there is no function `reverse` here"),
        ("condition() == 1", "`condition` takes 1 arguments, not 0"),
        ("status.parts.map(p, p2.up) == []", "nothing is called `p2`"),
        ("'x'.matches(status.pattern)", "has to be written out"),
        ("'x'.matches('(')", "the pattern of `matches`"),
        ("'x'.matches('(((a{1,99}){1,99}){1,99}){1,99}')", "the pattern of `matches`"),
        ("b'x' == b'x'", "bytes"),
        ("Widget{a: 1} == 1", "protocol buffers"),
        ("has(status)", "has"),
        ("", "column"),
    ] {
        let broken = read(&[("degraded", expression)]).expect_err(expression);
        assert_eq!((broken.len(), broken[0].key), (1, "degraded"), "{expression}");
        assert!(broken[0].message.contains(why), "{expression}: {broken:?}");
    }
    let both = read(&[("kinds", "no kind"), ("healthy", "x"), ("message", "'")]).expect_err("three mistakes");
    assert_eq!(both.iter().map(|broken| broken.key).collect::<Vec<_>>(), ["healthy", "message", "kinds"]);
}

#[test]
fn hostile_expressions_are_refused_in_bounded_time() {
    let nested = |open: &str, close: &str, times: usize| open.repeat(times) + "1" + &close.repeat(times);
    for expression in [
        "x".repeat(5000),
        nested("(", ")", 1500),
        nested("[", "]", 1500),
        "1".to_owned() + &"+1".repeat(1500) + " == 1",
        "true".to_owned() + &" ? true : false".repeat(250),
        "status".to_owned() + &".a".repeat(1800) + " == 1",
        "[1].exists(a, ".repeat(200) + "true" + &")".repeat(200),
        "'".to_owned() + &"\\".repeat(3000),
        "\u{0}\u{1}\u{7f}ÄÖÜ".into(),
    ] {
        assert!(read(&[("healthy", &expression)]).is_err(), "{expression}");
    }
    // The parser counts these, and keeps one or none.
    assert!(read(&[("healthy", &nested("-", "", 3000))]).is_ok() && read(&[("healthy", &nested("!", "", 3000))]).is_ok());
    // A long chain of `||` is no nesting.
    let long = (0..150).map(|number| format!("status.n == {number}")).collect::<Vec<_>>().join(" || ");
    assert!(read(&[("healthy", &long)]).is_ok());
}

#[test]
fn no_expression_takes_more_than_its_budget() {
    let list: Vec<u32> = (0..3000).collect();
    let status = json!({"list": list, "text": "x".repeat(100_000), "texts": vec!["y".repeat(1000); 500]});
    for (expression, why) in [
        ("status.list.all(a, status.list.all(b, status.list.all(c, a + b + c >= 0)))", "200,000 steps"),
        ("status.list.map(a, status.list.map(b, status.list)).size() > 0", "200,000 steps"),
        ("status.list.map(a, status.text + status.text).size() > 0", "256 KiB of text"),
        ("status.texts.map(a, a + a).join(',') == ''", "256 KiB of text"),
        ("status.list.exists(a, status.list == status.list && false)", "200,000 steps"),
        ("status.list.exists(a, status.text.contains('z'))", "200,000 steps"),
        ("status.list.exists(a, status.text.matches('z+y'))", "200,000 steps"),
        ("status.list.exists(a, a in status.texts)", "200,000 steps"),
        ("status.list.all(a, status.list.all(b, true)) || true", "200,000 steps"),
        (
            "[1].map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).map(a, [a, a]).exists(a, a == a && false)",
            "200,000 steps",
        ),
    ] {
        let health = healthy_if(expression, status.clone());
        assert_eq!(health.reason, "HealthRuleFailed", "{expression}");
        assert!(health.message.contains(why), "{expression}: {health:?}");
    }
    // What looks at each item of a long list is well within it.
    assert_eq!(healthy_if("status.list.all(a, a >= 0) && status.list.map(a, a + 1).size() == 3000", status), Health::healthy());
}

#[test]
fn every_built_in_rule_can_be_read_and_is_complete() {
    assert!(builtin::rules().len() > 50);
    for rule in builtin::rules() {
        assert!(!rule.0.kinds.is_empty() && rule.0.states.iter().any(|(state, ..)| *state == Healthy), "{rule:?}");
    }
}

#[test]
fn a_message_of_a_rule_is_one_bounded_printable_text() {
    let rules = Rules::new(
        vec![rule(&[("degraded", "true"), ("message", "'a\\nb' + status.text"), ("reason", "'a b'")])],
        BTreeMap::new(),
    );
    let health = rules.judge(&widget(json!({"text": "x".repeat(9000)})));
    assert!(health.message.chars().count() <= 501 && !health.message.contains('\n') && health.reason == "ab", "{health:?}");
}

const WORDS: &[&str] = &[
    "status",
    "object",
    "spec",
    "state",
    "nothing",
    ".",
    ".?",
    "[",
    "]",
    "[?",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "?",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "||",
    " in ",
    "true",
    "null",
    "1",
    "9223372036854775807",
    "1.5",
    "2u",
    "'a'",
    "b'a'",
    "r'\\'",
    "size",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "x",
    "orValue",
    "matches",
    "condition",
    "join",
    "string",
    "int",
    "list",
    "text",
    "\"",
    "'",
    "\\",
    "\u{0}",
    "ä",
    "\n",
    "//",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_text_makes_the_reader_or_the_judge_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..24)) {
        if let Ok(rule) = read(&[("degraded", &words.concat()), ("message", &words.join(" "))]) {
            let status = json!({"list": [1, "a", null, {"x": []}], "text": "a", "conditions": [{"type": "a"}, 1]});
            Rules::new(vec![rule], BTreeMap::new()).judge(&widget(status));
        }
    }
}
