//! A dashboard around its panels: variables, annotations, links and layout.
//!
//! The JSON is Grafana's classic model, which it imports and converts where it must. The layout flows from
//! left to right, so that panels cannot overlap.

use serde_json::{Value, json};
use trunkline::model::ConnectionState;
use trunkline::telemetry::catalogue::{
    BUILD_INFO, REDIS_CONNECTION_STATE, REDIS_CONNECTION_STATE_TIMESTAMP,
};

use super::expression::{is, of, of_role};
use super::panel::{BLUE, GREEN, ORANGE, Panel, RED, RUNBOOK, datasource};

/// Columns of Grafana's grid.
const GRID: u64 = 24;

/// A dashboard: rows of panels.
pub(crate) struct Dashboard {
    /// Stands in links from outside, so it never changes; also the name of the file.
    pub(crate) uid: &'static str,
    pub(crate) title: &'static str,
    /// The question it answers.
    pub(crate) description: &'static str,
    /// Whether it shows one process at a time.
    pub(crate) one_process: bool,
    pub(crate) rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Dashboard {
    /// The file's whole text.
    pub(crate) fn json(self) -> String {
        let dashboard = json!({
            "uid": self.uid, "title": self.title, "description": self.description,
            "tags": ["trunkline"], "schemaVersion": 39, "version": 1, "editable": false,
            "graphTooltip": 1, "refresh": "30s", "timezone": "browser", "fiscalYearStartMonth": 0,
            "time": { "from": "now-1h", "to": "now" }, "timepicker": {},
            "links": links(), "templating": { "list": variables(self.one_process) },
            "annotations": { "list": annotations() }, "panels": laid_out(self.rows),
        });
        format!("{}\n", serde_json::to_string_pretty(&dashboard).expect("JSON"))
    }
}

/// Gives every panel an id and a place.
fn laid_out(rows: Vec<(&'static str, Vec<Panel>)>) -> Vec<Value> {
    let (mut panels, mut id, mut y) = (vec![], 0, 0);
    for (title, row) in rows {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": GRID, "h": 1 },
        }));
        y += 1;
        let (mut x, mut tallest) = (0, 0);
        for panel in row {
            let (width, height) = panel.size();
            if x + width > GRID {
                (x, y, tallest) = (0, y + tallest, 0);
            }
            id += 1;
            panels.push(panel.json(id, x, y));
            (x, tallest) = (x + width, tallest.max(height));
        }
        y += tallest;
    }
    panels
}

/// The other dashboards, which keep time and variables, and the runbook.
fn links() -> Value {
    json!([
        {
            "type": "dashboards", "title": "Trunkline", "tags": ["trunkline"], "url": "",
            "icon": "external link", "tooltip": "", "asDropdown": false, "includeVars": true,
            "keepTime": true, "targetBlank": false,
        },
        {
            "type": "link", "title": "Runbook", "tags": [], "url": RUNBOOK, "icon": "doc",
            "tooltip": "One heading per alert", "asDropdown": false, "includeVars": false,
            "keepTime": false, "targetBlank": true,
        },
    ])
}

fn variables(one_process: bool) -> Vec<Value> {
    let state = REDIS_CONNECTION_STATE.name();
    let chosen = |name: &str, label: &str, many: bool, query: String| {
        let mut variable = json!({
            "type": "query", "name": name, "label": label, "datasource": datasource(),
            "query": { "query": query, "refId": name }, "refresh": 2, "sort": 1,
            "multi": many, "includeAll": many, "hide": 0, "options": [], "regex": "", "skipUrlSync": false,
        });
        if many {
            variable["allValue"] = json!(".+");
            variable["current"] = json!({ "text": "All", "value": "$__all" });
        }
        variable
    };
    vec![
        json!({
            "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
            "current": { "text": "default", "value": "default" }, "hide": 0, "includeAll": false,
            "multi": false, "options": [], "refresh": 1, "regex": "", "skipUrlSync": false,
        }),
        chosen("job", "Job", true, format!("label_values({state}, job)")),
        chosen(
            "instance",
            "Instance",
            !one_process,
            format!(r#"label_values({state}{{job=~"$job"}}, instance)"#),
        ),
        chosen(
            "role",
            "Role",
            true,
            format!(r#"label_values({state}{{job=~"$job", instance=~"$instance"}}, role)"#),
        ),
    ]
}

fn annotations() -> Vec<Value> {
    let mark = |name: &str, color: &str, at_value: bool, expr: String, title: &str, tags: &str| {
        json!({
            "name": name, "datasource": datasource(), "enable": true, "iconColor": color,
            "target": { "refId": name, "expr": expr, "interval": "15s" },
            "titleFormat": title, "tagKeys": tags, "useValueForTime": at_value,
        })
    };
    // A state that lasts is a region. What is over between two scrapes is none: it shows by the
    // moment that ready was entered, which is the value itself, in milliseconds.
    let ready = of_role(REDIS_CONNECTION_STATE.name(), &is(ConnectionState::Ready));
    let away = format!("1 - {ready} > 0");
    let back = format!(
        "{} * 1000 and on (job, instance, role) {ready} == 1",
        of_role(REDIS_CONNECTION_STATE_TIMESTAMP.name(), "")
    );
    let started = format!(
        "{} * 1000 * on (job, instance) group_left (version, revision) {}",
        of("process_start_time_seconds", ""),
        of(BUILD_INFO.name(), "")
    );
    let firing =
        r#"ALERTS{alertname=~"Trunkline.+|RedisClients.+", alertstate="firing"}"#.to_owned();
    vec![
        mark(
            "Not ready",
            ORANGE,
            false,
            away,
            "{{role}} of {{instance}} is not ready",
            "job,instance,role",
        ),
        mark(
            "Ready",
            GREEN,
            true,
            back,
            "{{role}} of {{instance}} became ready",
            "job,instance,role",
        ),
        mark(
            "Starts and deploys",
            BLUE,
            true,
            started,
            "{{instance}} started, version {{version}} {{revision}}",
            "job,instance",
        ),
        mark("Alerts", RED, false, firing, "{{alertname}}", "severity,job,instance,role"),
    ]
}
