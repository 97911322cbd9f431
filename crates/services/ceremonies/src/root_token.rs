//! Generating a root token, which only the one who began it can read: it is combined with a one-time password that the
//! server told that one alone, or encrypted to a PGP key.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::{EngineError, Secret, bad_request};
use strongroom_pgp::PgpKey;
use strongroom_policy::ROOT_POLICY_NAME;
use strongroom_seal::KeyPart;
use strongroom_tokens::{NewToken, TokenEntry};
use zeroize::Zeroizing;

use crate::slot::{Running, Words, judged, with_one_more};
use crate::{Ceremonies, Step, not_encrypted};

/// The length of a password, which is that of a token.
pub const OTP_LENGTH: usize = 28;

const WORDS: Words = Words {
    none: "no root generation in progress",
    name: "root generation",
    failed: "root generation aborted",
};

/// The way in which a root token is kept from all but the one who began.
pub enum TokenSecrecy {
    /// It is combined with a password that is made up.
    MadeUpOtp,
    /// It is combined with this password.
    Otp(String),
    /// It is encrypted to this key.
    Pgp(Box<PgpKey>),
}

/// A root token to be.
pub(crate) enum RootToken {
    Otp(Secret<String>),
    Pgp(Box<PgpKey>),
}

/// The state of the generation of a root token.
#[derive(Debug, Default)]
pub struct RootTokenStatus {
    /// True if one is under way.
    pub started: bool,
    /// The name of the attempt.
    pub nonce: String,
    /// Key parts brought so far.
    pub progress: usize,
    /// Key parts that are needed.
    pub required: u8,
    /// True if the token was made.
    pub complete: bool,
    /// The token, combined with the password or encrypted, in base64.
    pub encoded_token: String,
    /// The fingerprint of the key that the token is encrypted to.
    pub fingerprint: String,
    /// The password, for the one who begins: told once.
    pub otp: Option<Secret<String>>,
}

fn status_of(running: Option<&Running<RootToken>>, required: u8) -> RootTokenStatus {
    let Some(running) = running else { return RootTokenStatus { required, ..RootTokenStatus::default() } };
    let fingerprint = match &running.plan {
        RootToken::Otp(_) => String::new(),
        RootToken::Pgp(key) => key.fingerprint(),
    };
    RootTokenStatus {
        started: true,
        nonce: running.nonce.clone(),
        progress: running.parts.len(),
        required,
        fingerprint,
        ..RootTokenStatus::default()
    }
}

/// The bytes of two texts of one length, combined by exclusive or.
fn combined(one: &[u8], other: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(one.iter().zip(other).map(|(one, other)| one ^ other).collect())
}

/// The token that `encoded` is with this password.
///
/// # Errors
///
/// [`EngineError`] where they do not fit each other.
pub fn decoded(encoded: &str, otp: &str) -> Result<Secret<String>, EngineError> {
    let bytes = STANDARD_NO_PAD.decode(encoded).or_else(|_| STANDARD.decode(encoded)).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| bad_request(format!("error decoding base64'd token: {error}")))?;
    if bytes.len() != otp.len() {
        let (has, needs) = (bytes.len(), otp.len());
        return Err(bad_request(format!("length mismatch: the token has {has} bytes, the otp {needs}")));
    }
    let token = combined(&bytes, otp.as_bytes()).to_vec();
    String::from_utf8(token)
        .map(Secret::new)
        .map_err(|_garbage| bad_request("the otp does not fit the token"))
}

impl Ceremonies {
    /// The state of the generation of a root token.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn root_token_status(&self) -> Result<RootTokenStatus, EngineError> {
        let required = self.required().await?;
        Ok(status_of(self.root_token.hold(self.term()?).await.as_ref(), required))
    }

    /// Begins to generate a root token.
    ///
    /// # Errors
    ///
    /// 400 where one is under way, and for a password of another length.
    pub async fn begin_root_token(
        &self,
        secrecy: TokenSecrecy,
    ) -> Result<Step<RootTokenStatus>, EngineError> {
        let required = self.required().await?;
        let term = self.term()?;
        let mut held = self.root_token.hold(term).await;
        if held.is_some() {
            return Err(bad_request("root generation already in progress"));
        }
        let (plan, told) = match secrecy {
            TokenSecrecy::MadeUpOtp => {
                let otp = Secret::new(self.environment.entropy.base62(OTP_LENGTH)?);
                (RootToken::Otp(otp.clone()), Some(otp))
            }
            TokenSecrecy::Otp(otp) => {
                let otp = Secret::new(otp);
                if otp.expose().len() != OTP_LENGTH {
                    return Err(bad_request("OTP string is wrong length"));
                }
                (RootToken::Otp(otp), None)
            }
            TokenSecrecy::Pgp(key) => (RootToken::Pgp(key), None),
        };
        let running = Running::new(self.nonce()?, term, plan);
        let answer = RootTokenStatus { otp: told, ..status_of(Some(&running), required) };
        let change = Box::new(move || {
            tracing::info!(nonce = running.nonce, "root generation initialized");
            *held = Some(running);
        });
        Ok(Step { answer, change })
    }

    /// Gives the generation up.
    ///
    /// # Errors
    ///
    /// [`EngineError`] on a node that does not lead; 400 for another `nonce`.
    pub async fn cancel_root_token(&self, nonce: Option<&str>) -> Result<Step<()>, EngineError> {
        let mut held = self.root_token.hold(self.term()?).await;
        if let Some(nonce) = nonce {
            held.named(nonce, &WORDS)?;
        }
        Ok(Step { answer: (), change: Box::new(move || *held = None) })
    }

    /// Takes one key part. With enough of them, the token is made within `txn`.
    ///
    /// # Errors
    ///
    /// 400 for another `nonce`, for a part that was brought before, and for parts that open nothing.
    pub async fn offer_for_root_token(
        &self,
        txn: &Txn,
        nonce: &str,
        part: KeyPart,
    ) -> Result<Step<RootTokenStatus>, EngineError> {
        let required = self.required().await?;
        let mut held = self.root_token.hold(self.term()?).await;
        let running = held.named(nonce, &WORDS)?;
        let parts = with_one_more(&running.parts, part)?;
        let proof = self.seal_state.prove(&parts).await.map_err(crate::refused)?;
        let is_enough = judged(proof, &mut running.parts, &WORDS)?;
        let mut answer = RootTokenStatus { progress: parts.len(), ..status_of(Some(running), required) };
        if !is_enough {
            let change = Box::new(move || {
                if let Some(running) = held.as_mut() {
                    running.parts = parts;
                }
            });
            return Ok(Step { answer, change });
        }
        let token = self.make_root_token(txn).await?;
        answer.encoded_token = self.encoded(&running.plan, token.expose())?;
        answer.complete = true;
        let change = Box::new(move || {
            if let Some(ended) = held.take() {
                tracing::warn!(nonce = ended.nonce, "root generation finished: there is a new root token");
            }
        });
        Ok(Step { answer, change })
    }

    /// The token as it is told.
    fn encoded(&self, secrecy: &RootToken, token: &str) -> Result<String, EngineError> {
        match secrecy {
            RootToken::Otp(otp) if otp.expose().len() == token.len() => {
                Ok(STANDARD_NO_PAD.encode(&*combined(token.as_bytes(), otp.expose().as_bytes())))
            }
            RootToken::Otp(_) => {
                Err(EngineError::Internal("a root token of another length than its password".to_owned()))
            }
            RootToken::Pgp(key) => {
                let message = key.encrypt(&self.environment.entropy, token.as_bytes());
                Ok(STANDARD.encode(message.map_err(not_encrypted)?))
            }
        }
    }

    async fn make_root_token(&self, txn: &Txn) -> Result<Secret<String>, EngineError> {
        let entry = TokenEntry {
            policies: vec![ROOT_POLICY_NAME.to_owned()],
            path: "auth/token/root".to_owned(),
            display_name: "root".to_owned(),
            namespace: NamespaceId::ROOT,
            ..TokenEntry::default()
        };
        let new = NewToken { entry, without_end: true, ..NewToken::default() };
        Ok(self.tokens.make_token(txn, self.lifetimes, new).await?.token)
    }
}
