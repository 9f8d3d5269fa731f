//! The doors of the schedules.

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::intake::{self, Bodies};
use super::public::{json_response, no_content};
use crate::flow::schedules::Schedules;
use crate::model::{Problem, ProblemKind};

/// What a schedule has besides its event. Where an event is only somewhat too large, the answer is
/// to be what is wrong with it, not that the body was not read.
const BESIDES: usize = 64 * 1024;

pub(super) async fn list(schedules: &Schedules) -> Result<Response<Body>, Problem> {
    let all = schedules.list().await?;
    Ok(json_response(StatusCode::OK, &json!({ "schedules": all })))
}

pub(super) async fn get(schedules: &Schedules, id: &str) -> Result<Response<Body>, Problem> {
    let schedule = schedules.get(id).await?.ok_or_else(unknown)?;
    Ok(json_response(StatusCode::OK, &schedule))
}

pub(super) async fn put(
    schedules: &Schedules,
    max_payload: usize,
    id: &str,
    parts: &Parts,
    body: Incoming,
    bodies: &Bodies,
) -> Result<Response<Body>, Problem> {
    let limit = max_payload.saturating_add(BESIDES);
    let document = intake::read_json(&parts.headers, body, limit, bodies).await?;
    let stored = schedules.put(id, document).await?;
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_response(status, &stored.document))
}

pub(super) async fn delete(schedules: &Schedules, id: &str) -> Result<Response<Body>, Problem> {
    if !schedules.delete(id).await? {
        return Err(unknown());
    }
    Ok(no_content())
}

fn unknown() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no schedule of this id")
}
