//! Finds a connection that hangs: the other side's kernel answers, but nobody is at home.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
/// Who hears of a missed answer so much later than it was due has stood still itself, longer than
/// the half second that is left. So has Redis, perhaps: whole machines do.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// Resolves when the connection hangs; never, when it ends otherwise.
pub(super) async fn missed(mut connection: MultiplexedConnection, vitals: Arc<Vitals>) {
    connection.set_response_timeout(ANSWER);
    let ping = redis::cmd("PING");
    let mut excused = false;
    loop {
        if let Some(rest) = SILENCE.checked_sub(vitals.silence()) {
            tokio::time::sleep(rest.max(Duration::from_millis(1))).await;
            continue;
        }
        let asked = Instant::now();
        match connection.send_packed_command(&ping).await {
            Ok(_) => excused = false,
            Err(error) if error.is_timeout() => {
                // If this process itself stood still, the answer waits to be read: let the driver run.
                tokio::time::sleep(GRACE).await;
                // A large reply may be on its way: as long as bytes come in, it does not hang.
                if vitals.silence() >= SILENCE {
                    if hangs(asked.elapsed(), excused) {
                        return;
                    }
                    excused = true;
                }
            }
            // The driver has ended, and says so itself.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Whether no answer for this long means that the other side hangs. If it was us who stood still,
/// it is asked once more; but only once, for a process that is always late must not be deaf.
fn hangs(unanswered: Duration, excused: bool) -> bool {
    excused || unanswered < ANSWER + GRACE + STOOD_STILL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_stood_still_itself_asks_once_more_and_no_oftener() {
        let in_time = ANSWER + GRACE + Duration::from_millis(30);
        assert!(hangs(in_time, false) && hangs(in_time, true));
        let late = ANSWER + GRACE + Duration::from_secs(1);
        assert!(!hangs(late, false));
        assert!(hangs(late, true));
    }
}
