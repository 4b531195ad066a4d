//! The benchmark once, small: that it measures what it says. How long anything takes is not judged here.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_benchmark_measures_every_line_and_the_agent_asks_for_no_more_than_it_needs() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.args(["--objects", "200", "--pairs", "1", "--json"]).arg(file.path()).env("TK8S_ASSETS", tk8s_tests::assets());
    let output = bench.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    let lines: Vec<Value> =
        std::fs::read_to_string(file.path()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["bar", "cpu_s", "floor_s", "holds", "line", "objects", "ours_s", "ratio", "requests", "rss_mib"]);
        for measured in ["ours_s", "floor_s", "ratio", "rss_mib"] {
            assert!(line[measured].is_null() || line[measured].as_f64().unwrap() > 0.0, "{line}");
        }
    }
    let requests: BTreeMap<(&str, u64), u64> = lines
        .iter()
        .filter_map(|line| Some(((line["line"].as_str()?, line["objects"].as_u64()?), line["requests"].as_u64()?)))
        .collect();
    // A dry-run and a patch for each object that changes, and nothing for any other.
    for (line, objects, expected) in [
        ("all changed", 200, 400),
        ("nothing changed, one look", 200, 0),
        ("one object changed: push to patch", 200, 2),
        ("drift, write to repair: median of 40", 200, 2),
        ("full check of each kind", 200, 0),
        ("restart, beside the lists alone", 200, 0),
        ("rollback, Git off", 1, 2),
        ("rollback, Git off", 200, 400),
        ("rollback of everything, Git off", 200, 400),
        ("20 components, one commit", 200, 400),
    ] {
        assert_eq!(requests.get(&(line, objects)), Some(&expected), "{line}\n{said}");
    }
    for (name, commits, bar) in [("verify one commit", 1, "<= 1 ms CPU"), ("verify each commit of a range", 20, "<= 20 ms CPU")] {
        let line = lines.iter().find(|line| line["line"] == name && line["objects"] == commits);
        assert!(line.is_some_and(|line| line["bar"] == bar && line["cpu_s"].as_f64() > Some(0.0)), "{name}\n{said}");
    }
    // However many components begin together, what serves their two kinds is asked once each; and once who the agent is.
    let first = requests[&("first apply", 200)];
    assert!((402..=403).contains(&first), "{first}\n{said}");
    for name in ["https, whole", "https, nothing new", "file, whole", "file, nothing new"] {
        let line = lines.iter().find(|line| line["line"].as_str().unwrap().contains(name));
        assert!(line.is_some_and(|line| line["ratio"].is_f64()), "{name}\n{said}");
    }
}
