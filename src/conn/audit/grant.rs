//! What the ACL of Redis refuses is asked for again some time, and not every time.

use crate::conn::error::{Code, Error};

/// Turns that are left out after a refusal. Each refusal is a line in the ACL log of Redis, which
/// is short; and a right that was granted meanwhile is to be found without a restart.
const REST: u32 = 10;

/// One thing that the user of Redis may or may not do: pure.
#[derive(Debug, Default)]
pub(super) struct Grant {
    rest: u32,
    refused: bool,
}

impl Grant {
    /// Whether it is time to ask.
    pub(super) fn asks(&mut self) -> bool {
        self.rest = self.rest.saturating_sub(1);
        self.rest == 0
    }

    /// Takes in an answer, and says whether it is a refusal. A failure of another kind says
    /// nothing about rights; it was counted where the command was sent.
    pub(super) fn answered<T>(&mut self, answer: &Result<T, Error>) -> bool {
        match answer {
            Ok(_) => self.refused = false,
            Err(Error::Server { code: Code::Noperm, .. }) => {
                (self.refused, self.rest) = (true, REST);
            }
            Err(_) => {}
        }
        self.refused
    }

    /// Whether it was refused when last asked for.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_asked_for_every_time_and_after_a_refusal_every_tenth() {
        let mut grant = Grant::default();
        assert!(grant.asks() && grant.asks());
        let refusal = || Error::Server { code: Code::Noperm, text: "NOPERM".into() };
        assert!(grant.answered::<()>(&Err(refusal())));
        let asked = (0..3 * REST).filter(|_| {
            let asks = grant.asks();
            if asks {
                grant.answered::<()>(&Err(refusal()));
            }
            asks
        });
        assert_eq!(asked.count(), 3);
        assert!(!grant.answered(&Ok(())) && !grant.is_refused());
    }

    #[test]
    fn an_outage_says_nothing_about_rights() {
        let mut grant = Grant::default();
        assert!(!grant.answered::<()>(&Err(Error::Disconnected)) && grant.asks());
    }
}
