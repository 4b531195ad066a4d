//! The full check: what a watch missed is found by a list. One list of a kind, compared with what the watches told; an
//! object of a version that is known costs nothing more.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tk8s_core::ObjectKey;

use super::{Live, Place, count, key_of, list, lock, make_sure, version_of};
use crate::Error;
use crate::cluster::Resource;

/// How long a watch may take to tell what a list has told already.
const LAG: Duration = Duration::from_secs(2);

/// What a full check of one kind found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many objects the list holds.
    pub objects: usize,
    /// Those that were not as the watch had told, or not there at all.
    pub missed: Vec<ObjectKey>,
}

impl Live {
    /// Lists a kind that is watched, once, and takes over what the watch did not tell. Whatever goes wrong changes nothing:
    /// a list that is not complete says of nothing that it is gone.
    pub async fn check(&self, resource: &Resource) -> Result<Checked, Error> {
        let mut all = Checked::default();
        for place in self.0.scope.places(resource) {
            let Checked { objects, missed } = self.check_in(resource, &place).await?;
            all.objects += objects;
            all.missed.extend(missed);
        }
        Ok(all)
    }

    async fn check_in(&self, resource: &Resource, place: &Place) -> Result<Checked, Error> {
        let before = self.versions_of(place);
        let (mut listed, mut others, mut objects) = (HashSet::new(), Vec::new(), 0);
        let version = list::pages(&self.0.cluster, resource, place.namespace.as_deref(), &self.0.selector(), |object| {
            objects += 1;
            let (Some(key), Some(version)) = (key_of(resource, &object), version_of(&object)) else { return };
            if before.get(&key) != Some(&version) {
                others.push((key.clone(), version, object));
            }
            listed.insert(key);
        })
        .await?;
        let absent: Vec<_> = before.into_keys().filter(|key| !listed.contains(key)).collect();
        if others.is_empty() && absent.is_empty() {
            return Ok(Checked { objects, missed: Vec::new() });
        }
        tokio::time::sleep(LAG).await;
        let told = self.versions_of(place);
        let is_news = |key: &ObjectKey, version: &str| told.get(key).is_none_or(|told| count(told) < count(version));
        let (mut missed, mut unsure) = (Vec::new(), Vec::new());
        for (key, version, object) in others {
            if is_news(&key, &version) && self.0.told_of(resource, object).is_some() {
                // Made behind the watch's back, or gone since the list was read: a question tells.
                unsure.extend((!told.contains_key(&key)).then(|| key.clone()));
                missed.push(key);
            }
        }
        unsure.extend(self.0.listed(place, &listed, &version));
        make_sure(&self.0, resource, unsure).await;
        let there = self.versions_of(place);
        missed.extend(absent.into_iter().filter(|key| told.contains_key(key) && !there.contains_key(key)));
        if !missed.is_empty() {
            self.0.much_changed();
        }
        Ok(Checked { objects, missed })
    }

    /// The versions of all objects of a kind in one place, as they are known.
    fn versions_of(&self, place: &Place) -> HashMap<ObjectKey, String> {
        let state = lock(&self.0.state);
        let of_kind = state.objects.iter().filter(|(key, _)| place.holds(key));
        of_kind.map(|(key, seen)| (key.clone(), seen.resource_version.clone())).collect()
    }
}
