//! The admin listener: is it alive, is it ready, has it started, and what does it measure.
//! Read only, and safe to ask at any rate: none of it asks Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::access::admit_reader;
use super::body::Body;
use super::problem::method_not_allowed;
use super::public::json_response;
use super::serve::{Answer, Connection, catch_panic};
use crate::health::{Monitor, Progress, Readiness, Report};
use crate::model::{Check, Component, Label, Problem, ProblemKind};
use crate::telemetry::{PageFormat, Rendered};

type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;

/// The doors of the admin listener.
pub struct Admin {
    component: Component,
    progress: Progress,
    monitor: Arc<Monitor>,
    sources: Sources,
    started: AtomicBool,
}

/// Where the admin listener learns what it tells. None of them may block for long.
pub struct Sources {
    /// Whether every connection's first dial has ended, one way or the other.
    pub started: Ask<bool>,
    /// The connections at this moment.
    pub report: Ask<Report>,
    /// The page of metrics, in the format that is wanted if it can be had.
    pub metrics: Box<dyn Fn(PageFormat) -> BoxFuture<'static, Rendered> + Send + Sync>,
}

impl Admin {
    /// The admin doors of a process.
    pub fn new(
        component: Component,
        progress: Progress,
        monitor: Arc<Monitor>,
        sources: Sources,
    ) -> Self {
        Self { component, progress, monitor, sources, started: AtomicBool::new(false) }
    }

    async fn pass(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Body> {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let known = ["/livez", "/readyz", "/startupz", "/metrics", "/status"];
        if !known.contains(&path) {
            let detail = format!("this listener has {}", known.join(", "));
            return Problem::new(ProblemKind::NotFound, detail).into_response();
        }
        if *method != Method::GET && *method != Method::HEAD {
            return method_not_allowed("GET, HEAD");
        }
        let mut response = match path {
            "/livez" => self.live(),
            "/readyz" => self.ready(is_verbose(query)),
            "/startupz" => self.startup(),
            "/metrics" => self.metrics(headers).await,
            _ => self.status(),
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn live(&self) -> Response<Body> {
        let stalled = self.progress.stalled(Instant::now());
        let document = |stalled: Value| json!({ "live": stalled.is_null(), "stalled": stalled });
        if stalled.is_empty() {
            return json_response(StatusCode::OK, &document(Value::Null));
        }
        let late = stalled
            .iter()
            .map(|loop_| json!({ "loop": loop_.name, "silent_seconds": loop_.silent.as_secs() }));
        json_response(StatusCode::SERVICE_UNAVAILABLE, &document(late.collect()))
    }

    fn ready(&self, verbose: bool) -> Response<Body> {
        let Readiness { ready, missing } = self.monitor.readiness();
        let names: Vec<_> = missing.iter().map(|check| check.label()).collect();
        let mut document = json!({ "ready": ready, "missing": names });
        if verbose {
            let asked = Check::ALL.iter().filter(|check| check.legal(self.component));
            let checks: Map<_, _> = asked
                .map(|check| (check.label().to_owned(), Value::from(!missing.contains(check))))
                .collect();
            document["checks"] = checks.into();
        }
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_response(status, &document)
    }

    fn startup(&self) -> Response<Body> {
        // Once started, always started: a later redial is no start.
        let started = self.started.load(Ordering::Relaxed) || (self.sources.started)();
        self.started.store(started, Ordering::Relaxed);
        let status = if started { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json_response(status, &json!({ "started": started }))
    }

    async fn metrics(&self, headers: &HeaderMap) -> Response<Body> {
        let accept = headers.get(ACCEPT).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let Rendered { format, text } = (self.sources.metrics)(PageFormat::preferred(accept)).await;
        let mut response = Response::new(Body::Whole(Bytes::from(text)));
        let content_type = HeaderValue::from_static(format.content_type());
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }

    fn status(&self) -> Response<Body> {
        match serde_json::to_value((self.sources.report)()) {
            Ok(report) => json_response(StatusCode::OK, &report),
            Err(error) => Problem::new(ProblemKind::Internal, error.to_string()).into_response(),
        }
    }
}

impl Answer for Admin {
    async fn answer(&self, request: Request<Incoming>, connection: &Connection) -> Response<Body> {
        let local = connection.local.ip();
        if let Err(problem) = admit_reader(request.uri(), request.headers(), local) {
            return problem.into_response();
        }
        let answer = self.pass(request.method(), request.uri(), request.headers());
        catch_panic("admin request", answer).await
    }
}

fn is_verbose(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "verbose" && value != "false" && value != "0")
}
