//! The public listener: who may come in, which door, and what it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CONTENT_TYPE, HeaderValue, VARY,
};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};

use super::access::{Access, Admission};
use super::body::Body;
pub use super::intake::Bodies;
use super::problem::method_not_allowed;
use super::route::{Route, route};
use super::serve::{Answer, Connection, catch_panic};
use super::{chains, channels, events, page, schedules, sse, ws};
use crate::flow::chains::Chains;
use crate::flow::ingest::Ingest;
use crate::flow::listen::Listen;
use crate::flow::notify::Notify;
use crate::flow::presence::Audience;
use crate::flow::schedules::Schedules;
use crate::model::{Endpoint, Problem, ProblemKind};
use crate::telemetry::events::http::RequestFinished;
use crate::telemetry::trace::{self, TraceContext, server_span};

/// The doors of the public listener.
pub struct Public {
    /// Who may come in.
    pub access: Access,
    /// Where events go.
    pub ingest: Ingest,
    /// Where notifications go.
    pub notify: Notify,
    /// Where rule chains are kept.
    pub chains: Arc<dyn Chains>,
    /// Where schedules are kept.
    pub schedules: Schedules,
    /// Where clients listen.
    pub listen: Listen,
    /// Who knows how many do.
    pub audience: Audience,
    /// The longest event or notification, in bytes.
    pub max_payload: usize,
    /// The room for what requests bring.
    pub bodies: Bodies,
    /// How often an idle stream carries a comment, and a WebSocket a ping.
    pub heartbeat: Duration,
}

impl Answer for Public {
    async fn answer(&self, request: Request<Incoming>, connection: &Connection) -> Response<Body> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let route = route(&parts.method, parts.uri.path());
        let endpoint = match route {
            Route::To(endpoint, _) => endpoint,
            Route::Options(_) | Route::MethodNotAllowed(_) | Route::NotFound => Endpoint::Unmatched,
        };
        let span = server_span(trace::decide(events::traceparent(&parts.headers)), endpoint);
        let answer = self.admit_and_pass(&parts, route, body, connection, span.context());
        let response = span.instrument(catch_panic("http request", answer)).await;
        let status = response.status().as_u16();
        span.answered(status);
        let (elapsed, trace) = (started.elapsed(), span.context());
        RequestFinished { endpoint, status, elapsed, trace }.emit();
        response
    }
}

impl Public {
    async fn admit_and_pass(
        &self,
        parts: &Parts,
        route: Route<'_>,
        body: Incoming,
        connection: &Connection,
        context: Option<TraceContext>,
    ) -> Response<Body> {
        let local = connection.local.ip();
        let admission = match self.access.admit(&parts.uri, &parts.headers, local) {
            Ok(admission) => admission,
            Err(problem) => return problem.into_response(),
        };
        let passed = self.pass(parts, route, body, context).await;
        let mut response = passed.unwrap_or_else(Problem::into_response);
        if let Admission::CrossOrigin(origin) = admission {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
        }
        response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
        response
    }

    async fn pass(
        &self,
        parts: &Parts,
        route: Route<'_>,
        body: Incoming,
        context: Option<TraceContext>,
    ) -> Result<Response<Body>, Problem> {
        let (endpoint, id) = match route {
            Route::To(endpoint, id) => (endpoint, id),
            Route::Options(allowed) => return Ok(options(&allowed.join(", "))),
            Route::MethodNotAllowed(allowed) => {
                return Ok(method_not_allowed(&allowed.join(", ")));
            }
            Route::NotFound => return Err(not_found()),
        };
        let chains = &*self.chains;
        match endpoint {
            Endpoint::Page => Ok(page::response()),
            Endpoint::PostEvents => {
                events::post(&self.ingest, self.max_payload, &self.bodies, parts, body, context)
                    .await
            }
            Endpoint::PostNotifications => {
                events::post_notification(
                    &self.notify,
                    self.max_payload,
                    &self.bodies,
                    parts,
                    body,
                    context,
                )
                .await
            }
            Endpoint::Stream => {
                let query = parts.uri.query().unwrap_or_default();
                let last = parts.headers.get("last-event-id").map(HeaderValue::as_bytes);
                sse::open(&self.listen, self.heartbeat, query, last).await
            }
            Endpoint::WebSocket => ws::open(&self.listen, self.heartbeat, parts),
            Endpoint::GetChannel => channels::get(&self.audience, id).await,
            Endpoint::ListChains => chains::list(chains).await,
            Endpoint::GetChain => chains::get(chains, id).await,
            Endpoint::PutChain => chains::put(chains, id, parts, body, &self.bodies).await,
            Endpoint::DeleteChain => chains::delete(chains, id).await,
            Endpoint::ListSchedules => schedules::list(&self.schedules).await,
            Endpoint::GetSchedule => schedules::get(&self.schedules, id).await,
            Endpoint::PutSchedule => {
                let (kept, most) = (&self.schedules, self.max_payload);
                schedules::put(kept, most, id, parts, body, &self.bodies).await
            }
            Endpoint::DeleteSchedule => schedules::delete(&self.schedules, id).await,
            Endpoint::Unmatched => Err(not_found()),
        }
    }
}

fn not_found() -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        "there is nothing at this path; docs/http.md lists the doors",
    )
}

/// Says what a path allows. For a page of an allowed origin this is the preflight.
fn options(allowed: &str) -> Response<Body> {
    let mut response = no_content();
    let headers = response.headers_mut();
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        headers.insert(ALLOW, allowed.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allowed);
    }
    let asked = "content-type, traceparent, last-event-id, ce-specversion, ce-id, ce-source, \
                 ce-type, ce-subject, ce-time, ce-dataschema";
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(asked));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// The answer that has nothing to say.
pub(super) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// An answer in JSON.
pub(super) fn json_response(status: StatusCode, document: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
