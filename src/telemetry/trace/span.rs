//! The spans Trunkline makes. Attribute names are OpenTelemetry's (semantic conventions 1.44),
//! and each stands here once. A channel's name, a payload or a credential is in none of them.

use std::future::Future;

use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{TraceContext, ids};
use crate::model::{Endpoint, Queue};

/// All channels of notifications, as one destination.
const CHANNEL_TEMPLATE: &str = "notify:{channel}";

/// A span, or none, and the context that travels with what happens in it. It ends when this and
/// all work in it are dropped.
#[must_use = "the span ends when this is dropped"]
pub struct Traced {
    /// [`Span::none`] where nothing is sampled: all that is done with it then costs nothing.
    span: Span,
    context: Option<TraceContext>,
}

impl Traced {
    /// Does the work of a future in the span: its log lines bear the id of the trace.
    pub fn instrument<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.instrument(self.span.clone())
    }

    /// Does work in the span.
    pub fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(work)
    }

    /// The context for what happens below; `None` when tracing is off.
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// The `traceparent` to send along; `None` when tracing is off.
    pub fn traceparent(&self) -> Option<String> {
        self.context.map(TraceContext::to_traceparent)
    }

    /// Records that something made in another trace, under this `traceparent`, is part of it.
    pub fn link(&self, traceparent: &str) {
        if !self.span.is_none()
            && let Some(other) = TraceContext::parse(traceparent)
        {
            self.span.add_link(remote(other));
        }
    }

    /// Records the HTTP status of an answer.
    pub fn answered(&self, status: u16) {
        self.span.record("http.response.status_code", i64::from(status));
        if status >= 500 {
            self.span.record("error.type", tracing::field::display(status));
            self.span.record("otel.status_code", "ERROR");
        }
    }

    /// Records that it failed: `reason` is a word of a closed set, never an error's text.
    pub fn failed(&self, reason: &'static str) {
        self.span.record("error.type", reason);
        self.span.record("otel.status_code", "ERROR");
    }

    /// Records how many clients a notification was queued for.
    pub fn delivered(&self, clients: u64) {
        self.span.record("trunkline.delivery.count", clients);
    }
}

/// A request on the public listener.
pub fn server_span(context: Option<TraceContext>, endpoint: Endpoint) -> Traced {
    start(context, |_| {
        let (name, method, route) = match endpoint {
            Endpoint::Unmatched => ("HTTP".to_owned(), "_OTHER", None),
            _ => {
                let (method, route) = (endpoint.method(), endpoint.route());
                (format!("{method} {route}"), method, Some(route))
            }
        };
        info_span!(
            parent: None,
            "server",
            otel.name = name,
            otel.kind = "server",
            http.request.method = method,
            http.route = route,
            http.response.status_code = Empty,
            error.type = Empty,
            otel.status_code = Empty,
        )
    })
}

/// Events of one request on their way into the queue.
pub fn producer_span(context: Option<TraceContext>, events: usize) -> Traced {
    start(context, |_| {
        info_span!(
            parent: None,
            "send",
            otel.name = format!("send {}", Queue.label()),
            otel.kind = "producer",
            messaging.system = "redis",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = Queue.label(),
            messaging.batch.message_count = events as u64,
            error.type = Empty,
            otel.status_code = Empty,
        )
    })
}

/// One attempt at a job. `context` is the one its event was created in.
pub fn process_span(context: Option<TraceContext>, attempt: u32) -> Traced {
    start_linked(context, || {
        info_span!(
            parent: None,
            "process",
            otel.name = format!("process {}", Queue.label()),
            otel.kind = "consumer",
            messaging.system = "redis",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = Queue.label(),
            trunkline.job.attempt = attempt,
            error.type = Empty,
            otel.status_code = Empty,
        )
    })
}

/// A notification on its way into Redis.
pub fn publish_span(context: Option<TraceContext>) -> Traced {
    start(context, |_| {
        info_span!(
            parent: None,
            "publish",
            otel.name = format!("publish {CHANNEL_TEMPLATE}"),
            otel.kind = "producer",
            messaging.system = "redis",
            messaging.operation.name = "publish",
            messaging.operation.type = "send",
            messaging.destination.template = CHANNEL_TEMPLATE,
            db.system.name = "redis",
            db.operation.name = "PUBLISH",
            error.type = Empty,
            otel.status_code = Empty,
        )
    })
}

/// A notification handed to all clients that want it. `context` is the one it was published in.
pub fn deliver_span(context: Option<TraceContext>) -> Traced {
    start_linked(context, || {
        info_span!(
            parent: None,
            "deliver",
            otel.name = format!("deliver {CHANNEL_TEMPLATE}"),
            otel.kind = "consumer",
            messaging.system = "redis",
            messaging.operation.name = "deliver",
            messaging.operation.type = "process",
            messaging.destination.template = CHANNEL_TEMPLATE,
            trunkline.delivery.count = Empty,
            error.type = Empty,
            otel.status_code = Empty,
        )
    })
}

/// Starts the span of what is received. It stands below the span that sent it, and is linked to it
/// as well: a backend that cuts traces at the queue still finds the way back.
fn start_linked(creation: Option<TraceContext>, make: impl FnOnce() -> Span) -> Traced {
    start(creation, |creation| {
        let span = make();
        if !creation.root {
            span.add_link(remote(creation));
        }
        span
    })
}

fn start(parent: Option<TraceContext>, make: impl FnOnce(TraceContext) -> Span) -> Traced {
    let Some(parent) = parent.filter(|parent| parent.sampled()) else {
        return Traced { span: Span::none(), context: parent };
    };
    let context = parent.child();
    let span = make(parent);
    if !parent.root {
        let remote = opentelemetry::Context::new().with_remote_span_context(remote(parent));
        // Fails only where no collector is configured, and then nothing is sampled.
        let _ = span.set_parent(remote);
    }
    // Asking for its context starts the span, here and now, under the ids chosen above.
    ids::choose(context, || span.context());
    Traced { span, context: Some(context) }
}

fn remote(context: TraceContext) -> SpanContext {
    SpanContext::new(
        context.trace_id.into(),
        context.span_id.into(),
        TraceFlags::NOT_SAMPLED.with_sampled(context.sampled),
        true,
        TraceState::default(),
    )
}
