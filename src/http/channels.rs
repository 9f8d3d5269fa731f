//! The door that says how many clients hear a channel.

use hyper::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::body::Body;
use super::public::json_response;
use crate::flow::presence::Audience;
use crate::model::{ChannelName, Fault, Problem, ProblemKind};

pub(super) async fn get(audience: &Audience, segment: &str) -> Result<Response<Body>, Problem> {
    // `encodeURIComponent` escapes the `:` that a name may have.
    let name = percent_decode_str(segment).decode_utf8_lossy();
    let channel = ChannelName::parse(&name).map_err(|fault| {
        // It may be as long as a whole path.
        let begin: String = name.chars().take(64).collect();
        let message = format!("`{begin}` {}", fault.message);
        Problem::invalid(vec![Fault { message, ..fault }])
    })?;
    let unavailable =
        |error: crate::conn::Error| Problem::new(ProblemKind::RedisUnavailable, error.to_string());
    let present = audience.of(&channel).await.map_err(unavailable)?;
    let document = json!({
        "channel": channel.as_str(),
        "clients": present.clients,
        "servers": present.servers,
        "here": present.here,
    });
    Ok(json_response(StatusCode::OK, &document))
}
