//! The row that compares what processes, the kernel and Redis say of the same connections.

use trunkline::telemetry::catalogue::*;

use super::expression::*;
use super::panel::*;

/// An audit older than this says nothing of now: three of the default interval.
const FRESH: u32 = 180;

/// What the process says that counts for the fleet now. Those that did before say NaN, which
/// no comparison lets through.
fn fleet(more: &str) -> String {
    format!(
        "max by (role, owner) ({} >= 0 and on (job, instance) time() - {} < {FRESH})",
        of_role(REDIS_FLEET_CONNECTIONS.name(), more),
        of(REDIS_FLEET_AUDIT_TIMESTAMP.name(), "")
    )
}

pub(crate) fn truth() -> Vec<Panel> {
    let clients = of(REDIS_SERVER_CLIENTS.name(), "");
    let most = of(REDIS_SERVER_MAXCLIENTS.name(), "");
    let age = |name: &str| format!("time() - max by (job, instance) ({} > 0)", of(name, ""));
    let fleet_audit = of(REDIS_FLEET_AUDIT_TIMESTAMP.name(), "");
    vec![
        Panel::stat("Connections of the dead", "Connections that Redis keeps for processes that give no sign of life. Good: 0; Redis drops them by itself within minutes of a crash.")
            .alert("TrunklineDeadInstanceConnections")
            .sized(8, 5)
            .thresholds(&[(None, GREEN), (Some(1.0), RED)])
            .empty("Redis may not be asked.")
            .query(sum("", &fleet(r#"owner="dead""#)), "dead"),
        Panel::stat("Clients of Redis", "All clients that Redis has, ours and others', as a share of those it would take. Good: below 70 %; at 100 % it refuses everybody.")
            .alert("RedisClientsNearMaxclients")
            .unit("percentunit")
            .decimals(1)
            .sized(8, 5)
            .thresholds(&[(None, GREEN), (Some(0.7), ORANGE), (Some(0.8), RED)])
            .empty("Redis may not be asked.")
            .query(format!("max({clients} / on (job, instance) {most})"), "of those allowed"),
        Panel::stat("Fleet audited", "How long ago a process counted the connections of the whole fleet. Good: below twice the audit interval, 60 s by default.")
            .unit("s")
            .sized(8, 5)
            .thresholds(&[(None, GREEN), (Some(120.0), ORANGE), (Some(f64::from(FRESH)), RED)])
            .empty("Redis may not be asked.")
            .query(format!("time() - max({fleet_audit} > 0)"), "ago"),
        Panel::lines("Three counts of the same sockets", "What each process holds, what the kernel says it has to Redis, and what Redis lists under its name. Good: three lines on each other. The kernel above: a socket below our wrapper. Redis above: one that we think closed.")
            .alert("TrunklineConnectionLeakServerSide")
            .sized(24, 9)
            .by_process()
            .query(sum("job, instance", &of_role(REDIS_CONNECTIONS_OPEN.name(), "")), "{{instance}} held")
            .query(sum("job, instance", &of(REDIS_SOCKETS_OPEN.name(), "")), "{{instance}} by the kernel")
            .query(sum("job, instance", &format!("{} >= 0", of_role(REDIS_SERVER_CONNECTIONS.name(), ""))), "{{instance}} by Redis"),
        Panel::stacked("Fleet, counted by Redis", "Connections that Redis lists for the whole fleet, by role, and by whether their process gives signs of life. Good: live is the budget, no dead.")
            .alert("TrunklineDeadInstanceConnections")
            .colours(&[(".* dead", RED)])
            .query(fleet(""), "{{role}} {{owner}}"),
        Panel::lines("Clients and their limit", "All clients of Redis, what the last hour says of four hours from now, and the limit. Good: level, far below the limit.")
            .alert("RedisClientsPredictedToHitMaxclients")
            .query(format!("max({clients})"), "now")
            .query(format!("clamp_min(max(predict_linear({clients}[1h], 4 * 3600)), 0)"), "in four hours")
            .query(format!("max({most})"), "limit"),
        Panel::lines("Age of the audits", "How long ago each process was answered by Redis when it counted its own connections. Good: a saw tooth below the audit interval. A line that rises is a process that cannot ask; while one counts for all, the others have none.")
            .alert("TrunklineConnectionAuditStale")
            .unit("s")
            .thresholds(&[(None, GREEN), (Some(f64::from(FRESH)), ORANGE)])
            .by_process()
            .query(age(REDIS_AUDIT_LAST_SUCCESS_TIMESTAMP.name()), "{{instance}}"),
    ]
}
