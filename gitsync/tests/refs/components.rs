//! Releases of single components, beside those of the platform.

use std::collections::{BTreeMap, BTreeSet};

use tk8s_core::ComponentName;
use tk8s_gitsync::{
    Accepted, AcceptedComponent, ApprovalPolicy, ApprovalRules, Exclusion, Fetched, Follow, OwnRevision, Policy,
    ProductionPolicy, Role, Rule, Verification, Versions, fetch, has_component_tags, released_component, verify,
    verify_components,
};

use super::Story;

/// An agent in production that remembers what it accepted.
struct Follower<'a> {
    story: &'a Story,
    policy: ProductionPolicy,
    accepted: Accepted,
}

/// What came of a look.
#[derive(Debug, PartialEq)]
struct Found {
    platform: String,
    /// `web at v1.2.0-web`, or `web kept`.
    components: Vec<String>,
    refused: Vec<(String, Rule)>,
}

impl<'a> Follower<'a> {
    fn of(story: &'a Story) -> Follower<'a> {
        let policy = ProductionPolicy { signers: story.signers(), approvals: None, versions: Versions::default() };
        Follower { story, policy, accepted: Accepted::default() }
    }

    /// A look at everything that was pushed, and what is accepted of it.
    fn look(&mut self) -> Found {
        let (platform, more) = self.judge();
        self.accept(platform, more)
    }

    fn fetched(&self) -> Fetched {
        self.story.push();
        let follow = Follow::Tags { release_branch: "main".into(), approvals: true, evidence: false };
        fetch(&self.story.source(follow)).unwrap()
    }

    fn judge(&self) -> (Verification, Verification) {
        let (fetched, policy) = (self.fetched(), Policy::Production(self.policy.clone()));
        let verification = verify(&fetched, &policy, &self.accepted).unwrap();
        let names: BTreeSet<ComponentName> = ["web", "api", "2048"].map(|name| name.parse().unwrap()).into();
        let revision = verification.revision.as_ref().expect("a release of the platform");
        let more = verify_components(&fetched, &policy, &self.accepted, revision, &names).unwrap();
        (verification, more)
    }

    fn accept(&mut self, platform: Verification, more: Verification) -> Found {
        let verification = platform.and(more);
        let verified = verification.revision.as_ref().unwrap();
        let (revision, trust) = (verified.revision().clone(), verified.trust().clone());
        let before = &mut self.accepted;
        before.components.iter_mut().for_each(|(name, own)| own.ahead &= verification.components.contains_key(name));
        let mut components = Vec::new();
        for (name, own) in &verification.components {
            components.push(match own {
                OwnRevision::Kept => format!("{name} kept"),
                OwnRevision::Verified(own) => {
                    let (revision, trust) = (own.revision().clone(), own.trust().clone());
                    let told = format!("{name} at {}", revision.label());
                    before.components.insert(name.clone(), AcceptedComponent { revision, trust, ahead: true });
                    told
                }
            });
        }
        before.tags.extend(verification.first_seen);
        before.head = Some(revision.commit.clone());
        before.version = Some(revision.label()[1..].parse().unwrap());
        before.passed = Some((revision.commit.clone(), verification.passed));
        let platform = revision.label().to_owned();
        before.standing = Some((revision, trust));
        let refused = verification.refused.into_iter();
        let refused = refused.map(|it| (it.reference.trim_start_matches("refs/tags/").to_owned(), it.rule)).collect();
        Found { platform, components, refused }
    }
}

fn found(platform: &str, components: &[&str], refused: &[(&str, Rule)]) -> Found {
    Found {
        platform: platform.into(),
        components: components.iter().map(ToString::to_string).collect(),
        refused: refused.iter().map(|(name, rule)| ((*name).into(), *rule)).collect(),
    }
}

#[test]
fn a_component_follows_its_own_tag_until_the_platforms_release_holds_it() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    assert_eq!(agent.look(), found("v1.0.0", &[], &[]));
    story.release("v1.0.1-web");
    assert_eq!(agent.look(), found("v1.0.0", &["web at v1.0.1-web"], &[]));
    assert_eq!(agent.look(), found("v1.0.0", &["web at v1.0.1-web"], &[]), "nor is it forgotten");
    // Lines go on apart from each other.
    story.release("v7.0.0-2048");
    story.release("v1.0.2-web");
    assert_eq!(agent.look(), found("v1.0.0", &["2048 at v7.0.0-2048", "web at v1.0.2-web"], &[]));
    story.release("v1.1.0");
    assert_eq!(agent.look(), found("v1.1.0", &[], &[]), "everything is in it");
    let passed = agent.accepted.passed.clone();
    assert_eq!(passed.as_ref().map(|(_, tags)| tags.len()), Some(2), "of each line the newest tag");
    assert_eq!(agent.look(), found("v1.1.0", &[], &[]));
    assert_eq!(agent.accepted.passed, passed, "and nothing more is asked about at later looks");
    // A start without memory of what was passed comes to the same.
    agent.accepted.passed = None;
    assert_eq!(agent.look(), found("v1.1.0", &[], &[]));
    story.release("v1.0.3-web");
    assert_eq!(agent.look(), found("v1.1.0", &["web at v1.0.3-web"], &[]));
}

#[test]
fn nothing_takes_a_component_back_whatever_its_number() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    let old = story.head();
    story.commit("base.yaml", "a: between\n", Some(&story.alice));
    let between = story.head();
    story.release("v1.1.0-web");
    assert_eq!(agent.look().components, ["web at v1.1.0-web"]);
    // A higher release of the platform on an older commit: everything else follows it.
    story.repository.git_signed(&story.alice, &["tag", "-s", "-m", "late", "v1.2.0", &between]);
    story.git(&["push", "-q", "origin", "--tags"]);
    assert_eq!(agent.look(), found("v1.2.0", &["web at v1.1.0-web"], &[]));
    // Higher tags of the component on what it has left behind, on what the platform has, and a lower one.
    for (name, commit) in
        [("v1.3.0-web", &between), ("v1.4.0-api", &between), ("v1.5.0-web", &old), ("v1.0.9-web", &story.head())]
    {
        story.repository.git_signed(&story.alice, &["tag", "-s", "-m", "again", name, commit]);
    }
    story.git(&["push", "-q", "origin", "--tags"]);
    let again = agent.look();
    assert_eq!(again.components, ["web at v1.1.0-web"], "{again:?}");
    assert!(again.refused.iter().all(|(_, rule)| matches!(rule, Rule::VersionLower | Rule::NotAhead)), "{again:?}");
    // Nor does a merge of something that went another way.
    story.branch("elsewhere", &between);
    story.commit("other.yaml", "a: other\n", Some(&story.bob));
    let elsewhere = story.head();
    story.back_to_main();
    story.merge("elsewhere", Some(&story.alice), &[]);
    story.repository.git_signed(&story.alice, &["tag", "-s", "-m", "aside", "v1.6.0-web", &elsewhere]);
    story.git(&["push", "-q", "origin", "--tags"]);
    let aside = agent.look();
    assert_eq!(aside.components, ["web at v1.1.0-web"]);
    assert!(aside.refused.contains(&("v1.6.0-web".into(), Rule::NotAhead)), "{aside:?}");
    story.repository.git_signed(&story.alice, &["tag", "-s", "-m", "both", "v1.6.1-web", "HEAD"]);
    story.git(&["push", "-q", "origin", "--tags"]);
    assert_eq!(agent.look().components, ["web at v1.6.1-web"]);
}

#[test]
fn a_tag_of_a_component_is_asked_for_all_that_a_release_is_asked_for() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    story.release("v1.0.0-web");
    assert_eq!(agent.look().components, ["web at v1.0.0-web"]);
    let expect = |agent: &mut Follower<'_>, name: &str, rule: Rule| {
        assert_eq!(agent.look(), found("v1.0.0", &["web at v1.0.0-web"], &[(name, rule)]));
        story.git(&["push", "-q", "origin", &format!(":refs/tags/{name}")]);
        story.git(&["tag", "-d", name]);
    };
    story.repository.tag("v1.0.1-web", None);
    expect(&mut agent, "v1.0.1-web", Rule::Unsigned);
    story.repository.tag("v9.0.0-web", Some(&story.alice));
    expect(&mut agent, "v9.0.0-web", Rule::VersionJump);
    story.git(&["update-ref", "refs/tags/v1.0.2-web", "refs/tags/v1.0.0-web"]);
    story.git(&["push", "-q", "origin", "v1.0.2-web"]);
    expect(&mut agent, "v1.0.2-web", Rule::TagNameMismatch);
    story.branch("experiment", "main");
    story.release("v1.0.3-web");
    story.back_to_main();
    expect(&mut agent, "v1.0.3-web", Rule::NotOnReleaseBranch);
    story.commit("base.yaml", "a: unsigned\n", None);
    story.repository.tag("v1.0.4-web", Some(&story.alice));
    expect(&mut agent, "v1.0.4-web", Rule::Unsigned);
    story.repository.tag("v1.0.0-wbe", Some(&story.alice));
    expect(&mut agent, "v1.0.0-wbe", Rule::UnknownComponent);
    // Candidates of it as those of the platform.
    story.release("v1.1.0-web-rc.1");
    assert_eq!(agent.look().components, ["web at v1.0.0-web"]);
    agent.policy.versions.pre_releases = true;
    assert_eq!(agent.look().components, ["web at v1.1.0-web-rc.1"]);
    story.release("v1.1.0-web");
    assert_eq!(agent.look().components, ["web at v1.1.0-web"]);
}

#[test]
fn a_component_whose_tag_is_not_good_any_more_stays_as_it_is() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    story.release("v1.0.0-web");
    assert_eq!(agent.look().components, ["web at v1.0.0-web"]);
    let tag = story.git(&["rev-parse", "v1.0.0-web"]);
    // It moves, and vanishes: incidents, and no way back to the platform's older content.
    story.git(&["tag", "-d", "v1.0.0-web"]);
    story.repository.tag("v1.0.0-web", Some(&story.bob));
    let (platform, more) = agent.judge();
    assert!(matches!(more.components[&"web".parse().unwrap()], OwnRevision::Kept));
    assert_eq!(more.incidents.iter().map(|it| it.rule).collect::<Vec<_>>(), [Rule::TagMoved]);
    assert_eq!(agent.accept(platform, more), found("v1.0.0", &["web kept"], &[("v1.0.0-web", Rule::TagMoved)]));
    story.git(&["push", "-q", "origin", ":refs/tags/v1.0.0-web"]);
    let (platform, more) = agent.judge();
    assert_eq!(more.incidents.iter().map(|it| it.before.clone()).collect::<Vec<_>>(), [tag]);
    let id = more.incidents[0].id();
    assert_eq!(agent.accept(platform, more), found("v1.0.0", &["web kept"], &[("v1.0.0-web", Rule::TagVanished)]));
    // A person accepts that it is gone: it is no alarm any more, and still nothing goes back.
    agent.accepted.incidents.insert(id);
    assert_eq!(agent.look(), found("v1.0.0", &["web kept"], &[]));
    // The platform's next release holds what it followed.
    story.release("v1.1.0");
    assert_eq!(agent.look(), found("v1.1.0", &[], &[]));
}

#[test]
fn what_the_platforms_release_held_once_is_not_kept_when_it_is_gone() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    story.release("v1.0.0-web");
    assert_eq!(agent.look().components, ["web at v1.0.0-web"]);
    // As if the platform had held it, and a person let it go another way since.
    agent.accepted.components.values_mut().for_each(|own| own.ahead = false);
    agent.accepted.head = None;
    story.git(&["push", "-q", "origin", ":refs/tags/v1.0.0-web"]);
    assert_eq!(agent.look(), found("v1.0.0", &[], &[("v1.0.0-web", Rule::TagVanished)]));
}

#[test]
fn a_tag_that_is_known_to_be_passed_is_not_judged_again_until_the_platform_moves() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    story.commit("base.yaml", "a: bob's\n", Some(&story.alice));
    story.repository.tag("v1.0.0-web", Some(&story.bob));
    story.repository.tag("v1.1.0", Some(&story.alice));
    assert_eq!(agent.look(), found("v1.1.0", &[], &[]));
    // Bob is gone: what he signed and nobody follows is no alarm.
    let all = std::mem::replace(&mut agent.policy.signers, crate::support::signers(&[&story.alice]));
    assert_eq!(agent.look(), found("v1.1.0", &[], &[]));
    // What was found at one commit of the platform says nothing about another.
    agent.policy.signers = all;
    story.release("v1.0.1-web");
    let tag = story.git(&["rev-parse", "v1.0.1-web"]).parse().unwrap();
    agent.accepted.passed = Some((story.head().parse().unwrap(), BTreeSet::from([tag])));
    assert_eq!(agent.look(), found("v1.1.0", &["web at v1.0.1-web"], &[]));
}

#[test]
fn whether_there_is_anything_of_components_is_seen_by_the_names_of_tags_and_by_what_is_followed() {
    for (tag, component) in
        [("v1.2.3-web", Some("web")), ("v1.2.3-web-rc.1", Some("web")), ("v1.2.3", None), ("v1.2.3-rc.1", None), ("web", None)]
    {
        let released = released_component(tag);
        assert_eq!(released.as_ref().map(ComponentName::as_str), component, "{tag}");
    }
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    assert!(!has_component_tags(&agent.fetched(), &agent.accepted));
    story.release("v1.0.0-web");
    assert!(has_component_tags(&agent.fetched(), &agent.accepted));
    agent.look();
    story.git(&["push", "-q", "origin", ":refs/tags/v1.0.0-web"]);
    assert!(has_component_tags(&agent.fetched(), &agent.accepted), "it has vanished, which is to be judged");
    assert!(!has_component_tags(&agent.fetched(), &Accepted::default()));
}

#[test]
fn tags_of_a_component_that_is_gone_are_no_news() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0-gone");
    story.release("v1.1.0-gone");
    story.release("v1.0.0");
    assert_eq!(agent.look(), found("v1.0.0", &[], &[]));
    story.release("v1.2.0-gone");
    assert_eq!(agent.look(), found("v1.0.0", &[], &[("v1.2.0-gone", Rule::UnknownComponent)]));
}

/// A43, threshold cheating: who made the changes approves them, with somebody else's hand at the tag.
#[test]
fn whoever_made_a_commit_of_the_release_does_not_approve_it_where_the_range_is_asked() {
    let story = Story::new();
    let mut agent = Follower::of(&story);
    story.release("v1.0.0");
    agent.look();
    let text = format!(
        "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n\
         - {{name: alice, roles: [release], keys: ['{}']}}\n- {{name: bob, roles: [release, technical-lead], keys: ['{}']}}\n",
        story.alice.public, story.bob.public
    );
    agent.policy.signers = tk8s_gitsync::Signers::parse(text.as_bytes(), "signers").unwrap();
    let lead = Role::ALL.into_iter().find(|role| role.name() == "technical-lead").unwrap();
    let rules = |exclude| ApprovalRules { required: BTreeMap::from([(lead, 1)]), exclude, ..ApprovalRules::default() };
    let policy = |exclude| Some(ApprovalPolicy { rules: rules(exclude), cluster: "c".into() });
    story.commit("base.yaml", "a: bob's\n", Some(&story.bob));
    let release = |tag: &str| {
        story.release(tag);
        let name = format!("approve/{tag}/technical-lead/bob");
        story.repository.git_signed(&story.bob, &["tag", "-s", "-m", "yes\n\nEnvironment: production", &name, tag]);
        story.git(&["push", "-q", "origin", "--tags"]);
    };
    // Of a component as of the platform.
    release("v1.1.0-web");
    for (exclude, components) in [(Exclusion::Range, vec![]), (Exclusion::Head, vec!["web at v1.1.0-web"])] {
        agent.policy.approvals = policy(exclude);
        let (platform, more) = agent.judge();
        assert_eq!(more.unapproved.len(), usize::from(components.is_empty()));
        let mut other = Follower { accepted: agent.accepted.clone(), policy: agent.policy.clone(), ..Follower::of(&story) };
        assert_eq!(other.accept(platform, more).components, components, "{exclude:?}");
    }
    release("v1.1.0");
    for (exclude, waits) in [(Exclusion::Range, true), (Exclusion::Head, false)] {
        agent.policy.approvals = policy(exclude);
        let judged = agent.judge().0;
        assert_eq!(judged.unapproved.iter().any(|it| it.tag.name == "v1.1.0"), waits, "{exclude:?}");
    }
    // Nobody knows whose an unsigned commit is: it could be anybody's.
    story.commit("base.yaml", "a: nobody's\n", None);
    release("v1.2.0");
    agent.policy.approvals = policy(Exclusion::Range);
    let judged = agent.judge().0;
    let [refusal, ..] = judged.refused.as_slice() else { panic!("it has to be refused") };
    assert_eq!((refusal.reference.as_str(), refusal.rule), ("refs/tags/v1.2.0", Rule::Unsigned));
    assert!(refusal.message.contains("exclude: range"), "{}", refusal.message);
}
