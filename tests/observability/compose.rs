//! The composed stack: valid, pinned, closed to the outside, and made of files that exist.

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

#[test]
fn grafana_finds_the_dashboards_and_prometheus() {
    let provider = yaml("dashboards/provisioning/dashboards/trunkline.yml");
    let source = yaml("dashboards/provisioning/datasources/prometheus.yml");
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
