//! Pages of ids and of names, the same for entities, groups and aliases.

use strongroom_barrier::{BarrierError, CoreSpace, NamespaceId, Reads, Stored, Table};

use crate::id::{IdBytes, IdentityId};
use crate::names::fold;

/// A table by namespace and id.
type ById<V> = Table<CoreSpace, (NamespaceId, &'static IdBytes), V>;
/// A table of ids by namespace and folded name.
type ByName = Table<CoreSpace, (NamespaceId, &'static str), IdentityId>;

/// The ids of a namespace after the id `after`. A text that no id has stands before all of them.
pub(crate) async fn ids<V: Stored>(
    table: &ById<V>,
    reads: &impl Reads,
    namespace: NamespaceId,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<IdentityId>, BarrierError> {
    let keys = match after.map(|after| IdentityId::parse(after).unwrap_or_default()) {
        Some(after) => table.keys_after(reads, &namespace, &after.at(namespace), limit).await?,
        None => table.keys(reads, &namespace, None, limit).await?,
    };
    Ok(keys.into_iter().map(|(_, id)| IdentityId::of_bytes(id)).collect())
}

/// The ids of a namespace in order of their folded names, after the name `after`.
pub(crate) async fn ids_by_name(
    table: &ByName,
    reads: &impl Reads,
    namespace: NamespaceId,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<IdentityId>, BarrierError> {
    let after = after.map(fold);
    let after = after.as_deref().map(|after| (namespace, after));
    let found = table.scan_after(reads, &namespace, after.as_ref(), limit).await?;
    Ok(found.into_iter().map(|(_, id)| *id).collect())
}
