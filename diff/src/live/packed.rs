//! Objects as they are kept: masked text, packed each by itself.
//!
//! One packer for all of them, and one unpacker: what they work with is half a megabyte and a sixth of one, which is too much
//! to be made anew at each event.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value;
use zstd::bulk::{Compressor, Decompressor};

/// What is enough for text of a few kilobytes; higher levels cost more than they save.
const LEVEL: i32 = 1;

pub(super) struct Packer(Mutex<Compressor<'static>>);

impl Packer {
    pub(super) fn new() -> Packer {
        Packer(Mutex::new(Compressor::new(LEVEL).expect("because the level is one of zstd's")))
    }

    pub(super) fn pack(&self, object: &Value) -> Option<Packed> {
        let text = object.to_string();
        let packed = self.0.lock().unwrap_or_else(PoisonError::into_inner).compress(text.as_bytes()).ok()?;
        Some(Packed { length: text.len(), bytes: Arc::from(packed) })
    }
}

static UNPACKER: LazyLock<Mutex<Decompressor<'static>>> =
    LazyLock::new(|| Mutex::new(Decompressor::new().expect("because no dictionary is given")));

/// An object, to be looked at seldom.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed {
    length: usize,
    bytes: Arc<[u8]>,
}

impl Packed {
    pub(super) fn unpack(&self) -> Value {
        let unpacked = UNPACKER.lock().unwrap_or_else(PoisonError::into_inner).decompress(&self.bytes, self.length);
        let text = unpacked.unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_packed_comes_out_as_it_was() {
        let packer = Packer::new();
        for object in [json!({}), json!({"a": "x".repeat(100_000), "b": [1, null, "\u{e9}"]})] {
            let packed = packer.pack(&object).unwrap();
            assert_eq!(packed.clone().unpack(), object);
            assert!(packed.bytes.len() < 1000);
        }
        assert_eq!(Packed::default().unpack(), Value::Null);
    }
}
