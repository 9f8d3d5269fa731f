//! The composed stack: valid, pinned, closed to the outside, and made of files that exist.

use std::process::Command;

use serde_json::Value;

use crate::{expect_none, path, read, yaml};

/// Services with their names.
fn services() -> Vec<(String, Value)> {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().expect("services");
    services.iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value[key].as_array().map_or(vec![], |all| all.iter().filter_map(Value::as_str).collect())
}

#[test]
fn the_compose_file_follows_the_compose_specification() {
    let schema = serde_json::from_str(&read("tests/schemas/compose-spec.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let compose = yaml("docker-compose.yml");
    expect_none(
        validator
            .iter_errors(&compose)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect(),
    );
}

#[test]
fn every_service_is_pinned_and_cannot_reach_further_than_it_must() {
    let mut faults = vec![];
    for (name, service) in services() {
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{name}: {what}"));
            }
        };
        if service["build"].is_null() {
            let tag =
                service["image"].as_str().and_then(|it| it.rsplit_once(':')).map_or("", |it| it.1);
            demand(tag.matches('.').count() == 2, "an image of one exact version");
        }
        demand(service["read_only"] == true, "a read-only root");
        demand(texts(&service, "cap_drop") == ["ALL"], "no capabilities");
        demand(texts(&service, "security_opt") == ["no-new-privileges:true"], "no new privileges");
        demand(service["healthcheck"]["test"].is_array(), "a health check");
        for port in texts(&service, "ports") {
            demand(port.starts_with("127.0.0.1:"), "ports on loopback only");
        }
        for volume in texts(&service, "volumes") {
            let (source, read_only) =
                (volume.split(':').next().unwrap_or(""), volume.ends_with(":ro"));
            if source.starts_with('.') {
                demand(path(source).is_dir(), &format!("{source} is no directory"));
                demand(read_only, &format!("{source} is mounted read-only"));
            }
        }
    }
    expect_none(faults);
}

#[test]
fn the_image_holds_the_three_programs_and_no_root() {
    let (dockerfile, manifest) = (read("Dockerfile"), read("Cargo.toml"));
    let stages: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(stages.len(), 2, "one stage builds, one runs");
    assert!(
        stages.iter().all(|stage| stage.contains(':') && !stage.contains("latest")),
        "{stages:?}"
    );
    for binary in manifest.split("[[bin]]").skip(1) {
        let name = binary.split('"').nth(1).expect("a name");
        assert!(dockerfile.contains(&format!("target/release/{name} ")), "{name} is not installed");
    }
    let last = dockerfile.lines().rev().find(|line| line.starts_with("USER ")).expect("a user");
    assert!(last != "USER root" && last != "USER 0", "{last}");
}

/// A service of ours: name, program, environment.
type Ours = (String, String, Vec<(String, String)>);

fn ours() -> Vec<Ours> {
    let ours = services().into_iter().filter(|(_, service)| !service["build"].is_null());
    ours.map(|(name, service)| {
        let environment = service["environment"].as_object().expect("an environment").clone();
        let environment = environment.into_iter().map(|(name, value)| {
            (name, value.as_str().expect("every value is quoted where it is no text").to_owned())
        });
        let [program] = texts(&service, "command")[..] else { panic!("{name}: a program alone") };
        (name, program.to_owned(), environment.collect())
    })
    .collect()
}

/// The port at the end of an address.
fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or("", |(_, port)| port)
}

#[test]
fn our_programs_accept_what_the_composed_stack_tells_them() {
    let settings = read("docs/configuration.md");
    for (name, program, environment) in ours() {
        let component = program.strip_prefix("trunkline-").expect("a daemon of ours");
        assert_eq!(component, name);
        let mut checked = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        checked.args(["config", component, "--check"]).env_clear().envs(environment.clone());
        let output = checked.output().expect("the tool runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        // A name that no program knows would be passed over in silence.
        for (variable, _) in environment {
            assert!(settings.contains(&format!("`{variable}`")), "{name}: {variable}");
        }
    }
}

#[test]
fn the_ports_of_the_composed_stack_are_those_our_programs_listen_on() {
    let scrapes = yaml("deploy/prometheus.yml")["scrape_configs"].clone();
    let exposed = read("Dockerfile");
    let exposed = exposed.lines().find_map(|line| line.strip_prefix("EXPOSE ")).expect("EXPOSE");
    for (name, _, environment) in ours() {
        let of = |variable| {
            let found = environment.iter().find(|(name, _)| name == variable);
            found.map_or("", |(_, address)| port(address))
        };
        let (_, service) = services().into_iter().find(|(it, _)| *it == name).expect("itself");
        let admin = of("TRUNKLINE_ADMIN_LISTEN");
        let probe = texts(&service["healthcheck"], "test").join(" ");
        assert!(probe.contains(&format!("/dev/tcp/127.0.0.1/{admin} ")), "{name}: {probe}");
        let scraped = scrapes.as_array().expect("a list").iter().find_map(|scrape| {
            let dns = &scrape["dns_sd_configs"][0];
            texts(dns, "names").contains(&name.as_str()).then(|| dns["port"].to_string())
        });
        assert_eq!(scraped.as_deref(), Some(admin), "{name}: the port that Prometheus scrapes");
        for published in texts(&service, "ports") {
            assert_eq!(port(published), of("TRUNKLINE_LISTEN"), "{name}: {published}");
            let range = published.split(':').nth(1).and_then(|it| it.split_once('-'));
            let (first, last) = range.expect("a range, one port for each");
            let ports = last.parse::<u64>().unwrap_or(0) + 1 - first.parse::<u64>().unwrap_or(0);
            assert_eq!(service["deploy"]["replicas"], ports, "{name}: {published}");
        }
        let known: Vec<&str> = exposed.split(' ').collect();
        for port in [admin, of("TRUNKLINE_LISTEN")] {
            assert!(port.is_empty() || known.contains(&port), "{name}: {port} is not EXPOSEd");
        }
    }
}

#[test]
fn whatever_is_spoken_to_is_a_service_of_the_stack() {
    let names: Vec<String> = services().into_iter().map(|(name, _)| name).collect();
    let mut spoken_to: Vec<String> = vec![];
    for file in [
        "docker-compose.yml",
        "deploy/prometheus.yml",
        "dashboards/provisioning/datasources/trunkline.yml",
    ] {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ":/.-".contains(c)));
        let urls = words.filter_map(|word| word.split_once("://")).map(|(_, rest)| rest);
        let hosts = urls.filter_map(|rest| rest.split(['/', ':']).next());
        spoken_to.extend(hosts.filter(|host| *host != "127.0.0.1").map(str::to_owned));
    }
    let scrapes = yaml("deploy/prometheus.yml");
    let lists = scrapes["scrape_configs"].as_array().expect("a list").iter();
    let lists = lists.chain(scrapes["alerting"]["alertmanagers"].as_array().expect("a list"));
    for target in lists.flat_map(|list| texts(&list["static_configs"][0], "targets")) {
        spoken_to.extend(target.split(':').next().map(str::to_owned));
    }
    assert!(spoken_to.len() > 6, "{spoken_to:?}");
    expect_none(spoken_to.into_iter().filter(|host| !names.contains(host)).collect());
}

#[test]
fn a_point_on_a_latency_leads_to_its_trace() {
    let sources = yaml("dashboards/provisioning/datasources/trunkline.yml")["datasources"].clone();
    let [prometheus, jaeger] = &sources.as_array().expect("a list")[..] else { panic!("two") };
    let link = &prometheus["jsonData"]["exemplarTraceIdDestinations"][0];
    assert_eq!((link["name"].as_str(), &link["datasourceUid"]), (Some("trace_id"), &jaeger["uid"]));
    let (_, service) = services().into_iter().find(|(name, _)| name == "prometheus").expect("it");
    let command = texts(&service, "command");
    assert!(command.contains(&"--enable-feature=exemplar-storage"), "{command:?}");
}

#[test]
fn grafana_finds_the_dashboards_and_prometheus() {
    let provider = yaml("dashboards/provisioning/dashboards/trunkline.yml");
    let source = yaml("dashboards/provisioning/datasources/trunkline.yml");
    let folder = provider["providers"][0]["options"]["path"].as_str().expect("a path");
    let (_, grafana) = services().into_iter().find(|(name, _)| name == "grafana").expect("grafana");
    let mounts = texts(&grafana, "volumes");
    assert!(mounts.contains(&format!("./dashboards:{folder}:ro").as_str()), "{mounts:?}");
    let home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].as_str();
    let home = home.and_then(|it| it.strip_prefix(folder)).expect("a home in the folder");
    assert!(path(&format!("dashboards{home}")).is_file(), "{home}");
    // The shortest interval that $__rate_interval is made of.
    let scrape = yaml("deploy/prometheus.yml")["global"]["scrape_interval"].clone();
    assert_eq!(source["datasources"][0]["jsonData"]["timeInterval"], scrape);
}
