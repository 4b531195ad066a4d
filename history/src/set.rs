//! How a rendered set is written into a blob, and read back.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tk8s_core::{LayerId, Manifest, Origin, Placed, canonical_json};
use tk8s_images::ImageUse;
use zeroize::Zeroizing;

use crate::Error;
use crate::keys::Keys;

/// The content of a blob.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    format: u32,
    objects: Vec<Item>,
    images: Vec<ImageUse>,
    warnings: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Item {
    layer: LayerId,
    file: String,
    line: usize,
    object: Value,
}

const FORMAT: u32 = 1;

/// The set as canonical JSON. It may hold secrets, and is wiped when dropped.
pub(crate) fn write(objects: &[Placed], images: &[ImageUse], warnings: &[String]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let item = |placed: &Placed| Item {
        layer: placed.layer.clone(),
        file: placed.manifest.origin().file.to_string(),
        line: placed.manifest.origin().line,
        object: placed.manifest.to_value(),
    };
    let set =
        Set { format: FORMAT, objects: objects.iter().map(item).collect(), images: images.to_vec(), warnings: warnings.to_vec() };
    let value = serde_json::to_value(set)
        .map_err(|source| Error::Encoding { act: "write a rendered set as JSON", source: source.into() })?;
    Ok(Zeroizing::new(canonical_json(&value)))
}

/// The objects of a set that [`write`] wrote, in the same order.
pub(crate) fn read(text: &[u8]) -> Result<Vec<Placed>, &'static str> {
    // What the parser says could quote a value: it is dropped.
    let set: Set = serde_json::from_slice(text).map_err(|_| "cannot be read")?;
    if set.format != FORMAT {
        return Err("was written by a newer version of the agent");
    }
    let placed = |item: Item| {
        let origin = Origin { file: item.file.into(), line: item.line };
        let manifest = Manifest::new(item.object, origin).map_err(|_| "holds an object that is none")?;
        Ok(Placed { layer: item.layer, manifest })
    };
    set.objects.into_iter().map(placed).collect()
}

/// A digest over layers and objects, whatever their order and files. It is keyed: digests stand in the ledger, which is
/// public, and nobody shall find out a short secret by trying.
pub(crate) fn content(keys: &Keys, objects: &[Placed]) -> tk8s_core::Digest {
    let mut digests: Vec<[u8; 32]> = objects
        .iter()
        .map(|placed| {
            let object = Zeroizing::new(canonical_json(&placed.manifest.to_value()));
            keys.digest(&[placed.layer.to_string().as_bytes(), b"\0", &object])
        })
        .collect();
    digests.sort_unstable();
    tk8s_core::Digest::from_bytes(keys.digest(&[b"set\0", &digests.concat()]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were_written(float in any::<f64>().prop_filter("JSON", |float| float.is_finite()), whole: i64, big: u64) {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, "spec": [float, whole, big, 0.999_999_999_999_999_9]});
            let manifest = Manifest::new(object, Origin::default()).unwrap();
            let placed = Placed { layer: "1-test".parse().unwrap(), manifest };
            let text = write(std::slice::from_ref(&placed), &[], &[]).unwrap();
            let read = read(&text).unwrap();
            prop_assert_eq!(read[0].manifest.to_value(), placed.manifest.to_value());
        }
    }
}
