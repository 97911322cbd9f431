//! The tables of identity.
//!
//! Whatever a token's rights follow from is kept under the id of its subject, an entity or a group, which is the first part of
//! the key: a commit tells by its keys alone whose rights it may change. Members are rows in both directions, so that one
//! more costs as much in a group of a million as in an empty one. Names are in tables of their own, by namespace, folded.

use strongroom_barrier::{CoreLocal, CoreSpace, NamespaceId, Table, tables};

use crate::across::KeptMode;
use crate::aliases::{Alias, AliasPlace, GroupAlias};
use crate::clearing::{DeletedEntity, DisabledMountAliases};
use crate::entities::Entity;
use crate::groups::{Elsewhere, Group, Member, Membership};
use crate::id::{IdBytes, IdentityId};
use crate::scim::{DeletedScimClient, ScimClient, ScimResource};

tables! {
    /// Entities by namespace and id.
    pub(crate) ENTITIES: Table<CoreSpace, (NamespaceId, &IdBytes), Entity> = 42;
    /// Entities by their folded name.
    pub(crate) ENTITY_NAMES: Table<CoreSpace, (NamespaceId, &str), IdentityId> = 43;
    /// The aliases of an entity, by the accessor of their mount: it has one a mount.
    pub(crate) ALIASES: Table<CoreSpace, (NamespaceId, IdBytes, &str), Alias> = 44;
    /// The place of an alias by its id.
    pub(crate) ALIAS_IDS: Table<CoreSpace, (NamespaceId, &IdBytes), AliasPlace> = 45;
    /// The entity of an alias, by the accessor of its mount and its folded name.
    pub(crate) ALIAS_NAMES: Table<CoreSpace, (NamespaceId, &(&str, &str)), IdentityId> = 46;
    /// Entities that were merged into others, and into which.
    pub(crate) MERGED: Table<CoreSpace, (NamespaceId, &IdBytes), IdentityId> = 47;
    /// Groups by namespace and id.
    pub(crate) GROUPS: Table<CoreSpace, (NamespaceId, &IdBytes), Group> = 48;
    /// Groups by their folded name.
    pub(crate) GROUP_NAMES: Table<CoreSpace, (NamespaceId, &str), IdentityId> = 49;
    /// The entities in a group.
    pub(crate) MEMBERS: Table<CoreSpace, (NamespaceId, IdBytes, &IdBytes), Member> = 50;
    /// The groups that an entity is in, by the entity's namespace.
    pub(crate) MEMBERSHIPS: Table<CoreSpace, (NamespaceId, IdBytes, &IdBytes), Membership> = 51;
    /// The groups in a group.
    pub(crate) SUBGROUPS: Table<CoreSpace, (NamespaceId, IdBytes, &IdBytes), Member> = 52;
    /// The groups that a group is in, by the inner group's namespace.
    pub(crate) PARENTS: Table<CoreSpace, (NamespaceId, IdBytes, &IdBytes), Membership> = 53;
    /// The alias of an external group.
    pub(crate) GROUP_ALIASES: Table<CoreSpace, (NamespaceId, &IdBytes), GroupAlias> = 54;
    /// The group of a group alias by its id.
    pub(crate) GROUP_ALIAS_IDS: Table<CoreSpace, (NamespaceId, &IdBytes), IdentityId> = 55;
    /// The group of a group alias, by the accessor of its mount and its folded name.
    pub(crate) GROUP_ALIAS_NAMES: Table<CoreSpace, (NamespaceId, &(&str, &str)), IdentityId> = 56;
    /// Members of groups that are in other namespaces than the group, so that they are found when the group's is deleted.
    pub(crate) ELSEWHERE: Table<CoreSpace, (NamespaceId, IdBytes, &IdBytes), Elsewhere> = 59;
    /// The namespaces in which policies of groups count: one entry.
    pub(crate) GROUP_POLICY_MODE: Table<CoreSpace, str, KeptMode> = 78;
    /// SCIM clients by name.
    pub(crate) SCIM_CLIENTS: Table<CoreSpace, (NamespaceId, &str), ScimClient> = 85;
    /// The SCIM client whose requests an entity's tokens make, by name.
    pub(crate) SCIM_PRINCIPALS: Table<CoreSpace, (NamespaceId, &IdBytes), String> = 86;
    /// The users and the groups of a SCIM client, by the id of the collection and their own.
    pub(crate) SCIM_RESOURCES: Table<CoreSpace, (NamespaceId, IdBytes, &IdBytes), ScimResource> = 87;
    /// The same by the id that the client has given them: collection and external id, and their own.
    pub(crate) SCIM_EXTERNAL_IDS: Table<CoreSpace, (NamespaceId, &(&str, &str)), ()> = 88;
    /// Deleted SCIM clients whose users and groups are still to be deleted, by the number of their namespace.
    pub(crate) DELETED_SCIM_CLIENTS: Table<CoreLocal, (u64, &str), DeletedScimClient> = 89;
    /// Deleted entities whose rows are still to be removed, by the number of their namespace.
    pub(crate) DELETED_ENTITIES: Table<CoreLocal, (u64, &IdBytes), DeletedEntity> = 57;
    /// Disabled mounts whose aliases are still to be removed, by the number of their namespace and by accessor.
    pub(crate) DISABLED_MOUNT_ALIASES: Table<CoreLocal, (u64, &str), DisabledMountAliases> = 58;
}
