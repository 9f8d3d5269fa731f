//! One panel: what it draws, in which unit and colours, and what good looks like.
//!
//! What all panels share is decided here: the data source is a variable, the legend is a
//! table, and the link leads to the runbook.

use serde_json::{Value, json};
use trunkline::telemetry::catalogue::{DELIVERY_LATENCY, HTTP_REQUEST_DURATION, JOB_DURATION};

pub(crate) const RUNBOOK: &str = "https://github.com/trunkline/trunkline/blob/main/docs/runbook.md";

pub(crate) const GREEN: &str = "green";
pub(crate) const YELLOW: &str = "yellow";
pub(crate) const ORANGE: &str = "orange";
pub(crate) const RED: &str = "red";
pub(crate) const BLUE: &str = "blue";
pub(crate) const PURPLE: &str = "purple";
pub(crate) const GREY: &str = "text";

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
    overrides: Vec<Value>,
    transformations: Vec<Value>,
}

impl Panel {
    fn new(kind: &'static str, title: &'static str, good: &str, options: Value) -> Self {
        Panel {
            kind,
            title,
            description: good.to_owned(),
            alert: None,
            size: (8, 9),
            defaults: json!({ "unit": "short", "custom": {}, "mappings": [], "thresholds": steps(&[(None, GREEN)]) }),
            options,
            targets: vec![],
            overrides: vec![],
            transformations: vec![],
        }
    }

    /// One number, or one per series, on the colour of its verdict.
    pub(crate) fn stat(title: &'static str, good: &str) -> Self {
        let reduce = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        let options = json!({
            "reduceOptions": reduce, "colorMode": "background", "graphMode": "none",
            "justifyMode": "auto", "orientation": "auto", "textMode": "auto", "wideLayout": true,
        });
        Self::new("stat", title, good, options).sized(4, 5)
    }

    /// A number that is neither good nor bad by itself.
    pub(crate) fn number(title: &'static str, good: &str) -> Self {
        let mut panel = Self::stat(title, good).thresholds(&[(None, BLUE)]);
        panel.options["colorMode"] = json!("value");
        panel
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

    /// The colour of the series whose names match; others keep the palette's.
    pub(crate) fn colours(mut self, all: &[(&str, &str)]) -> Self {
        self.overrides.extend(all.iter().map(|(names, colour)| {
            json!({
                "matcher": { "id": "byRegexp", "options": names },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": colour } }],
            })
        }));
        self
    }

    /// A click on a series leads to its process. Its queries keep `job` and `instance`.
    pub(crate) fn by_process(mut self) -> Self {
        let label = |name: &str| match self.kind {
            "table" => format!("${{__data.fields.{name}}}"),
            _ => format!("${{__field.labels.{name}}}"),
        };
        let url = format!(
            "/d/trunkline-process?var-datasource=${{datasource}}&var-job={}&var-instance={}&${{__url_time_range}}",
            label("job"),
            label("instance")
        );
        self.defaults["links"] =
            json!([{ "title": "This process", "url": url, "targetBlank": false }]);
        self
    }

    /// Digits behind the point.
    pub(crate) fn decimals(mut self, decimals: u8) -> Self {
        self.defaults["decimals"] = json!(decimals);
        self
    }

    /// What the value is called stands there instead of the value.
    pub(crate) fn names_only(mut self) -> Self {
        self.options["textMode"] = json!("name");
        self
    }

    /// The axis shows at least this much, so that zeros do not fill the panel with noise and
    /// thresholds stay in sight.
    pub(crate) fn at_least(mut self, top: f64) -> Self {
        self.defaults["custom"]["axisSoftMax"] = json!(top);
        self
    }

    /// Large and small values in one picture: logarithmic, and linear below 1.
    pub(crate) fn wide_scale(mut self) -> Self {
        self.defaults["custom"]["scaleDistribution"] =
            json!({ "type": "symlog", "log": 10, "linearThreshold": 1 });
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
        let (expr, instant) = (expr.into(), self.kind == "table");
        let format = match self.kind {
            "table" => "table",
            "heatmap" => "heatmap",
            _ => "time_series",
        };
        // A picture has room for the traces of its own time.
        let pictured = ["timeseries", "heatmap"].contains(&self.kind);
        let traced = [DELIVERY_LATENCY.name(), JOB_DURATION.name(), HTTP_REQUEST_DURATION.name()];
        let asks = |name: &&str| expr.contains(&format!("{name}_bucket"));
        let exemplar = pictured && traced.iter().any(asks);
        let mut target = json!({
            "refId": char::from(b'A' + self.targets.len() as u8).to_string(),
            "datasource": datasource(), "editorMode": "code", "expr": expr,
            "legendFormat": legend, "format": format, "instant": instant, "range": !instant,
        });
        if exemplar {
            target["exemplar"] = json!(true);
        }
        self.targets.push(target);
        self
    }

    /// Width and height in cells of the grid.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.size
    }

    /// The panel with its id, at its place.
    pub(crate) fn json(mut self, id: u64, x: u64, y: u64) -> Value {
        let (width, height) = self.size;
        if self.kind == "timeseries" && width >= 16 {
            // Beside a wide picture there is room for every name.
            self.options["legend"]["placement"] = json!("right");
        }
        let (tail, anchor) = match self.alert {
            Some(alert) => (format!("Alert: {alert}."), format!("#{}", alert.to_lowercase())),
            None => ("No alert.".to_owned(), String::new()),
        };
        let mut panel = json!({
            "id": id, "type": self.kind, "title": self.title,
            "description": format!("{} {tail}", self.description),
            "gridPos": { "x": x, "y": y, "w": width, "h": height },
            "datasource": datasource(),
            "fieldConfig": { "defaults": self.defaults, "overrides": self.overrides },
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

pub(crate) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn steps(all: &[(Option<f64>, &str)]) -> Value {
    let steps: Vec<Value> =
        all.iter().map(|(value, color)| json!({ "value": value, "color": color })).collect();
    json!({ "mode": "absolute", "steps": steps })
}
