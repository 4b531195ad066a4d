//! What the Deployment promises the agent, and the agent the Deployment.

use std::time::Duration;

use super::*;

fn pod(values: &str) -> Value {
    of_kind(&Tools::new().objects(values), "Deployment")["spec"]["template"].clone()
}

#[test]
fn the_pod_has_longer_to_end_than_the_agent_takes() {
    // The last request, its outcome, what it tells of that, and the Lease: `agent/src/run.rs`, in its order.
    let longest = tk8s_diff::fence::UNDER_WAY + Duration::from_secs(4 + 2 + 5);
    let grace = pod(LEAST)["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(Duration::from_secs(grace) > longest, "{grace}");
}

#[test]
fn the_limit_of_memory_holds_the_agent_and_one_run_of_a_program() {
    let memory = pod(LEAST)["spec"]["containers"][0]["resources"]["limits"]["memory"].as_str().unwrap().to_owned();
    let memory: u64 = memory.strip_suffix("Mi").unwrap().parse().unwrap();
    // `render.memory`, and what docs/performance.md allows the agent at 10,000 objects.
    assert!(memory >= 1024 + 256, "{memory}");
}

#[test]
fn keys_that_need_a_restart_restart_the_pod_and_no_others_do() {
    let documented = std::fs::read_to_string(part("docs/configuration.md")).unwrap();
    let (_, documented) = documented.split_once("So do these keys, which need a restart: ").unwrap();
    let (documented, _) = documented.split_once(". ").unwrap();
    let restart = |key: &str| {
        let value = match key {
            "instance" | "cluster" => "other",
            "environment" => "staging",
            "repository.url" => "'https://git.example.com/other'",
            "history" => "{releases: 7}",
            "api.listen" | "api.healthListen" | "api.metricsListen" => "'0.0.0.0:1234'",
            "api.tls" => "{certificateFile: /run/tk8s/api/tls.crt, keyFile: /run/tk8s/api/tls.key}",
            "api.addressFile" => "/tmp/addresses",
            "lease.namespace" => "other",
            "render" => "{timeout: 7s}",
            "watch" => "{secrets: false}",
            "apply.concurrency" => "7",
            "repository.interval" => "7s",
            "repository.auth" => "{tokenFile: /run/tk8s/git/other}",
            "trust.preReleases" => "true",
            "webhook" => "{secretFile: /run/tk8s/webhook/secret}",
            _ => panic!("nobody says what `{key}` could be instead"),
        };
        let nested = key.rsplit('.').fold(value.to_owned(), |value, name| format!("{{{name}: {value}}}"));
        let annotation = |values: &str| pod(values)["metadata"]["annotations"]["agent.tk8s.io/restarts-with"].clone();
        annotation(LEAST) != annotation(&with(LEAST, &format!("config: {nested}")))
    };
    for key in documented.split('`').skip(1).step_by(2) {
        assert!(restart(key), "{key}");
    }
    for key in ["apply.concurrency", "repository.interval", "repository.auth", "trust.preReleases", "webhook"] {
        assert!(!restart(key), "{key}");
    }
}

#[test]
fn listeners_that_are_elsewhere_are_found_there() {
    let pod = pod(&with(LEAST, "config: {api: {listen: '0.0.0.0:9443', healthListen: '[::]:9081'}}"));
    let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
    let ports: Vec<_> =
        ports.iter().map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap())).collect();
    assert_eq!(ports, [("api", 9443), ("health", 9081), ("metrics", 9090)]);
}

#[test]
fn every_file_that_the_agent_reads_is_in_a_directory_that_is_mounted_whole() {
    for values in [LEAST, &example(), rendered::EVERYTHING] {
        let objects = Tools::new().objects(values);
        let deployment = of_kind(&objects, "Deployment");
        let mounts = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].as_array().unwrap();
        // A single file would never be exchanged while the agent runs.
        assert!(mounts.iter().all(|mount| mount["subPath"].is_null()), "{mounts:?}");
        let mounted: Vec<_> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
        let file = agent_file(&objects);
        let paths: Vec<_> =
            file.split_whitespace().map(|word| word.trim_matches('"')).filter(|word| word.starts_with('/')).collect();
        assert!(paths.len() >= 4, "{paths:?}");
        for path in paths {
            assert!(mounted.iter().any(|directory| Path::new(path).starts_with(directory)), "{path}: {mounted:?}");
        }
    }
}
