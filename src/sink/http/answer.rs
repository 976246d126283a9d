//! What an answer means for the work.

use std::time::Duration;

use http::StatusCode;

use crate::error::Class;

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The records are taken.
    Taken,
    /// The secret is refused.
    Unauthorized,
    /// To be sent again.
    Again(Class),
    /// These records are refused for good; others may be taken.
    Refused,
    /// The request as such is refused, whatever it carries.
    Wrong,
}

impl Meaning {
    pub(super) fn of(status: StatusCode, retry_after: Option<Duration>) -> Self {
        match status.as_u16() {
            200..=299 => Self::Taken,
            401 | 403 => Self::Unauthorized,
            429 => Self::Again(Class::Throttled),
            503 if retry_after.is_some() => Self::Again(Class::Throttled),
            // A receiver that is still at work on the same idempotency key says 409 and when to ask again.
            409 if retry_after.is_some() => Self::Again(Class::Transient),
            408 | 425 | 500..=599 => Self::Again(Class::Transient),
            400 | 404 | 409 | 410 | 413 | 415 | 422 => Self::Refused,
            _ => Self::Wrong,
        }
    }
}

/// What to do about a status that is not the receiver's mere "not now"; empty where the status says it all.
pub(super) fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "; redirects are not followed, because a secret must not travel: set the final address",
        401 | 403 => "; put a valid secret into the sink's secret file, it is read again by itself",
        404 | 410 => "; check the path of the sink's address",
        405 => "; check the sink's method",
        413 => "; the receiver finds it too large: make the sink's batches smaller",
        415 => "; check which form of body the receiver takes",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_meaning() {
        let meaning = |status: u16| Meaning::of(StatusCode::from_u16(status).expect("status"), None);
        for status in [200, 201, 202, 204, 207] {
            assert_eq!(meaning(status), Meaning::Taken, "{status}");
        }
        for status in [408, 425, 500, 502, 503, 504] {
            assert_eq!(meaning(status), Meaning::Again(Class::Transient), "{status}");
        }
        for status in [400, 404, 409, 410, 413, 415, 422] {
            assert_eq!(meaning(status), Meaning::Refused, "{status}");
        }
        for status in [301, 302, 307, 402, 405, 406, 411, 431] {
            assert_eq!(meaning(status), Meaning::Wrong, "{status}");
        }
        assert_eq!(meaning(429), Meaning::Again(Class::Throttled));
        assert_eq!(meaning(401), Meaning::Unauthorized);
        assert_eq!(meaning(403), Meaning::Unauthorized);
        let asked = Some(Duration::from_secs(1));
        assert_eq!(Meaning::of(StatusCode::SERVICE_UNAVAILABLE, asked), Meaning::Again(Class::Throttled));
        assert_eq!(Meaning::of(StatusCode::CONFLICT, asked), Meaning::Again(Class::Transient));
    }
}
