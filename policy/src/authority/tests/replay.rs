//! The log alone gives the state: whatever sequence of commands, whatever prefix of the log.

use proptest::prelude::*;

use super::*;

/// What one step of a random history tries.
type Step = (u8, u8, u8, u32);

const PEOPLE: [&str; 7] = ["ann", "bob", "olga", "oscar", "cal", "aud", "ops"];

fn attempt(world: &mut World, (kind, who, what, millis): Step, number: usize) {
    world.pass(i64::from(millis));
    let who = if who == 7 { Actor::gateway() } else { cast(PEOPLE[usize::from(who)]) };
    let new: ApprovalId = format!("ap-{number}").as_str().into();
    let known = |world: &World| {
        let ids: Vec<_> = world.authority.approvals.keys().cloned().collect();
        ids.get(usize::from(what) % ids.len().max(1)).cloned().unwrap_or_else(|| "ap-none".into())
    };
    let grant = |world: &World| {
        let ids: Vec<_> = world.authority.grants.keys().cloned().collect();
        ids.get(usize::from(what) % ids.len().max(1)).cloned().unwrap_or_else(|| "gr-none".into())
    };
    let reason = || format!("reason {number}");
    let _ = match kind {
        0 => world.request(&who, &new.0, topic("orders"), i64::from(what) * 60_000),
        1 => world.hold(&who, &new.0, &[what % 3]),
        2 | 3 => {
            let id = known(world);
            world.approve(&who, &id.0)
        }
        4 => {
            let id = known(world);
            world.deny(&who, &id.0)
        }
        5 => {
            let id = known(world);
            world.use_up(&id.0)
        }
        6 => {
            let grant = grant(world);
            world.act(&who, Command::RevokeGrant { grant, reason: reason() })
        }
        7 => {
            let (grant, span) = (grant(world), GrantSpan::Millis(u64::from(what) * 100_000));
            world.act(&who, Command::ExtendGrant { id: new, grant, span, reason: reason() })
        }
        8 => {
            let session = format!("session-{}", what % 4);
            world.act(&who, Command::RevokeSession { session, reason: reason(), holder: None })
        }
        9 => {
            let until = world.now.plus_millis(i64::from(what) * 1000);
            let token_id = format!("jti-{}", what % 4);
            world.act(&who, Command::RevokeToken { token_id, until, reason: reason(), holder: None })
        }
        10 => {
            let until = (what % 2 == 0).then(|| world.now.plus_millis(1 + i64::from(what) * 1000));
            world.act(&who, Command::RevokePrincipal { issuer: None, name: "bob".into(), until, reason: reason() })
        }
        11 => world.act(&who, Command::RestorePrincipal { issuer: None, name: "bob".into(), reason: reason() }),
        12 => {
            let grant = format!("gr-{number}").as_str().into();
            world.act(&who, Command::BreakGlass { id: new, grant, rule: None, millis: None, reason: reason() })
        }
        13 => {
            let id = known(world);
            world.act(&who, Command::Review { id, reason: reason() })
        }
        _ => {
            let not_before = world.now.plus_millis(HOUR);
            let (kid, algorithm) = (format!("k{}", what % 3), "EdDSA".to_owned());
            let key = PublishedKey { kid, algorithm, public_jwk: "{}".into(), not_before };
            world.act(&who, Command::PublishKey(key))
        }
    };
}

/// What must hold whatever happened.
fn invariants(authority: &Authority) -> Result<(), TestCaseError> {
    for approval in authority.approvals.values() {
        for vote in &approval.votes {
            prop_assert!(!vote.actor.is_same_as(approval.asked_by()), "{approval:?}");
        }
        let denied = approval.votes.iter().any(|vote| vote.decision == Decision::Deny);
        prop_assert_eq!(denied, matches!(approval.state, State::Denied { .. }));
    }
    let undecided = authority
        .approvals
        .values()
        .filter(|approval| approval.undecided().is_some_and(|until| until > authority.time));
    prop_assert_eq!(undecided.count(), authority.open.len());
    prop_assert_eq!(authority.open_by.values().map(BTreeSet::len).sum::<usize>(), authority.open.len());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn replaying_any_prefix_gives_the_state_of_then(
        steps in prop::collection::vec((0u8..15, 0u8..8, 0u8..60, 0u32..2_000_000), 1..60),
    ) {
        let mut world = World::new();
        let mut states = vec![world.authority.clone()];
        for (number, step) in steps.into_iter().enumerate() {
            attempt(&mut world, step, number);
            if world.authority.sequence() as usize == states.len() {
                states.push(world.authority.clone());
            }
            prop_assert_eq!(&world.authority, states.last().unwrap(), "a refusal changes nothing");
            invariants(&world.authority)?;
        }
        // One replay passes through every prefix.
        let mut replayed = Authority::default();
        for (index, event) in world.log.iter().enumerate() {
            let text = serde_json::to_string(event).unwrap();
            let read: ControlEvent = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, event);
            replayed.apply(index as u64 + 1, &read).unwrap();
            prop_assert_eq!(&replayed, &states[index + 1]);
        }
        // An event twice, at its own place or with the next number, or one left out: found, or without effect.
        for (index, event) in world.log.iter().enumerate() {
            let next = replayed.sequence() + 1;
            let mut again = replayed.clone();
            prop_assert!(again.apply(index as u64 + 1, event).is_err());
            prop_assert_eq!(&again, &replayed);
            let mut holes = states[index].clone();
            prop_assert!(holes.apply(index as u64 + 2, event).is_err());
            if let Err(_) | Ok(Applied::Late) = again.apply(next, event) {
                prop_assert_eq!(again.standing(world.now).grants(), replayed.standing(world.now).grants());
            }
        }
    }

    #[test]
    fn any_event_may_stand_in_a_log_without_a_panic(text in "\\{\"v\":1,.{0,200}", sequence in any::<u64>()) {
        if let Ok(event) = serde_json::from_str::<ControlEvent>(&text) {
            let _ = Authority::default().apply(sequence, &event);
        }
    }
}

#[test]
fn lines_of_the_log_read_as_they_did() {
    // One of each kind, as they stand in logs that exist.
    let lines = include_str!("events.jsonl");
    let mut kinds = std::collections::BTreeSet::new();
    for line in lines.lines() {
        let event: ControlEvent = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        kinds.insert(event.change.kind());
    }
    assert_eq!(kinds.len(), 13);
    for (line, from, to) in [
        (0, "\"v\":1", "\"v\":2"),
        (0, "\"time\"", "\"when\""),
        (0, "grant_requested", "grant_wished"),
        (0, "\"rule\"", "\"later_field\":1,\"rule\""),
    ] {
        let changed = lines.lines().nth(line).unwrap().replacen(from, to, 1);
        assert!(serde_json::from_str::<ControlEvent>(&changed).is_err(), "{changed}");
    }
}
