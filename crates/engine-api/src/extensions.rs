//! The values that an engine was built with, by type: the source that [`Extension`](crate::Extension) draws from.
//!
//! A handler names the type it needs and nothing else, so that its signature tells all it can reach. An engine has one or
//! two of its own. The parts of the server are given its services, a list that is made once and shared by all calls: a
//! request costs a reference count, and drawing one a look through a short list. One that is not there is an internal
//! error, which the first request of any test shows.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

type Shared = Arc<dyn Any + Send + Sync>;

/// Values by their type, at most one of each.
#[derive(Clone, Default)]
pub struct Extensions(Option<Arc<[(TypeId, Shared)]>>);

impl Extensions {
    /// These and one more, which takes the place of another of its type.
    #[must_use]
    pub fn with<T: Any + Send + Sync>(&self, value: Arc<T>) -> Self {
        let own = TypeId::of::<T>();
        let others = self.all().iter().filter(|(of, _)| *of != own).cloned();
        Self(Some(others.chain([(own, value as Shared)]).collect()))
    }

    /// The one of this type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let own = TypeId::of::<T>();
        let (_, found) = self.all().iter().find(|(of, _)| *of == own)?;
        found.clone().downcast().ok()
    }

    fn all(&self) -> &[(TypeId, Shared)] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Extensions({})", self.all().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_type() {
        let none = Extensions::default();
        assert!(none.get::<u8>().is_none());
        let two = none.with(Arc::new(1u8)).with(Arc::new("text"));
        assert_eq!((two.get::<u8>().as_deref(), two.get::<&str>().as_deref()), (Some(&1), Some(&"text")));
        assert!(two.get::<u16>().is_none());
        let other = two.with(Arc::new(2u8));
        assert_eq!((two.get::<u8>().as_deref(), other.get::<u8>().as_deref()), (Some(&1), Some(&2)));
    }
}
