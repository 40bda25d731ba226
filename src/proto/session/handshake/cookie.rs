//! Cookies: under load, who begins a handshake first shows that it hears our answers.
//!
//! A cookie is an HMAC over what it was given for, under a secret that is replaced every 30 s. So
//! nothing is kept of who asked; a cookie is good for 30 to 60 s, for one PeerId, at one address
//! prefix, and for one attempt: the sender's nonce and session id stay when M1 is repeated.

use crate::crypto::{Digest, Rng, hash, hmac, hmac_verify};
use crate::types::{EntityId, Mono, Nonce, PeerId, Prefix, SessionId};

const ROTATE_MS: u64 = 30_000;

/// What a cookie is given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub(super) peer: PeerId,
    pub(super) prefix: Option<Prefix>,
    pub(super) sender: EntityId,
    pub(super) nonce: Nonce,
    pub(super) session: SessionId,
}

impl Attempt {
    fn digest(&self) -> Digest {
        let prefix = self.prefix.as_ref().map_or(&[][..], Prefix::as_bytes);
        let parts = [
            &self.peer.to_bytes()[..],
            prefix,
            &self.sender.0,
            &self.nonce.0,
            self.session.0.as_bytes(),
        ];
        hash("cookie", &parts)
    }
}

/// The secrets of the present and of the time before.
#[derive(Default)]
pub(in crate::proto::session) struct Cookies {
    secret: Option<(Mono, Digest)>,
    before: Option<(Mono, Digest)>,
}

impl Cookies {
    /// The cookie for `attempt`.
    pub(in crate::proto::session) fn bake(
        &mut self,
        attempt: &Attempt,
        now: Mono,
        rng: &mut Rng,
    ) -> Digest {
        use rand::RngExt as _;
        let secret = match self.secret {
            Some((since, secret)) if now.since(since) < ROTATE_MS => secret,
            old => {
                let secret = rng.random();
                self.before = old;
                self.secret = Some((now, secret));
                secret
            }
        };
        hmac(&secret, &attempt.digest())
    }

    /// Whether `cookie` was given for `attempt`, lately.
    pub(in crate::proto::session) fn redeems(
        &self,
        cookie: &Digest,
        attempt: &Attempt,
        now: Mono,
    ) -> bool {
        let digest = attempt.digest();
        [self.secret, self.before]
            .into_iter()
            .flatten()
            .filter(|(since, _)| now.since(*since) < 2 * ROTATE_MS)
            .any(|(_, secret)| hmac_verify(&secret, &digest, cookie))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            peer: PeerId::random(),
            prefix: Some(Prefix::V4([192, 0, 2])),
            sender: EntityId([1; 32]),
            nonce: Nonce([2; 32]),
            session: SessionId(uuid::Uuid::from_u128(3)),
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_attempt_only() {
        let (mut cookies, mut rng) = (Cookies::default(), Rng::seed_from_u64(1));
        let (now, given) = (Mono::default(), attempt());
        let cookie = cookies.bake(&given, now, &mut rng);
        assert!(cookies.redeems(&cookie, &given, now));
        let others = [
            Attempt {
                peer: PeerId::random(),
                ..given
            },
            Attempt {
                prefix: None,
                ..given
            },
            Attempt {
                sender: EntityId([9; 32]),
                ..given
            },
            Attempt {
                nonce: Nonce([9; 32]),
                ..given
            },
            Attempt {
                session: SessionId(uuid::Uuid::from_u128(9)),
                ..given
            },
        ];
        for other in others {
            assert!(!cookies.redeems(&cookie, &other, now), "{other:?}");
        }
        assert!(!Cookies::default().redeems(&cookie, &given, now));
    }

    #[test]
    fn a_cookie_outlives_one_rotation_and_not_two() {
        let (mut cookies, mut rng) = (Cookies::default(), Rng::seed_from_u64(1));
        let given = attempt();
        let at = |ms: u64| Mono::default() + ms;
        let cookie = cookies.bake(&given, at(ROTATE_MS - 1), &mut rng);
        cookies.bake(&given, at(2 * ROTATE_MS - 1), &mut rng);
        assert!(cookies.redeems(&cookie, &given, at(2 * ROTATE_MS - 1)));
        assert!(
            !cookies.redeems(&cookie, &given, at(3 * ROTATE_MS)),
            "too old"
        );
        cookies.bake(&given, at(4 * ROTATE_MS), &mut rng);
        assert!(!cookies.redeems(&cookie, &given, at(4 * ROTATE_MS)));
    }
}
