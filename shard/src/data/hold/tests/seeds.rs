//! A seeded simulation of held requests: several connections of one principal ask for deletions at
//! random, approvers decide at random, time passes, policies change, rights are revoked.
//!
//! The oracle is the control log: what reaches the upstream was used up in it before, once; nothing
//! reaches it after a revocation; at the end nothing waits.

use kafka_protocol::messages::ApiKey;
use tidegate_policy::authority::Command;

use super::desk::{NOW, POLICY, ask, bob, open, upstream, with_desk};
use super::{DELETE, delete};
use crate::data::session::Phase;
use crate::data::simulation::Chance;

#[test]
fn nothing_held_passes_but_by_an_approval_and_each_passes_once() {
    with_desk(POLICY, |shard, mut desk| async move {
        let (mut passed, mut refused, mut revoked) = (0, 0, 0);
        for seed in 0..60 {
            let mut chance = Chance(seed);
            let mut now = desk.authority.time().max(NOW).plus_millis(3_600_000);
            desk.publish(&shard, now);
            let used_before = desk.used();
            let mut passed_now = 0;
            let mut sessions: Vec<_> = (0..3).map(|_| open(&shard)).collect();
            let mut is_revoked = false;
            for id in 0..150 {
                now = now.plus_millis(1 + chance.below(200) as i64);
                let at = chance.below(sessions.len());
                let session = &mut sessions[at];
                session.last_active = now;
                match chance.below(10) {
                    0..2 if session.held.is_none() => {
                        let topics = [&["orders"][..], &["logs"], &["orders", "logs"]][chance.below(3)];
                        ask(session, &shard, id, ApiKey::DeleteTopics, DELETE, &delete(topics), now);
                    }
                    2..4 => desk.serve(&shard, now),
                    4 => {
                        if let Some(approval) = desk.pending().into_iter().next() {
                            let reason = "by chance".to_owned();
                            let command = match chance.once_in(3) {
                                true => Command::Deny { approval, reason },
                                false => Command::Approve { approval, reason },
                            };
                            // It may have lapsed meanwhile.
                            let _ = desk.command(&shard, bob(), command, now);
                        }
                    }
                    5 if chance.once_in(12) => {
                        let purpose = ["purpose: tests", "purpose: others"][chance.below(2)];
                        desk.reload(&shard, &POLICY.replace("purpose: tests", purpose), now);
                    }
                    6 if !is_revoked && chance.once_in(25) => {
                        let (name, reason) = ("ANONYMOUS".into(), "by chance".to_owned());
                        let command = Command::RevokePrincipal { issuer: None, name, until: None, reason };
                        desk.command(&shard, bob(), command, now).unwrap();
                        is_revoked = true;
                        revoked += 1;
                        // What was on its way out when the command returned has left.
                        for session in &mut sessions {
                            passed_now += std::iter::from_fn(|| upstream(session)).count();
                        }
                    }
                    _ => {
                        session.begin_turn();
                        session.take_requests(&shard, now);
                    }
                }
                for session in &mut sessions {
                    let left = std::iter::from_fn(|| upstream(session)).count();
                    assert!(!is_revoked || left == 0, "seed {seed}: admitted after the revocation");
                    passed_now += left;
                    session.release_answers();
                    refused += std::iter::from_fn(|| session.to_client.pop(u64::MAX)).count();
                }
                let used = desk.used() - used_before;
                assert!(passed_now <= used, "seed {seed}: {passed_now} passed, {used} approvals were used");
            }
            for session in &mut sessions {
                session.check_deadlines(&shard, now);
                assert!(!is_revoked || session.phase == Phase::Closing, "seed {seed}: open after the revocation");
                session.ended(&shard, now);
            }
            drop(sessions);
            assert_eq!(shard.metrics.held_now.get(), 0, "seed {seed}: something still counts as waiting");
            passed += passed_now;
            if is_revoked {
                let reason = "the next seed".to_owned();
                let command = Command::RestorePrincipal { issuer: None, name: "ANONYMOUS".into(), reason };
                desk.command(&shard, bob(), command, now).unwrap();
            }
        }
        assert!(passed > 20 && refused > 20 && revoked > 5, "{passed} passed, {refused} refused, {revoked} revoked");
    });
}
