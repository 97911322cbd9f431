//! A seal that unseals by itself, with a fake service for keys: for tests of the state of the seal, and as an example of a seal.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use strongroom_barrier::{unwrap_key, wrap_key};
use strongroom_seal::{AutoSeal, ConfiguredSeal, RootKey, Seal, SealError, Unsealing, Wrapped, root_key};
use strongroom_stdx::Entropy;

/// A key service outside: it can fail, and counts the times that it is asked.
pub struct Service {
    key: [u8; 32],
    /// The error that it answers instead of serving.
    says: Mutex<Option<SealError>>,
    asked: AtomicUsize,
}

impl Service {
    /// One that serves, with this key.
    pub fn new(key: u8) -> Arc<Self> {
        Arc::new(Self { key: [key; 32], says: Mutex::default(), asked: AtomicUsize::default() })
    }

    /// Has it answer with an error.
    pub fn fails(&self, with: SealError) {
        *self.says.lock().unwrap() = Some(with);
    }

    /// Has it serve again.
    pub fn serves(&self) {
        *self.says.lock().unwrap() = None;
    }

    /// The number of times that it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask(&self) -> Result<(), SealError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.says.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// A seal that has a service outside wrap and unwrap.
pub struct FakeSeal(pub Arc<Service>);

#[async_trait]
impl Seal for FakeSeal {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn unsealing(&self) -> Unsealing<'_> {
        Unsealing::Auto(self)
    }

    async fn health(&self) -> Result<(), SealError> {
        self.0.ask()
    }

    /// The stored form is not for everybody's eyes: another wrapping of the same key is shown.
    fn join_challenge(&self, stored: &Wrapped) -> Wrapped {
        let opened = unwrap_key(&self.0.key, b"stored", &stored.blob).unwrap();
        let blob = wrap_key(&Entropy::system(), &self.0.key, b"shown", &opened).unwrap();
        Wrapped { blob, ..stored.clone() }
    }
}

#[async_trait]
impl AutoSeal for FakeSeal {
    async fn wrap(&self, root_key: &RootKey) -> Result<Wrapped, SealError> {
        self.0.ask()?;
        let blob = wrap_key(&Entropy::system(), &self.0.key, b"stored", root_key.expose()).unwrap();
        let parameters = [("key_id".to_owned(), self.0.key[0].into())].into_iter().collect();
        Ok(Wrapped { parameters, blob })
    }

    async fn unwrap(&self, wrapped: &Wrapped) -> Result<RootKey, SealError> {
        self.0.ask()?;
        assert_eq!(wrapped.parameters["key_id"], self.0.key[0]);
        let opened = unwrap_key(&self.0.key, b"stored", &wrapped.blob)
            .or_else(|_| unwrap_key(&self.0.key, b"shown", &wrapped.blob));
        let opened = opened.map_err(|_error| SealError::Refused("this key does not open it".to_owned()))?;
        root_key(&opened).ok_or_else(|| SealError::Malformed("no root key".to_owned()))
    }
}

/// A seal of a configuration.
pub fn fake(id: &str, priority: u32, service: &Arc<Service>) -> ConfiguredSeal {
    let seal = Arc::new(FakeSeal(service.clone()));
    ConfiguredSeal { id: id.to_owned(), priority, disabled: false, seal }
}
