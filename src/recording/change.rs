//! What changed between two values, as JSON: only fields that are not the same, and what to do to lists.
//!
//! ```text
//!  struct   {"field": change, …}     fields that are left out are as before
//!  list     [op, …]                  a walk over the list before: 3 keeps three, -2 drops two, {"~": change} keeps one that has
//!                                    changed, {"+": item} puts one in; what is left of the list before is kept
//!  option   null | the whole value where there was none | change
//!  other    the whole value
//! ```
//!
//! Values that are shared (`Arc`) and did not change stay shared when they are read.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Visitor};
use serde::{Serialize, Serializer};

mod list;
mod shapes;

/// A value of which changes can be written, and applied to the value before.
pub(super) trait Change: Sized {
    /// True if nothing changed.
    fn is_same(&self, new: &Self) -> bool;
    /// Writes what makes `new` of this value.
    fn write<S: Serializer>(&self, new: &Self, to: S) -> Result<S::Ok, S::Error>;
    /// The value that a change makes of this one.
    fn read<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Self, D::Error>;
}

/// An item of a list.
pub(super) trait Item: Change + Clone + Serialize + DeserializeOwned {
    /// By what it is known in its list from one look to the next.
    type Key<'a>: Eq + Hash
    where
        Self: 'a;
    /// See [`Self::Key`].
    fn key(&self) -> Self::Key<'_>;
}

/// What makes the second of the first, to be serialized.
pub(super) struct Between<'a, T>(pub &'a T, pub &'a T);

impl<T: Change> Serialize for Between<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write(self.1, to)
    }
}

/// The value before, onto which a change is to be read.
pub(super) struct Onto<'a, T>(pub &'a T);

impl<'de, T: Change> DeserializeSeed<'de> for Onto<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        self.0.read(from)
    }
}

impl<T: Change> Change for Arc<T> {
    fn is_same(&self, new: &Self) -> bool {
        Arc::ptr_eq(self, new) || self.as_ref().is_same(new)
    }

    fn write<S: Serializer>(&self, new: &Self, to: S) -> Result<S::Ok, S::Error> {
        self.as_ref().write(new, to)
    }

    fn read<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Self, D::Error> {
        self.as_ref().read(from).map(Arc::new)
    }
}

impl<T: Item> Item for Arc<T> {
    type Key<'a>
        = T::Key<'a>
    where
        T: 'a;

    fn key(&self) -> Self::Key<'_> {
        self.as_ref().key()
    }
}

impl<T: Item> Change for Vec<T> {
    fn is_same(&self, new: &Self) -> bool {
        list::is_same(self, new)
    }

    fn write<S: Serializer>(&self, new: &Self, to: S) -> Result<S::Ok, S::Error> {
        list::write(self, new, to)
    }

    fn read<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Self, D::Error> {
        list::read(self, from)
    }
}

impl<T: Item> Change for Arc<[T]> {
    fn is_same(&self, new: &Self) -> bool {
        Arc::ptr_eq(self, new) || list::is_same(self, new)
    }

    fn write<S: Serializer>(&self, new: &Self, to: S) -> Result<S::Ok, S::Error> {
        list::write(self, new, to)
    }

    fn read<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Self, D::Error> {
        list::read(self, from).map(Into::into)
    }
}

impl<T: Change + Serialize + DeserializeOwned> Change for Option<T> {
    fn is_same(&self, new: &Self) -> bool {
        match (self, new) {
            (None, None) => true,
            (Some(old), Some(new)) => old.is_same(new),
            _ => false,
        }
    }

    fn write<S: Serializer>(&self, new: &Self, to: S) -> Result<S::Ok, S::Error> {
        match (self, new) {
            (Some(old), Some(new)) => old.write(new, to),
            (_, new) => new.serialize(to),
        }
    }

    fn read<'de, D: Deserializer<'de>>(&self, from: D) -> Result<Self, D::Error> {
        match self {
            Some(old) => from.deserialize_option(MaybeOnto(old)),
            None => serde::Deserialize::deserialize(from),
        }
    }
}

/// The value before, which may be none from now on.
struct MaybeOnto<'a, T>(&'a T);

impl<'de, T: Change> Visitor<'de> for MaybeOnto<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change or null")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        self.0.read(from).map(Some)
    }
}
