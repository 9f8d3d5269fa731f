//! Finds a connection that hangs: the other side's kernel answers, but nobody is at home.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;

use super::socket::Vitals;

/// After this long without a byte from Redis, ask. With [`ANSWER`] a hung connection is given
/// up 1.5 s after its last sign of life, which leaves half a second of the promised two for
/// whatever keeps this process from noticing.
const SILENCE: Duration = Duration::from_millis(800);
/// How long the answer may take. One slow command delays it, so this is far above any sane one.
const ANSWER: Duration = Duration::from_millis(700);
/// After a missed answer, the driver gets this long to read what has come meanwhile.
const GRACE: Duration = Duration::from_millis(20);

/// Resolves when the connection hangs; never, when it ends otherwise.
pub(super) async fn missed(mut connection: MultiplexedConnection, vitals: Arc<Vitals>) {
    connection.set_response_timeout(ANSWER);
    let ping = redis::cmd("PING");
    loop {
        if let Some(rest) = SILENCE.checked_sub(vitals.silence()) {
            tokio::time::sleep(rest.max(Duration::from_millis(1))).await;
            continue;
        }
        match connection.send_packed_command(&ping).await {
            Ok(_) => {}
            Err(error) if error.is_timeout() => {
                // If this process itself stood still, the answer waits to be read: let the driver run.
                tokio::time::sleep(GRACE).await;
                // A large reply may be on its way: as long as bytes come in, it does not hang.
                if vitals.silence() >= SILENCE {
                    return;
                }
            }
            // The driver has ended, and says so itself.
            Err(_) => std::future::pending().await,
        }
    }
}
