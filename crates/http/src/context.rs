//! The context of a request that the edge has made out before the core sees it, here or on the standby that received
//! it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_cluster::Origin;
use strongroom_engine_api::{Peer, Redactions};

use crate::body::EdgeError;
use crate::json::JsonLimits;

/// The client of a request, and the rules of its listener.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) peer: Peer,
    /// The namespace, below that of the listener.
    pub(crate) namespace: String,
    /// The listener's own namespace, for others that the request names; empty for a request of another node's listener,
    /// which names them from the root on.
    pub(crate) chroot: String,
    pub(crate) rules: Rules,
}

/// The rules of a listener's configuration for each of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Bytes of a body at most.
    pub(crate) max_request_size: usize,
    /// The time limit of the request.
    pub(crate) max_request_duration: Duration,
    /// Bytes of a token at most.
    pub(crate) max_token_size: usize,
    /// The limits of JSON.
    pub(crate) json: JsonLimits,
    /// The facts that are not shown to those without a token.
    pub(crate) redactions: Redactions,
}

/// The facts that are forwarded beside the client's address and certificates.
#[derive(Serialize, Deserialize)]
struct Words {
    namespace: String,
    rules: Rules,
}

impl Context {
    /// For the way to the active node.
    pub(crate) fn to_origin(&self) -> Result<Origin, EdgeError> {
        let words = Words { namespace: self.namespace.clone(), rules: self.rules };
        let context = serde_json::to_string(&words).map_err(|error| EdgeError(500, error.to_string()))?;
        let certificates = self.peer.certificates.iter().cloned().collect();
        Ok(Origin { peer: self.peer.address, certificates, context })
    }

    /// The context that a standby has made out.
    pub(crate) fn from_origin(origin: Origin) -> Result<Self, EdgeError> {
        let Words { namespace, rules } = serde_json::from_str(&origin.context)
            .map_err(|error| EdgeError(400, format!("origin of a forwarded request: {error}")))?;
        let peer = Peer { address: origin.peer, certificates: origin.certificates.into_iter().collect() };
        Ok(Self { peer, namespace, chroot: String::new(), rules })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_out_arrives() {
        let rules = Rules {
            max_request_size: usize::MAX,
            max_request_duration: Duration::from_millis(1500),
            max_token_size: 9,
            json: JsonLimits { max_array_element_count: 3, ..JsonLimits::default() },
            redactions: Redactions { version: true, ..Redactions::default() },
        };
        let chain = [b"one", b"two"].map(|der| bytes::Bytes::from_static(der)).into_iter().collect();
        let peer = Peer::at(([10, 0, 0, 1], 7)).with(chain);
        let context = Context { peer, namespace: "tëam/a".to_owned(), chroot: String::new(), rules };
        let arrived = Context::from_origin(context.to_origin().unwrap()).unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{context:?}"));
        assert!(Context::from_origin(Origin::default()).is_err(), "nothing is made up");
    }
}
