//! The doors of the rule chains.

use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::intake::{self, Bodies};
use super::public::{json_response, no_content};
use crate::flow::chains::Chains;
use crate::model::{Problem, ProblemKind};

/// A chain of 64 nodes with expressions of 4 KiB each fits.
const MAX_CHAIN_BYTES: usize = 1024 * 1024;

pub(super) async fn list(chains: &dyn Chains) -> Result<Response<Body>, Problem> {
    let chains = chains.list().await?;
    Ok(json_response(StatusCode::OK, &json!({ "chains": chains })))
}

pub(super) async fn get(chains: &dyn Chains, id: &str) -> Result<Response<Body>, Problem> {
    let chain = chains.get(id).await?.ok_or_else(unknown)?;
    Ok(json_response(StatusCode::OK, &chain))
}

pub(super) async fn put(
    chains: &dyn Chains,
    id: &str,
    parts: &Parts,
    body: Incoming,
    bodies: &Bodies,
) -> Result<Response<Body>, Problem> {
    let document = intake::read_json(&parts.headers, body, MAX_CHAIN_BYTES, bodies).await?;
    let stored = chains.put(id, document).await?;
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_response(status, &stored.chain))
}

pub(super) async fn delete(chains: &dyn Chains, id: &str) -> Result<Response<Body>, Problem> {
    if !chains.delete(id).await? {
        return Err(unknown());
    }
    Ok(no_content())
}

fn unknown() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no rule chain of this id")
}
