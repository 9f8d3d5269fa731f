//! What Redis refuses to tell, and what the users of the daemons lack.

use crate::support::process::Daemon;
use crate::support::redis::Redis;
use crate::{Look, doctor, finds, kept};

/// The users of docs/redis.md, with the rights of the audit, and the doctor's of docs/doctor.md.
fn documented() -> Vec<String> {
    let blocks = |text: &str| -> Vec<String> {
        let blocks = text.split("```acl\n").skip(1).map(|it| it.split("```").next().unwrap());
        blocks.map(|block| block.trim().replace("<password>", "pw")).collect()
    };
    let daemons = blocks(include_str!("../../docs/redis.md"));
    let (users, audit) = (daemons[0].lines(), &daemons[1]);
    let doctor = blocks(include_str!("../../docs/doctor.md"));
    assert_eq!(doctor.len(), 1);
    users.map(|user| format!("{user} {audit}")).chain(doctor).collect()
}

fn start(users: &[String]) -> Redis {
    let users: Vec<_> = users.iter().map(String::as_str).chain(["user default off"]).collect();
    kept().users(&users).start()
}

fn login(redis: &Redis, user: &str) -> String {
    redis.url().replace("redis://", &format!("redis://{user}:pw@"))
}

async fn documented_daemons(redis: &Redis) -> [Daemon; 2] {
    let daemons = [
        Daemon::server(&login(redis, "trunkline-server")).start(),
        Daemon::worker(&login(redis, "trunkline-worker")).start(),
    ];
    for daemon in &daemons {
        daemon.wait_ready().await;
    }
    daemons
}

#[tokio::test]
async fn the_documented_doctor_sees_everything_and_the_documented_daemons_lack_nothing() {
    let redis = start(&documented());
    let _daemons = documented_daemons(&redis).await;
    let found = finds(|| doctor(&login(&redis, "trunkline-doctor")), &[]).await;
    assert!(found.findings().iter().all(|it| it["known"] == true), "{}", found.document);
    let rights: Vec<_> = found.findings().iter().filter(|it| it["check"] == "rights").collect();
    assert_eq!(rights.len(), 2, "one for each user: {rights:?}");
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_can_be_granted() {
    let redis = start(&documented());
    let _daemons = documented_daemons(&redis).await;
    let look = || doctor(&login(&redis, "trunkline-doctor"));
    let audit = ["ACL", "SETUSER", "trunkline-server", "-getex"];
    for (lost, right, severity) in [
        (&["ACL", "SETUSER", "trunkline-worker", "-publish"][..], "+publish", "bad"),
        (
            // Not the server, whose subscriptions would be cut off at once.
            &["ACL", "SETUSER", "trunkline-worker", "resetchannels", "&trunkline:ctl"],
            "'&trunkline:notify:*'",
            "bad",
        ),
        (&audit, "+getex", "note"),
    ] {
        redis.cli(lost);
        let found = finds(look, &[("rights", severity)]).await;
        let fix = found.fixes("rights")[0].to_owned();
        assert!(fix.contains(&format!("--askpass ACL SETUSER {} ", lost[2])), "{fix}");
        assert!(fix.contains(right), "{right} is not in {fix}");
        let words: Vec<_> = fix.split(' ').skip_while(|word| *word != "ACL").collect();
        let words: Vec<_> = words.iter().map(|word| word.trim_matches('\'')).collect();
        redis.cli(&words);
        finds(look, &[]).await;
    }
}

#[tokio::test]
async fn what_may_not_be_asked_is_unknown_and_no_fault() {
    let redis =
        start(&["user nobody on >pw resetkeys resetchannels -@all +hello +ping".to_owned()]);
    let found = Look::at(doctor(&login(&redis, "nobody"))).await;
    assert_eq!((found.exit, &found.document["verdict"]), (0, &"healthy".into()));
    let unknown: Vec<_> = found.findings().iter().filter(|it| it["known"] == false).collect();
    assert!(unknown.len() >= 15, "{}", found.document);
    for finding in &unknown {
        assert_eq!(finding["severity"], "note", "{finding}");
        let fix = finding["fix"][0].as_str().unwrap();
        assert!(
            fix.contains("ACL SETUSER nobody '+") || fix.contains("ACL SETUSER nobody +"),
            "{fix}"
        );
    }
    let known: Vec<_> = found.findings().iter().filter(|it| it["known"] == true).collect();
    assert!(
        known.iter().all(|it| it["check"] == "reach" || it["check"] == "open-files"),
        "{known:?}"
    );
}

#[tokio::test]
async fn a_redis_that_does_not_offer_a_command_is_no_fault() {
    let redis = kept().argument("rename-command CONFIG", "HIDDEN").start();
    let found = finds(
        || doctor(&redis.url()),
        &[
            ("output-buffers", "note"),
            ("tcp-keepalive", "note"),
            ("timeout", "note"),
            ("fleet", "note"),
        ],
    )
    .await;
    assert_eq!(found.exit, 0);
    assert_eq!(found.fixes("timeout"), [""; 0]);
}
