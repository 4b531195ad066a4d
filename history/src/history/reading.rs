//! What is read from the view: revisions, components, releases, inventories, and what a gap limits.

use std::collections::BTreeMap;

use tk8s_core::{CommitId, ComponentName, Digest, Placed, ReleaseId, Revision, Timestamp};

use super::{History, get, values};
use crate::fold::{self, AcceptedState, ComponentState, HooksState, LimitState, ReleaseState};
use crate::gap::{GapView, Limit};
use crate::view::{self, Tree, ViewError};
use crate::{
    Accepted, AcceptedComponent, ComponentView, EndedHook, Intent, Inventories, InventoryEntry, RefusedView, ReleaseView,
    SeenTag, set,
};

impl History {
    /// What was accepted so far, and every tag as it was first seen.
    pub fn accepted(&self) -> Accepted {
        self.look(|view| {
            let state: Option<AcceptedState> = get(view, fold::ACCEPTED)?;
            let tag = |(key, value): (String, Vec<u8>)| {
                let seen: SeenTag = view::read(&key, &value)?;
                Ok((key[fold::TAGS.len()..].to_owned(), seen))
            };
            let tags = view.scan(Tree::Derived, fold::TAGS)?.into_iter().map(tag).collect::<Result<_, ViewError>>()?;
            let own = |(key, value): (String, Vec<u8>)| {
                let own: AcceptedComponent = view::read(&key, &value)?;
                Ok(key[fold::OWN.len()..].parse().ok().map(|name| (name, own)))
            };
            let components = view.scan(Tree::Derived, fold::OWN)?.into_iter().filter_map(|entry| own(entry).transpose());
            let components = components.collect::<Result<_, ViewError>>()?;
            let (revision, trust) = state.map(|state| (state.revision, state.trust)).unzip();
            let head: Option<CommitId> = revision.as_ref().map(|revision: &Revision| revision.commit.clone());
            Ok(Accepted { head, revision, trust, tags, components })
        })
    }

    /// When the revision that was accepted last was accepted, by our clock; another trust in it changes nothing about that.
    pub fn accepted_at(&self) -> Option<Timestamp> {
        self.look(|view| get::<AcceptedState>(view, fold::ACCEPTED)).map(|state| state.at)
    }

    /// What was refused since its ref was last accepted, oldest first.
    pub fn refusals(&self) -> Vec<RefusedView> {
        let mut refusals: Vec<RefusedView> = self.look(|view| values(view, fold::REFUSED));
        refusals.sort_by_key(|view| view.first);
        refusals
    }

    /// Every component that was ever staged.
    pub fn components(&self) -> Vec<ComponentName> {
        self.look(|view| {
            let entries = view.scan(Tree::Derived, fold::COMPONENTS)?;
            Ok(entries.iter().filter_map(|(key, _)| key[fold::COMPONENTS.len()..].parse().ok()).collect())
        })
    }

    /// What is remembered of a component, if it was ever staged.
    pub fn component(&self, name: &ComponentName) -> Option<ComponentView> {
        self.look(|view| {
            let Some(state) = get::<ComponentState>(view, &fold::component(name))? else { return Ok(None) };
            let latest: Option<ReleaseState> = get(view, &fold::release(name, state.latest))?;
            let latest = latest.ok_or_else(|| ViewError::Broken(format!("the latest release of `{name}` is missing")))?;
            let unfinished = match state.begun {
                Some(_) => join(values(view, &fold::intents(name))?),
                None => None,
            };
            let id = |number| ReleaseId { component: name.clone(), number };
            Ok(Some(ComponentView {
                latest: latest.release,
                latest_outcome: latest.outcome,
                confirmed: latest.confirmed,
                unfinished,
                current: state.current.map(id),
                healthy: state.healthy.map(id),
                hold: state.hold,
                rollback: state.rollback,
            }))
        })
    }

    /// The kept releases of a component, newest first.
    pub fn releases(&self, component: &ComponentName) -> Vec<ReleaseView> {
        let states: Vec<ReleaseState> = self.look(|view| values(view, &fold::releases(component)));
        states.into_iter().rev().map(ReleaseView::from).collect()
    }

    /// One of them.
    pub fn release(&self, release: &ReleaseId) -> Option<ReleaseView> {
        let state: Option<ReleaseState> = self.look(|view| get(view, &fold::release(&release.component, release.number)));
        state.map(ReleaseView::from)
    }

    /// The digest of a kept release's objects, as in [`crate::Release::content`].
    pub fn content_of(&self, release: &ReleaseId) -> Option<Digest> {
        self.release(release).map(|known| known.release.content)
    }

    /// The hooks that came to their end for the content of this release, unless another content ran hooks since.
    pub fn hooks(&self, release: &ReleaseId) -> Vec<EndedHook> {
        self.look(|view| {
            let of: Option<ReleaseState> = get(view, &fold::release(&release.component, release.number))?;
            let state: Option<HooksState> = get(view, &fold::hooks(&release.component))?;
            Ok(match (of, state) {
                (Some(of), Some(state)) if of.release.content == state.content => state.ended,
                _ => Vec::new(),
            })
        })
    }

    /// The objects that a component owns in the cluster, or was about to create.
    pub fn inventory(&self, component: &ComponentName) -> Vec<InventoryEntry> {
        self.look(|view| values(view, &fold::inventory(component)))
    }

    /// The inventories of all components.
    pub fn inventories(&self) -> Inventories {
        self.look(|view| {
            let mut inventories = Inventories::new();
            for (key, value) in view.scan(Tree::Derived, fold::INVENTORIES)? {
                if let Some(component) = key.split('/').nth(1).and_then(|name| name.parse().ok()) {
                    inventories.entry(component).or_default().push(view::read(&key, &value)?);
                }
            }
            Ok(inventories)
        })
    }

    /// The digest of a set of objects as it stands in [`crate::Release::content`]: equal sets, whatever their order and files, have
    /// equal digests. Keyed with this history's encryption key.
    pub fn content(&self, objects: &[Placed]) -> Digest {
        set::content(&self.keys, objects)
    }

    // ---- what the cluster remembers of it ----

    /// The gap that was found last, if ever something was missing.
    pub fn gap(&self) -> Option<GapView> {
        self.look(|view| get(view, fold::GAP))
    }

    /// The components of which the cluster remembered more than this history, and that have not run since.
    pub fn limits(&self) -> BTreeMap<ComponentName, Limit> {
        self.look(|view| {
            let entries = view.scan(Tree::Derived, fold::LIMITS)?.into_iter();
            let limit = |(key, value): (String, Vec<u8>)| {
                let state: LimitState = view::read(&key, &value)?;
                Ok(key[fold::LIMITS.len()..].parse().ok().map(|name| (name, state.limit)))
            };
            entries.filter_map(|entry| limit(entry).transpose()).collect()
        })
    }

    /// The limit that keeps a release from running by itself: it was staged before the gap, or never here, and is not what ran.
    pub fn limit_on(&self, release: &ReleaseId) -> Option<Limit> {
        self.look(|view| {
            let Some(LimitState { limit, position }) = get(view, &fold::limit(&release.component))? else { return Ok(None) };
            let staged: Option<ReleaseState> = get(view, &fold::release(&release.component, release.number))?;
            let may = staged.is_some_and(|staged| {
                staged.position > position || limit.current.as_ref().is_some_and(|ran| ran.content == staged.release.content)
            });
            Ok((!may).then_some(limit))
        })
    }
}

/// Puts the parts of an intent together again.
fn join(parts: Vec<Intent>) -> Option<Intent> {
    parts.into_iter().reduce(|mut intent, part| {
        intent.creates.extend(part.creates);
        intent.changes.extend(part.changes);
        intent.deletes.extend(part.deletes);
        intent
    })
}
