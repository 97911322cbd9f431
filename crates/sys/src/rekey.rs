//! `sys/rekey`, `sys/rekey-recovery-key`, and OpenBao's other names of them, `sys/rotate/root` and `sys/rotate/recovery`,
//! which answer in the envelope. Source: Vault's and OpenBao's API pages of these names.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_ceremonies::{
    Ceremonies, KeyBackup, NewParts, RekeyAnswer, RekeyPlan, RekeyStatus, VerifyStatus,
};
use strongroom_engine_api::lenient::{Flag, Int, List, Text};
use strongroom_engine_api::{
    Clock, Data, Engine, EngineError, Extension, Input, IntoReply, Request, Route, bad_request,
};
use strongroom_pgp::{PgpError, Recipients};
use strongroom_seal_state::{KeyPartsWanted, RekeyTarget};
use strongroom_stdx::to_hex;
use zeroize::Zeroize as _;

use crate::envelopes::{AfterIt, NoEnvelope};
use crate::seal::key_part;

/// The name with which the configuration opens these operations to anyone.
const NAME: &str = "rekey";

const UNSEAL: bool = false;
const RECOVERY: bool = true;

pub(crate) fn routes(engine: Engine) -> Engine {
    let engine = ceremony::<UNSEAL, Plain>(engine, "rekey", |route| route.open_where(NAME));
    let engine = ceremony::<RECOVERY, Plain>(engine, "rekey-recovery-key", |route| route.open_where(NAME));
    let engine = ceremony::<UNSEAL, Enveloped>(engine, "rotate/root", |route| route);
    let engine = ceremony::<RECOVERY, Enveloped>(engine, "rotate/recovery", |route| route);
    let engine = backups::<UNSEAL>(engine, ["rekey/backup", "rotate/root/backup"]);
    backups::<RECOVERY>(engine, ["rekey/recovery-key-backup", "rotate/recovery/backup"])
}

/// The operations on the copy of encrypted parts, under both of its names.
fn backups<const RECOVERY: bool>(engine: Engine, paths: [&str; 2]) -> Engine {
    paths.into_iter().fold(engine, |engine, path| {
        engine.route(path, |r| {
            r.read("Return the backup copy of PGP-encrypted key parts.", backup::<RECOVERY>)
                .delete("Delete the backup copy of PGP-encrypted key parts.", delete_backup::<RECOVERY>)
        })
    })
}

/// The operations below `path`.
fn ceremony<const RECOVERY: bool, F: Form>(engine: Engine, path: &str, access: fn(Route) -> Route) -> Engine {
    engine
        .route(&format!("{path}/init"), |r| {
            access(r)
                .read(
                    "Reads the configuration and progress of the current rekey attempt.",
                    read::<RECOVERY, F>,
                )
                .update("Initializes a new rekey attempt.", begin::<RECOVERY, F>)
                .delete("Cancels any in-progress rekey.", cancel::<RECOVERY>)
        })
        .route(&format!("{path}/update"), |r| {
            access(r).update("Enter a single key part to progress the rekey.", update::<RECOVERY, F>)
        })
        .route(&format!("{path}/verify"), |r| {
            access(r)
                .read(
                    "Read the configuration and progress of the current rekey verification attempt.",
                    verification::<RECOVERY, F>,
                )
                .update(
                    "Enter a single new key part to progress the rekey verification operation.",
                    verify::<RECOVERY, F>,
                )
                .delete("Cancel any in-progress rekey verification operation.", restart::<RECOVERY, F>)
        })
}

/// The form of answers: as they are, or in the envelope.
trait Form: Send + 'static {
    type Of<T: Serialize + JsonSchema + Send + 'static>: IntoReply + Send + 'static;

    fn of<T: Serialize + JsonSchema + Send + 'static>(answer: T) -> Self::Of<T>;
}

struct Plain;
struct Enveloped;

impl Form for Plain {
    type Of<T: Serialize + JsonSchema + Send + 'static> = NoEnvelope<T>;

    fn of<T: Serialize + JsonSchema + Send + 'static>(answer: T) -> NoEnvelope<T> {
        NoEnvelope(200, answer)
    }
}

impl Form for Enveloped {
    type Of<T: Serialize + JsonSchema + Send + 'static> = Data<T>;

    fn of<T: Serialize + JsonSchema + Send + 'static>(answer: T) -> Data<T> {
        Data(answer)
    }
}

const fn target(recovery: bool) -> RekeyTarget {
    if recovery { RekeyTarget::Recovery } else { RekeyTarget::Barrier }
}

/// The progress of a rekey.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// The name of the rekey, which every key part is given with.
    nonce: String,
    /// True if a rekey is under way.
    started: bool,
    /// New key parts that will be needed.
    t: i64,
    /// New key parts that there will be.
    n: i64,
    /// Key parts given so far.
    progress: usize,
    /// Key parts needed.
    required: u8,
    /// The fingerprints of the PGP keys that the new parts are encrypted to.
    pgp_fingerprints: Option<Vec<String>>,
    /// True if the server keeps a copy of the encrypted parts.
    backup: bool,
    /// True if the new parts are in force only once they were given back.
    verification_required: bool,
    /// The name of the verification under way.
    #[serde(skip_serializing_if = "String::is_empty")]
    verification_nonce: String,
}

/// `None` for no fingerprints.
fn some(fingerprints: Vec<String>) -> Option<Vec<String>> {
    Some(fingerprints).filter(|fingerprints| !fingerprints.is_empty())
}

impl From<RekeyStatus> for Status {
    fn from(status: RekeyStatus) -> Self {
        Self {
            nonce: status.nonce,
            started: status.started,
            t: status.threshold,
            n: status.shares,
            progress: status.progress,
            required: status.required,
            pgp_fingerprints: some(status.fingerprints),
            backup: status.backup,
            verification_required: status.verification_required,
            verification_nonce: status.verification_nonce,
        }
    }
}

/// The answer to a key part.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Updated {
    /// More are needed.
    Progress(Status),
    /// They were enough.
    Complete(Made),
}

/// New key parts, shown once.
#[derive(Serialize, JsonSchema)]
struct Made {
    /// The name of the rekey.
    nonce: String,
    /// True.
    complete: bool,
    /// The new parts, hexadecimal.
    keys: Vec<String>,
    /// The new parts, base64.
    keys_base64: Vec<String>,
    /// The fingerprints of the PGP keys that the new parts are encrypted to.
    pgp_fingerprints: Option<Vec<String>>,
    /// True if the server keeps a copy of the encrypted parts.
    backup: bool,
    /// True if the new parts are not in force yet.
    verification_required: bool,
    /// The name of the verification, which every new part is given back with.
    #[serde(skip_serializing_if = "String::is_empty")]
    verification_nonce: String,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.keys.zeroize();
        self.keys_base64.zeroize();
    }
}

impl From<NewParts> for Made {
    fn from(made: NewParts) -> Self {
        Self {
            nonce: made.nonce,
            complete: true,
            keys: made.parts.iter().map(|part| to_hex(part.expose())).collect(),
            keys_base64: made.parts.iter().map(|part| STANDARD.encode(part.expose())).collect(),
            pgp_fingerprints: some(made.fingerprints),
            backup: made.backup,
            verification_required: made.verification_required,
            verification_nonce: made.verification_nonce,
        }
    }
}

/// The progress of a verification.
#[derive(Serialize, JsonSchema)]
struct Verification {
    /// The name of the verification.
    nonce: String,
    /// True if one is under way.
    started: bool,
    /// New key parts needed.
    t: i64,
    /// New key parts there are.
    n: i64,
    /// New key parts given back so far.
    progress: usize,
}

impl From<VerifyStatus> for Verification {
    fn from(status: VerifyStatus) -> Self {
        let VerifyStatus { nonce, started, threshold: t, shares: n, progress, .. } = status;
        Self { nonce, started, t, n, progress }
    }
}

/// The answer to a new key part.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Verified {
    /// More are needed.
    Progress(Verification),
    /// The new parts are in force.
    Complete {
        /// The name of the verification.
        nonce: String,
        /// True.
        complete: bool,
    },
}

impl From<VerifyStatus> for Verified {
    fn from(status: VerifyStatus) -> Self {
        if status.complete {
            Self::Complete { nonce: status.nonce, complete: true }
        } else {
            Self::Progress(status.into())
        }
    }
}

/// The input of a new rekey.
#[derive(Deserialize, JsonSchema)]
struct BeginInput {
    /// The number of new key parts.
    secret_shares: Option<Int>,
    /// The number of new key parts that are needed together.
    secret_threshold: Option<Int>,
    /// Key parts that the server is to keep: none, or `secret_shares`.
    stored_shares: Option<Int>,
    /// PGP public keys to encrypt the new parts to, one each, in base64.
    pgp_keys: Option<List>,
    /// Has the server keep a copy of the encrypted parts.
    backup: Option<Flag>,
    /// Has the new parts be in force only once they were given back.
    require_verification: Option<Flag>,
}

/// The input of giving up.
#[derive(Deserialize, JsonSchema)]
struct CancelInput {
    /// The name of the rekey. Required without a token.
    nonce: Option<Text>,
}

/// A key part.
#[derive(Deserialize, JsonSchema)]
struct PartInput {
    /// A single key part, hexadecimal or base64.
    key: Option<Text>,
    /// The name of the operation.
    nonce: Option<Text>,
}

async fn read<const RECOVERY: bool, F: Form>(
    Extension(ceremonies): Extension<Ceremonies>,
) -> Result<F::Of<Status>, EngineError> {
    Ok(F::of(ceremonies.rekey_status(target(RECOVERY)).await?.into()))
}

async fn begin<const RECOVERY: bool, F: Form>(
    Extension(ceremonies): Extension<Ceremonies>,
    clock: Clock,
    Input(input): Input<BeginInput>,
) -> Result<AfterIt<F::Of<Status>>, EngineError> {
    let on = |flag: Option<Flag>| flag.is_some_and(|flag| flag.0);
    let number = |given: Option<Int>| given.map_or(0, |given| given.0);
    let backup = on(input.backup);
    let keys = input.pgp_keys.unwrap_or_default();
    if backup && keys.is_empty() {
        let text = "cannot request a backup of the new keys without providing PGP keys for encryption";
        return Err(bad_request(text));
    }
    let wanted = KeyPartsWanted {
        total: number(input.secret_shares),
        required: number(input.secret_threshold),
        stored: number(input.stored_shares),
    };
    let invalid = |error: PgpError| bad_request(format!("invalid rekey seal configuration: {error}"));
    let keys = keys.iter().map(String::as_str);
    let recipients = Recipients::parse(keys, wanted.total, clock.now()).map_err(invalid)?;
    let verified = on(input.require_verification);
    let plan = RekeyPlan { wanted, verified, recipients: Arc::new(recipients), backup };
    let step = ceremonies.begin_rekey(target(RECOVERY), plan).await?;
    Ok(AfterIt::of(step).map(|status: Status| F::of(status)))
}

async fn cancel<const RECOVERY: bool>(
    Extension(ceremonies): Extension<Ceremonies>,
    request: Arc<Request>,
    Input(input): Input<CancelInput>,
) -> Result<AfterIt<()>, EngineError> {
    let nonce = input.nonce.map(|nonce| nonce.0).filter(|nonce| !nonce.is_empty());
    // A stranger has to know what is to be given up.
    if nonce.is_none() && request.asker.is_none() {
        return Err(bad_request("nonce is required"));
    }
    Ok(AfterIt::of(ceremonies.cancel_rekey(target(RECOVERY), nonce.as_deref()).await?))
}

async fn update<const RECOVERY: bool, F: Form>(
    Extension(ceremonies): Extension<Ceremonies>,
    Input(input): Input<PartInput>,
    txn: Txn,
) -> Result<AfterIt<F::Of<Updated>>, EngineError> {
    let part = key_part(input.key)?;
    let nonce = input.nonce.map(|nonce| nonce.0).unwrap_or_default();
    let step = ceremonies.offer_for_rekey(&txn, target(RECOVERY), &nonce, part).await?;
    Ok(AfterIt::of(step).map(|answer: RekeyAnswer| {
        F::of(match answer {
            RekeyAnswer::Progress(status) => Updated::Progress(status.into()),
            RekeyAnswer::Complete(made) => Updated::Complete(made.into()),
        })
    }))
}

async fn verification<const RECOVERY: bool, F: Form>(
    Extension(ceremonies): Extension<Ceremonies>,
) -> Result<F::Of<Verification>, EngineError> {
    Ok(F::of(ceremonies.verify_status(target(RECOVERY)).await?.into()))
}

async fn verify<const RECOVERY: bool, F: Form>(
    Extension(ceremonies): Extension<Ceremonies>,
    Input(input): Input<PartInput>,
    txn: Txn,
) -> Result<AfterIt<F::Of<Verified>>, EngineError> {
    let part = key_part(input.key)?;
    let nonce = input.nonce.map(|nonce| nonce.0).unwrap_or_default();
    let step = ceremonies.offer_for_verification(&txn, target(RECOVERY), &nonce, part).await?;
    Ok(AfterIt::of(step).map(|status: Verified| F::of(status)))
}

async fn restart<const RECOVERY: bool, F: Form>(
    Extension(ceremonies): Extension<Ceremonies>,
) -> Result<AfterIt<F::Of<Verification>>, EngineError> {
    let step = ceremonies.restart_verification(target(RECOVERY)).await?;
    Ok(AfterIt::of(step).map(|status: Verification| F::of(status)))
}

/// The copy of encrypted parts, by the fingerprints of the keys that they are encrypted to.
#[derive(Serialize, JsonSchema)]
struct BackedUp {
    /// The name of the rekey.
    nonce: String,
    /// The encrypted parts, hexadecimal.
    keys: BTreeMap<String, Vec<String>>,
    /// The encrypted parts, base64.
    keys_base64: BTreeMap<String, Vec<String>>,
}

impl From<KeyBackup> for BackedUp {
    fn from(backup: KeyBackup) -> Self {
        let told = |form: fn(&Vec<u8>) -> String| {
            let one = |(fingerprint, messages): (&String, &Vec<Vec<u8>>)| {
                (fingerprint.clone(), messages.iter().map(form).collect())
            };
            backup.messages.iter().map(one).collect()
        };
        Self {
            keys: told(|message| to_hex(message)),
            keys_base64: told(|message| STANDARD.encode(message)),
            nonce: backup.nonce.clone(),
        }
    }
}

async fn backup<const RECOVERY: bool>(
    Extension(ceremonies): Extension<Ceremonies>,
    view: View,
) -> Result<Data<BackedUp>, EngineError> {
    let kept = ceremonies.key_backup(&view, target(RECOVERY)).await?;
    Ok(Data(kept.ok_or_else(|| bad_request("no backed-up keys found"))?.into()))
}

async fn delete_backup<const RECOVERY: bool>(
    Extension(ceremonies): Extension<Ceremonies>,
    txn: Txn,
) -> Result<(), EngineError> {
    ceremonies.delete_key_backup(&txn, target(RECOVERY))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use strongroom_pipeline::{Settings, Verb};
    use strongroom_stdx::to_hex;
    use strongroom_tokens::TokenEntry;

    use crate::testing::{Server, Told};

    struct Rig {
        server: Server,
        parts: Vec<String>,
    }

    impl Rig {
        async fn new(parts: u8, required: u8) -> Self {
            let server = Server::sealed(Settings::default(), parts, required).await;
            let parts: Vec<String> = server.key_parts.iter().map(|part| to_hex(part)).collect();
            let rig = Self { server, parts };
            rig.unseal(&rig.parts).await;
            rig
        }

        async fn unseal(&self, parts: &[String]) -> Value {
            for part in parts {
                self.server.ask_as("", Verb::Write, "sys/unseal", json!({ "key": part })).await;
            }
            self.server.ask_as("", Verb::Read, "sys/seal-status", json!({})).await.body["sealed"].clone()
        }

        /// Seals, and says whether it stays so with these parts.
        async fn sealed_with(&self, parts: &[String]) -> Value {
            self.server.write("sys/seal", json!({})).await;
            self.server.ask_as("", Verb::Write, "sys/unseal", json!({ "reset": true })).await;
            self.unseal(parts).await
        }

        async fn begin(&self, path: &str, input: Value) -> Value {
            let begun = self.server.write(path, input).await;
            assert_eq!(begun.status, 200, "{}", begun.body);
            if begun.body["data"].is_null() { begun.body } else { begun.body["data"].clone() }
        }

        async fn offer(&self, path: &str, nonce: &Value, key: &str) -> Told {
            self.server.write(path, json!({ "nonce": nonce, "key": key })).await
        }
    }

    fn keys(made: &Value) -> Vec<String> {
        made["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn new_parts_take_the_place_of_the_old_ones() {
        let rig = Rig::new(2, 2).await;
        assert_eq!(
            rig.server.read("sys/rekey/init").await.body,
            json!({
                "nonce": "", "started": false, "t": 0, "n": 0, "progress": 0, "required": 2,
                "pgp_fingerprints": null, "backup": false, "verification_required": false
            })
        );
        let begun = rig.begin("sys/rekey/init", json!({ "secret_shares": 3, "secret_threshold": 2 })).await;
        assert_eq!((&begun["n"], &begun["t"], &begun["started"]), (&json!(3), &json!(2), &json!(true)));
        let again =
            rig.server.write("sys/rekey/init", json!({ "secret_shares": 1, "secret_threshold": 1 })).await;
        assert_eq!(again.error(), (400, "rekey already in progress"));
        let nonce = &begun["nonce"];
        let first = rig.offer("sys/rekey/update", nonce, &rig.parts[0]).await;
        assert_eq!((first.status, &first.body["progress"]), (200, &json!(1)));
        let twice = rig.offer("sys/rekey/update", nonce, &rig.parts[0]).await;
        assert_eq!(twice.status, 400);
        let made = rig.offer("sys/rekey/update", nonce, &rig.parts[1]).await.body;
        assert_eq!((&made["complete"], &made["nonce"], keys(&made).len()), (&json!(true), nonce, 3));
        assert_eq!(rig.server.read("sys/rekey/init").await.body["started"], false);

        assert_eq!(rig.sealed_with(&rig.parts).await, true, "the old ones are worth nothing");
        assert_eq!(rig.sealed_with(&keys(&made)[1..]).await, false);
        assert_eq!(rig.server.read("sys/mounts").await.status, 200, "entries and tokens are what they were");
    }

    #[tokio::test]
    async fn parts_to_be_brought_back_are_in_force_only_then() {
        let rig = Rig::new(1, 1).await;
        let wish = json!({ "secret_shares": 2, "secret_threshold": 2, "require_verification": true });
        let begun = rig.begin("sys/rotate/root/init", wish).await;
        assert_eq!(begun["verification_required"], true);
        let made = rig.offer("sys/rotate/root/update", &begun["nonce"], &rig.parts[0]).await;
        let made = made.data().clone();
        let (new, nonce) = (keys(&made), &made["verification_nonce"]);
        let more = rig.offer("sys/rekey/update", &begun["nonce"], &rig.parts[0]).await;
        assert_eq!(
            more.error().1,
            format!(
                "rekey operation already finished; verification must be performed; nonce for the verification operation is \
                 {nonce}"
            )
        );
        assert_eq!(
            rig.server.read("sys/rekey/verify").await.body,
            json!({ "nonce": nonce, "started": true, "t": 2, "n": 2, "progress": 0 })
        );
        assert_eq!(rig.offer("sys/rekey/verify", nonce, &new[0]).await.body["progress"], 1);
        let restarted = rig.server.delete("sys/rekey/verify").await;
        assert_eq!((restarted.status, &restarted.body["progress"]), (200, &json!(0)));
        let stale = rig.offer("sys/rekey/verify", nonce, &new[0]).await;
        assert!(stale.error().1.starts_with("incorrect nonce supplied; nonce for this verify operation is"));
        let nonce = &restarted.body["nonce"];
        rig.offer("sys/rekey/verify", nonce, &new[1]).await;
        let status = rig.server.read("sys/rekey/init").await.body;
        assert_eq!((&status["started"], &status["verification_nonce"]), (&json!(true), nonce));
        let done = rig.offer("sys/rekey/verify", nonce, &new[0]).await;
        assert_eq!(done.body, json!({ "nonce": nonce, "complete": true }));
        assert_eq!(rig.sealed_with(&new).await, false);
    }

    #[tokio::test]
    async fn parts_that_were_lost_before_they_were_brought_back_cost_nothing() {
        let rig = Rig::new(1, 1).await;
        let wish = json!({ "secret_shares": 1, "secret_threshold": 1, "require_verification": true });
        let begun = rig.begin("sys/rekey/init", wish).await;
        let made = rig.offer("sys/rekey/update", &begun["nonce"], &rig.parts[0]).await.body;
        let wrong = "00".repeat(32);
        let refused = rig.offer("sys/rekey/verify", &made["verification_nonce"], &wrong).await;
        assert_eq!(
            refused.error(),
            (400, "rekey verification failed: cipher: message authentication failed")
        );
        assert_eq!(rig.server.delete("sys/rekey/init").await.status, 204);
        assert_eq!(rig.server.read("sys/rekey/verify").await.error(), (400, "no rekey in progress"));
        assert_eq!(rig.sealed_with(&rig.parts).await, false, "the old ones are in force");
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused() {
        let rig = Rig::new(1, 1).await;
        let prefix = "invalid rekey seal configuration: ";
        for (input, text) in [
            (json!({}), format!("{prefix}shares must be at least one")),
            (
                json!({ "secret_shares": 1, "secret_threshold": 2 }),
                format!("{prefix}threshold cannot be larger than shares"),
            ),
            (
                json!({ "secret_shares": 2, "secret_threshold": 2, "pgp_keys": ["AAAA"] }),
                format!("{prefix}count mismatch between number of provided PGP keys and number of shares"),
            ),
            (
                json!({ "secret_shares": 1, "secret_threshold": 1, "backup": true }),
                "cannot request a backup of the new keys without providing PGP keys for encryption"
                    .to_owned(),
            ),
        ] {
            assert_eq!(rig.server.write("sys/rekey/init", input).await.error(), (400, text.as_str()));
        }
        assert_eq!(rig.server.read("sys/rekey/init").await.body["started"], false);
        for path in ["sys/rekey-recovery-key/init", "sys/rotate/recovery/init"] {
            assert_eq!(rig.server.read(path).await.error(), (400, "recovery rekeying not supported"));
        }
        assert_eq!(rig.server.read("sys/rekey/backup").await.error(), (400, "no backed-up keys found"));
        assert_eq!(rig.server.ask_as("", Verb::Read, "sys/rekey/init", json!({})).await.status, 403);
        let begun = rig.begin("sys/rekey/init", json!({ "secret_shares": 1, "secret_threshold": 1 })).await;
        for (key, text) in [
            ("", "'key' must be specified in request body as JSON"),
            ("!", "'key' must be a valid hex or base64 string"),
        ] {
            assert_eq!(rig.offer("sys/rekey/update", &begun["nonce"], key).await.error(), (400, text));
        }
    }

    #[tokio::test]
    async fn a_token_with_few_uses_counts_and_the_part_counts_once() {
        let rig = Rig::new(2, 2).await;
        let begun = rig.begin("sys/rekey/init", json!({ "secret_shares": 1, "secret_threshold": 1 })).await;
        let limited = TokenEntry { policies: vec!["root".to_owned()], num_uses: 2, ..TokenEntry::default() };
        let limited = rig.server.token_of(limited).await;
        let input = json!({ "nonce": begun["nonce"], "key": rig.parts[0] });
        let one = rig.server.ask_as(&limited, Verb::Write, "sys/rekey/update", input).await;
        assert_eq!((one.status, &one.body["progress"]), (200, &json!(1)), "{}", one.body);
        assert_eq!(rig.server.read("sys/rekey/init").await.body["progress"], 1);
        let input = json!({ "nonce": begun["nonce"], "key": rig.parts[1] });
        let two = rig.server.ask_as(&limited, Verb::Write, "sys/rekey/update", input.clone()).await;
        assert_eq!(two.body["complete"], true);
        let three = rig.server.ask_as(&limited, Verb::Write, "sys/rekey/update", input).await;
        assert_eq!(three.status, 403, "its uses are gone");
    }
}
