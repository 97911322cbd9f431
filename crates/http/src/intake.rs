//! The memory that requests may take before anyone knows who asks, over all listeners.
//!
//! A body is read before its token is looked at, and parsed JSON takes many times the bytes of its text. So what is read and
//! parsed counts against one budget until its request is answered; when it is used up, requests are refused (503), and none of
//! those under way fails for lack of memory. Parsing what is large takes time, and runs on threads for that.

use std::sync::Arc;

use serde_json::{Map, Value};
use strongroom_pipeline::{Budget, Share};
use tokio::sync::Semaphore;

use crate::body::{self, EdgeError};
use crate::json::JsonLimits;

/// Bytes of all bodies under way, with what they were parsed into.
const BUDGET: u64 = 1 << 30;
/// Bytes of a body above which it is parsed on a thread of its own.
const LARGE: usize = 128 << 10;
/// Bytes that a value or member takes beside its text.
const NODE: usize = 100;
/// Bytes of a body at most where no token is needed, as they come and as they are parsed.
pub(crate) const MAX_OPEN_BODY: usize = 1 << 20;
const MAX_OPEN_WEIGHT: usize = 4 << 20;

/// The intake of a server.
#[derive(Debug)]
pub struct Intake {
    budget: Arc<Budget>,
    /// Turns at parsing what is large.
    turns: Semaphore,
}

impl Default for Intake {
    fn default() -> Self {
        Self::of(BUDGET)
    }
}

impl Intake {
    /// With a budget of so many bytes.
    pub fn of(budget: u64) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { budget: Budget::new(budget), turns: Semaphore::new(processors) }
    }

    /// The share of a request.
    pub(crate) fn share(&self) -> Share {
        self.budget.share()
    }

    /// Takes for a body that was read the memory that its values may take.
    pub(crate) fn weigh(bytes: &[u8], is_open: bool, share: &mut Share) -> Result<(), EdgeError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let weight = weight(bytes);
        if is_open && weight > MAX_OPEN_WEIGHT {
            return Err(EdgeError(413, "request body too large".to_owned()));
        }
        if share.grow(weight) { Ok(()) } else { Err(used_up()) }
    }

    /// Parses a large body on a thread for such work; `None` for one that is parsed in no time.
    pub(crate) async fn parse_large<'a>(
        &self,
        bytes: &bytes::Bytes,
        content_type: impl FnOnce() -> Result<&'a str, EdgeError>,
        limits: JsonLimits,
    ) -> Result<Option<Map<String, Value>>, EdgeError> {
        if bytes.len() <= LARGE {
            return Ok(None);
        }
        let (bytes, content_type) = (bytes.clone(), content_type()?.to_owned());
        let failed = |error: String| EdgeError(500, format!("parsing was interrupted: {error}"));
        let _turn = self.turns.acquire().await.map_err(|closed| failed(closed.to_string()))?;
        let parsing = tokio::task::spawn_blocking(move || body::parse(&bytes, &content_type, &limits));
        parsing.await.map_err(|error| failed(error.to_string()))?.map(Some)
    }
}

/// The refusal of a request for which there is no memory left.
pub(crate) fn used_up() -> EdgeError {
    EdgeError(503, "too many request bodies are under way; try again".to_owned())
}

/// Bytes that a body's values take at most: their texts, and for each what keeps it. Counted are the characters that stand
/// before a value or a member, also where they are part of a text.
fn weight(bytes: &[u8]) -> usize {
    let before_a_value = |byte: &&u8| matches!(**byte, b',' | b':' | b'[' | b'{' | b'&');
    let nodes = bytes.iter().filter(before_a_value).count().saturating_add(1);
    bytes.len().saturating_add(nodes.saturating_mul(NODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_values_weigh_more_than_one_text() {
        let text = format!("{{\"a\":\"{}\"}}", "x".repeat(10_000));
        assert!(weight(text.as_bytes()) < 11_000);
        let array = format!("{{\"a\":[{}1]}}", "1,".repeat(5000));
        assert!(weight(array.as_bytes()) > 500_000);
        assert!(weight("a&".repeat(5000).as_bytes()) > 500_000);
    }

    #[tokio::test]
    async fn what_is_large_is_parsed_to_the_same() {
        let intake = Intake::default();
        let text = format!("{{\"a\":\"{}\"}}", "x".repeat(LARGE));
        let parsed = intake.parse_large(&text.clone().into(), || Ok(""), JsonLimits::default()).await;
        let parsed = parsed.unwrap().expect("it is large");
        assert_eq!(Value::Object(parsed), serde_json::from_str::<Value>(&text).unwrap());
        let few = JsonLimits { max_string_value_length: 10, ..JsonLimits::default() };
        let refused = intake.parse_large(&text.into(), || Ok(""), few).await.unwrap_err();
        assert_eq!(refused.0, 400);
        let small = intake.parse_large(&"{}".into(), || Ok(""), few).await;
        assert!(small.unwrap().is_none());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let intake = Intake::of(1000);
        let (mut one, mut other) = (intake.share(), intake.share());
        Intake::weigh(&[b'x'; 700], false, &mut one).unwrap();
        assert_eq!(Intake::weigh(&[b'x'; 700], false, &mut other).unwrap_err().0, 503);
        drop(one);
        Intake::weigh(&[b'x'; 700], false, &mut other).unwrap();
        assert_eq!(Intake::weigh(&vec![b','; MAX_OPEN_WEIGHT / NODE], true, &mut other).unwrap_err().0, 413);
    }
}
