//! What `fuzz/` runs over bytes of anybody's making: one function for each door that such bytes
//! come in by. Each reads them as the product does, and panics where the product breaks a promise.
//!
//! It is built for fuzzing and for tests alone. A test runs each over its corpus in `fuzz/`.

pub use crate::config::fuzz::settings;
pub use crate::conn::fuzz::client_list;
pub use crate::http::ws::fuzz::{ws_frames, ws_message};
pub use crate::model::fuzz::{cloud_event, notification};
pub use crate::queue::fuzz::envelope;
pub use crate::rules::fuzz::chain;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Runs one over its corpus, and says which file broke it.
    fn replay(target: &str, run: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let files: Vec<_> = fs::read_dir(&corpus).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(files.len() >= 12, "{target} has {} examples", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let whole = std::panic::catch_unwind(|| run(&bytes));
            assert!(whole.is_ok(), "broken by {}", file.display());
        }
    }

    macro_rules! replayed {
        ($($target:ident: $sentence:ident;)+) => {
            $(#[test]
            fn $sentence() {
                replay(stringify!($target), super::$target);
            })+

            #[test]
            fn every_target_is_replayed_and_has_a_program() {
                let replayed = [$(stringify!($target)),+];
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
                let names = |folder: &str| {
                    let entries = fs::read_dir(root.join(folder)).unwrap();
                    let mut names: Vec<_> = entries
                        .map(|it| it.unwrap().path().file_stem().unwrap().to_owned())
                        .collect();
                    names.sort();
                    names
                };
                assert_eq!(names("fuzz_targets"), replayed);
                assert_eq!(names("corpus"), replayed);
            }
        };
    }

    replayed! {
        chain: every_chain_that_is_accepted_is_read_back_and_runs_to_an_end;
        client_list: every_answer_to_client_list_is_read;
        cloud_event: every_event_that_is_accepted_is_read_back_by_a_worker;
        envelope: every_job_that_is_taken_can_be_put_back;
        notification: every_payload_reaches_clients_as_a_cloud_event;
        settings: every_configuration_starts_or_says_why_not;
        ws_frames: every_cut_of_a_clients_bytes_is_heard_the_same;
        ws_message: every_message_is_understood_or_answered_briefly;
    }
}
