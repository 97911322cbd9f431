//! The tables of second factors.
//!
//! Methods and enforcements are by namespace. What belongs to an entity is under its id, so that it goes with it.

use strongroom_barrier::{CoreLocal, CoreSpace, NamespaceId, Table, tables};
use strongroom_identity::IdentityId;

use crate::enforcements::Enforcement;
use crate::methods::Method;
use crate::secrets::{TotpSecret, UsedStep};
use crate::webauthn::{Passkey, PasskeyUse};

/// The bytes of an id, as storage keys have them.
pub(crate) type IdBytes = [u8; 16];

tables! {
    /// Methods by namespace and id.
    pub(crate) METHODS: Table<CoreSpace, (NamespaceId, &IdBytes), Method> = 61;
    /// Methods by their folded name.
    pub(crate) METHOD_NAMES: Table<CoreSpace, (NamespaceId, &str), IdentityId> = 62;
    /// Login enforcements by name.
    pub(crate) ENFORCEMENTS: Table<CoreSpace, (NamespaceId, &str), Enforcement> = 63;
    /// The TOTP keys of an entity, by method.
    pub(crate) TOTP_SECRETS: Table<CoreSpace, (NamespaceId, IdBytes, &IdBytes), TotpSecret> = 64;
    /// The newest time step of which a passcode was used, by entity and method.
    pub(crate) USED_STEPS: Table<CoreLocal, (NamespaceId, IdBytes, &IdBytes), UsedStep> = 65;
    /// The passkeys of an entity, by method and their ids.
    pub(crate) PASSKEYS: Table<CoreSpace, (NamespaceId, IdBytes, &(IdBytes, &IdBytes)), Passkey> = 80;
    /// The last use of a passkey.
    pub(crate) PASSKEY_USES: Table<CoreLocal, (NamespaceId, IdBytes, &(IdBytes, &IdBytes)), PasskeyUse> = 81;
}
