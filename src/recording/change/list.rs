//! Changes of lists: a walk over the list before, item by item.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::{Between, Item, Onto};

pub(super) fn is_same<T: Item>(old: &[T], new: &[T]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.is_same(new))
}

/// One step of the walk.
enum Step<'a, T> {
    Keep(i64),
    Drop(i64),
    Change(&'a T, &'a T),
    Insert(&'a T),
}

pub(super) fn write<T: Item, S: Serializer>(
    old: &[T],
    new: &[T],
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut seq = to.serialize_seq(None)?;
    for step in steps(old, new) {
        seq.serialize_element(&step)?;
    }
    seq.end()
}

impl<T: Item> Serialize for Step<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep(count) => to.serialize_i64(*count),
            Self::Drop(count) => to.serialize_i64(-count),
            Self::Change(old, new) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("~", &Between(*old, *new))?;
                map.end()
            }
            Self::Insert(item) => {
                let mut map = to.serialize_map(Some(1))?;
                map.serialize_entry("+", item)?;
                map.end()
            }
        }
    }
}

/// The walk that makes `new` of `old`. Lists mostly keep their order; one that does not costs more, and is right as well.
fn steps<'a, T: Item>(old: &'a [T], new: &'a [T]) -> Vec<Step<'a, T>> {
    let mut steps = Vec::new();
    // Made when an item is met for the first time that is not the one before.
    let mut staying: Option<HashSet<T::Key<'a>>> = None;
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    while let (Some(was), Some(is)) = (before.peek().copied(), after.peek().copied()) {
        if was.key() == is.key() {
            steps.push(match was.is_same(is) {
                true => Step::Keep(1),
                false => Step::Change(was, is),
            });
            before.next();
            after.next();
        } else if staying
            .get_or_insert_with(|| new.iter().map(Item::key).collect())
            .contains(&was.key())
        {
            steps.push(Step::Insert(is));
            after.next();
        } else {
            steps.push(Step::Drop(1));
            before.next();
        }
    }
    steps.extend(before.map(|_| Step::Drop(1)));
    steps.extend(after.map(Step::Insert));
    joined(steps)
}

/// Neighbours of one kind in one step, and nothing about a rest that is kept.
fn joined<T>(steps: Vec<Step<'_, T>>) -> Vec<Step<'_, T>> {
    let mut out: Vec<Step<'_, T>> = Vec::with_capacity(steps.len());
    for step in steps {
        match (out.last_mut(), &step) {
            (Some(Step::Keep(all)), Step::Keep(count))
            | (Some(Step::Drop(all)), Step::Drop(count)) => *all += count,
            _ => out.push(step),
        }
    }
    if matches!(out.last(), Some(Step::Keep(_))) {
        out.pop();
    }
    out
}

pub(super) fn read<'de, T: Item, D: Deserializer<'de>>(
    old: &[T],
    from: D,
) -> Result<Vec<T>, D::Error> {
    let made = Vec::with_capacity(old.len());
    from.deserialize_seq(Walk { rest: old, made })
}

/// The list before, as far as the walk has not come, and the list that it has made so far.
struct Walk<'a, T> {
    rest: &'a [T],
    made: Vec<T>,
}

impl<'a, T: Item> Walk<'a, T> {
    fn take<E: Error>(&mut self, count: u64) -> Result<&'a [T], E> {
        let split = usize::try_from(count)
            .ok()
            .and_then(|count| self.rest.split_at_checked(count));
        let (taken, rest) = split.ok_or_else(|| E::custom("a list is shorter than its change"))?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'de, T: Item> Visitor<'de> for Walk<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change of a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Vec<T>, A::Error> {
        while seq.next_element_seed(OneStep(&mut self))?.is_some() {}
        self.made.extend_from_slice(self.rest);
        Ok(self.made)
    }
}

/// Reads one step and takes it.
struct OneStep<'w, 'a, T>(&'w mut Walk<'a, T>);

impl<'de, T: Item> DeserializeSeed<'de> for OneStep<'_, '_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: Item> Visitor<'de> for OneStep<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, {\"~\": change} or {\"+\": item}")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<(), E> {
        let kept = self.0.take(count)?;
        self.0.made.extend_from_slice(kept);
        Ok(())
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<(), E> {
        self.0.take(count.unsigned_abs()).map(|_| ())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(sign) = map.next_key::<Sign>()? {
            let item = match sign {
                Sign::Change => {
                    let [old] = self.0.take(1)? else {
                        return Err(A::Error::custom("a list is shorter than its change"));
                    };
                    map.next_value_seed(Onto(old))?
                }
                Sign::Insert => map.next_value_seed(PhantomData::<T>)?,
            };
            self.0.made.push(item);
        }
        Ok(())
    }
}

/// What is done with an item.
#[derive(serde::Deserialize)]
enum Sign {
    #[serde(rename = "~")]
    Change,
    #[serde(rename = "+")]
    Insert,
}
