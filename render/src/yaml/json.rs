//! JSON, which is not quite YAML: a file that begins with `{` is read as JSON first, as kubectl reads it. Its escapes
//! (`\/`, `\ud83d\ude00`), long keys and tabs are its own.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Value};

use super::Reader;
use crate::scalar;

/// The next value of a text that has one, and how many bytes it took. The error's line counts from 0.
pub(super) fn next(reader: &mut Reader, text: &str) -> Result<(Value, usize), (usize, String)> {
    let mut deserializer = Deserializer::from_str(text);
    match (Node { reader, depth: 0 }).deserialize(&mut deserializer) {
        Ok(value) => Ok((value, deserializer.into_iter::<IgnoredAny>().byte_offset())),
        // What serde_json says names what was expected, and never what stood there.
        Err(error) => Err((error.line().saturating_sub(1), format!("it is not JSON: {error}"))),
    }
}

/// A value at some depth, counted like those of YAML.
struct Node<'r> {
    reader: &'r mut Reader,
    depth: usize,
}

impl Node<'_> {
    fn hold<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.reader.hold(bytes).map_err(E::custom)
    }

    fn inner(&mut self) -> Node<'_> {
        Node { reader: self.reader, depth: self.depth + 1 }
    }

    fn enter<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth >= super::DEEPEST { Err(E::custom(super::too_deep())) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        scalar::float_value(value).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(mut self, value: &str) -> Result<Value, E> {
        self.hold(super::text(value)).map(|()| value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner())? {
            self.hold(super::ITEM)?;
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) && self.reader.twice == super::Twice::Refused {
                return Err(A::Error::custom(super::occurs_twice(&key)));
            }
            self.reader.hold_key(&key, map.len()).map_err(A::Error::custom)?;
            let value = entries.next_value_seed(self.inner())?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
