//! Writes Grafana's classic dashboard JSON, which versions 10 to 13 import.
//!
//! What all panels share is decided here: the data source is a variable, the legend is a
//! table, and the layout flows from left to right, so that panels cannot overlap.

use serde_json::{Value, json};
use trunkline::model::Label;
use trunkline::telemetry::catalogue::{REDIS_CONNECTION_STATE, REDIS_CONNECTION_STATE_TIMESTAMP};

/// Columns of Grafana's grid.
const GRID: u64 = 24;
const RUNBOOK: &str = "https://github.com/trunkline/trunkline/blob/main/docs/runbook.md";

pub(crate) const GREEN: &str = "green";
pub(crate) const YELLOW: &str = "yellow";
pub(crate) const ORANGE: &str = "orange";
pub(crate) const RED: &str = "red";
pub(crate) const BLUE: &str = "blue";
pub(crate) const GREY: &str = "text";

/// The series of a metric that the variables of the dashboard choose; `more` narrows them.
pub(crate) fn of(name: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(r#"{name}{{job=~"$job", instance=~"$instance"{comma}{more}}}"#)
}

/// The same for a metric with a role.
pub(crate) fn of_role(name: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    of(name, &format!(r#"role=~"$role"{comma}{more}"#))
}

/// Per-second rate over the interval Grafana picks.
pub(crate) fn rate(series: &str) -> String {
    format!("rate({series}[$__rate_interval])")
}

/// A matcher for one value of a closed label.
pub(crate) fn is<L: Label>(value: L) -> String {
    format!(r#"{}="{}""#, L::KEYS[0], value.values()[0])
}

/// One panel, before it has a place.
pub(crate) struct Panel {
    kind: &'static str,
    title: &'static str,
    description: String,
    alert: Option<&'static str>,
    size: (u64, u64),
    defaults: Value,
    options: Value,
    targets: Vec<Value>,
    transformations: Vec<Value>,
}

impl Panel {
    fn new(kind: &'static str, title: &'static str, good: &str, options: Value) -> Self {
        Panel {
            kind,
            title,
            description: good.to_owned(),
            alert: None,
            size: (8, 8),
            defaults: json!({ "unit": "short", "custom": {}, "mappings": [], "thresholds": steps(&[(None, GREEN)]) }),
            options,
            targets: vec![],
            transformations: vec![],
        }
    }

    /// One number, or one per series.
    pub(crate) fn stat(title: &'static str, good: &str) -> Self {
        let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        let options = json!({
            "reduceOptions": reduce, "colorMode": "background", "graphMode": "area",
            "justifyMode": "auto", "orientation": "auto", "textMode": "auto", "wideLayout": true,
        });
        Self::new("stat", title, good, options).sized(4, 5)
    }

    /// Lines over time.
    pub(crate) fn lines(title: &'static str, good: &str) -> Self {
        let options = json!({
            "legend": { "displayMode": "table", "placement": "bottom", "showLegend": true,
                        "calcs": ["lastNotNull", "max"], "sortBy": "Max", "sortDesc": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        });
        let mut panel = Self::new("timeseries", title, good, options);
        panel.defaults["color"] = json!({ "mode": "palette-classic" });
        panel.defaults["min"] = json!(0);
        panel.defaults["custom"] = json!({
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never",
            "spanNulls": false, "thresholdsStyle": { "mode": "off" },
            "stacking": { "mode": "none", "group": "A" },
        });
        panel
    }

    /// Areas on top of each other: parts of a whole.
    pub(crate) fn stacked(title: &'static str, good: &str) -> Self {
        let mut panel = Self::lines(title, good);
        panel.defaults["custom"]["stacking"]["mode"] = json!("normal");
        panel.defaults["custom"]["fillOpacity"] = json!(30);
        panel
    }

    /// One band per series, coloured by value.
    pub(crate) fn bands(title: &'static str, good: &str) -> Self {
        let options = json!({
            "mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "single", "sort": "none" },
        });
        let mut panel = Self::new("state-timeline", title, good, options).sized(16, 9);
        panel.defaults["color"] = json!({ "mode": "thresholds" });
        panel.defaults["custom"] = json!({ "fillOpacity": 80, "lineWidth": 0 });
        panel
    }

    /// The series of this moment as rows.
    pub(crate) fn table(title: &'static str, good: &str) -> Self {
        let options = json!({ "showHeader": true, "cellHeight": "sm",
                              "footer": { "show": false, "reducer": ["sum"], "fields": "" } });
        let mut panel = Self::new("table", title, good, options).sized(8, 9);
        let hidden = json!({ "Time": true, "__name__": true });
        let organize = json!({ "excludeByName": hidden, "indexByName": {}, "renameByName": {} });
        panel.transformations = vec![json!({ "id": "organize", "options": organize })];
        panel
    }

    /// The buckets of a histogram over time.
    pub(crate) fn heatmap(title: &'static str, good: &str, unit: &str) -> Self {
        let options = json!({
            "calculate": false, "cellGap": 1, "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64 },
            "filterValues": { "le": 1e-9 }, "legend": { "show": true },
            "rowsFrame": { "layout": "auto" }, "showValue": "never",
            "tooltip": { "mode": "single", "yHistogram": false },
            "yAxis": { "axisPlacement": "left", "reverse": false, "unit": unit },
        });
        Self::new("heatmap", title, good, options).unit(unit)
    }

    /// Width and height in cells of the grid.
    pub(crate) fn sized(mut self, width: u64, height: u64) -> Self {
        self.size = (width, height);
        self
    }

    /// Grafana's id of the unit.
    pub(crate) fn unit(mut self, unit: &str) -> Self {
        self.defaults["unit"] = json!(unit);
        self
    }

    /// From which value on which colour; the first step has no value.
    pub(crate) fn thresholds(mut self, all: &[(Option<f64>, &str)]) -> Self {
        self.defaults["thresholds"] = steps(all);
        if self.kind == "timeseries" {
            self.defaults["custom"]["thresholdsStyle"]["mode"] = json!("dashed");
        }
        self
    }

    /// The word and colour of each whole number.
    pub(crate) fn words(
        mut self,
        words: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Self {
        let each = words.into_iter().enumerate().map(|(at, (text, color))| {
            (at.to_string(), json!({ "text": text, "color": color, "index": at }))
        });
        let options: serde_json::Map<String, Value> = each.collect();
        self.defaults["mappings"] = json!([{ "type": "value", "options": options }]);
        self
    }

    /// The largest value that makes sense.
    pub(crate) fn max(mut self, max: f64) -> Self {
        self.defaults["max"] = json!(max);
        self
    }

    /// What stands there without any series.
    pub(crate) fn empty(mut self, text: &str) -> Self {
        self.defaults["noValue"] = json!(text);
        self
    }

    /// The alert that this panel explains.
    pub(crate) fn alert(mut self, name: &'static str) -> Self {
        self.alert = Some(name);
        self
    }

    /// One more query and how its series are called.
    pub(crate) fn query(mut self, expr: impl Into<String>, legend: &str) -> Self {
        let instant = self.kind == "table";
        let format = match self.kind {
            "table" => "table",
            "heatmap" => "heatmap",
            _ => "time_series",
        };
        self.targets.push(json!({
            "refId": char::from(b'A' + self.targets.len() as u8).to_string(),
            "datasource": datasource(), "editorMode": "code", "expr": expr.into(),
            "legendFormat": legend, "format": format, "instant": instant, "range": !instant,
        }));
        self
    }

    fn json(self, id: u64, x: u64, y: u64) -> Value {
        let (width, height) = self.size;
        let (tail, anchor) = match self.alert {
            Some(alert) => (format!("Alert: {alert}."), format!("#{}", alert.to_lowercase())),
            None => ("No alert.".to_owned(), String::new()),
        };
        let mut panel = json!({
            "id": id, "type": self.kind, "title": self.title,
            "description": format!("{} {tail}", self.description),
            "gridPos": { "x": x, "y": y, "w": width, "h": height },
            "datasource": datasource(),
            "fieldConfig": { "defaults": self.defaults, "overrides": [] },
            "options": self.options, "targets": self.targets,
            "links": [{
                "type": "link", "title": "Runbook", "url": format!("{RUNBOOK}{anchor}"), "tags": [], "icon": "doc",
                "tooltip": "", "asDropdown": false, "includeVars": false, "keepTime": false, "targetBlank": true,
            }],
        });
        if !self.transformations.is_empty() {
            panel["transformations"] = json!(self.transformations);
        }
        panel
    }
}

/// A dashboard: rows of panels.
pub(crate) struct Dashboard {
    pub(crate) uid: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    pub(crate) rows: Vec<(&'static str, Vec<Panel>)>,
}

impl Dashboard {
    /// The file's whole text.
    pub(crate) fn json(self) -> String {
        let (mut panels, mut id, mut y) = (vec![], 0, 0);
        for (title, row) in self.rows {
            id += 1;
            panels.push(json!({
                "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
                "gridPos": { "x": 0, "y": y, "w": GRID, "h": 1 },
            }));
            y += 1;
            let (mut x, mut tallest) = (0, 0);
            for panel in row {
                let (width, height) = panel.size;
                if x + width > GRID {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                id += 1;
                panels.push(panel.json(id, x, y));
                (x, tallest) = (x + width, tallest.max(height));
            }
            y += tallest;
        }
        let dashboard = json!({
            "uid": self.uid, "title": self.title, "description": self.description,
            "tags": ["trunkline"], "schemaVersion": 39, "version": 1, "editable": false,
            "graphTooltip": 1, "refresh": "30s", "timezone": "browser", "fiscalYearStartMonth": 0,
            "time": { "from": "now-1h", "to": "now" }, "timepicker": {},
            "links": [{
                "type": "dashboards", "title": "Trunkline", "tags": ["trunkline"], "url": "", "icon": "external link",
                "tooltip": "", "asDropdown": true, "includeVars": true, "keepTime": true, "targetBlank": false,
            }],
            "templating": { "list": variables() }, "annotations": { "list": annotations() },
            "panels": panels,
        });
        format!("{}\n", serde_json::to_string_pretty(&dashboard).expect("JSON"))
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn steps(all: &[(Option<f64>, &str)]) -> Value {
    let steps: Vec<Value> =
        all.iter().map(|(value, color)| json!({ "value": value, "color": color })).collect();
    json!({ "mode": "absolute", "steps": steps })
}

fn variables() -> Vec<Value> {
    let state = REDIS_CONNECTION_STATE.name();
    let chosen = |name: &str, label: &str, query: String| {
        json!({
            "type": "query", "name": name, "label": label, "datasource": datasource(),
            "definition": query, "query": { "query": query, "refId": name }, "refresh": 2, "sort": 1,
            "multi": true, "includeAll": true, "allValue": ".+", "current": { "text": "All", "value": "$__all" },
            "hide": 0, "options": [], "regex": "", "skipUrlSync": false,
        })
    };
    vec![
        json!({
            "type": "datasource", "name": "datasource", "label": "Data Source", "query": "prometheus",
            "current": { "text": "default", "value": "default" }, "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1,
            "regex": "", "skipUrlSync": false,
        }),
        chosen("job", "Job", format!("label_values({state}, job)")),
        chosen(
            "instance",
            "Instance",
            format!(r#"label_values({state}{{job=~"$job"}}, instance)"#),
        ),
        chosen(
            "role",
            "Role",
            format!(r#"label_values({state}{{job=~"$job", instance=~"$instance"}}, role)"#),
        ),
    ]
}

fn annotations() -> Vec<Value> {
    let mark = |name: &str, color: &str, at_value: bool, expr: String, title: &str, tags: &str| {
        json!({
            "name": name, "datasource": datasource(), "enable": true, "iconColor": color,
            "expr": expr, "step": "15s", "titleFormat": title, "tagKeys": tags, "useValueForTime": at_value,
        })
    };
    // The value is the moment itself, in milliseconds: changes() would miss what happens
    // between the last sample of one step and the first of the next.
    let moment = |series: String| format!("{series} * 1000");
    let entered = moment(of_role(REDIS_CONNECTION_STATE_TIMESTAMP.name(), ""));
    let started = moment(of("process_start_time_seconds", ""));
    let firing = r#"ALERTS{alertname=~"Trunkline.+", alertstate="firing"}"#.to_owned();
    vec![
        mark(
            "State changes",
            ORANGE,
            true,
            entered,
            "{{role}} of {{instance}} changed its state",
            "job,instance,role",
        ),
        mark("Starts", BLUE, true, started, "{{instance}} started", "job,instance"),
        mark("Alerts", RED, false, firing, "{{alertname}}", "severity,job,instance,role"),
    ]
}
