//! Watching, over a stepped clock.

use proptest::prelude::*;
use strongroom_engine_api::Clock;
use strongroom_raft::Member;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const START: Moment = Moment::from_secs(1_700_000_000);

fn member(number: u64) -> MemberStatus {
    MemberStatus {
        member: Member {
            raft_id: number,
            node_id: format!("n{number}"),
            api_address: String::new(),
            cluster_address: String::new(),
            non_voter: false,
        },
        voter: true,
        leader: number == 1,
        last_log: Some(100),
        last_term: Some(1),
        silence: Some(Duration::ZERO),
    }
}

/// A leader, its members, and the seconds that pass.
struct Scene {
    clock: Clock,
    watch: Watch,
    config: AutopilotConfig,
    term: u64,
    members: Vec<MemberStatus>,
}

impl Scene {
    /// Voters, the first of which leads; each has been seen.
    fn of(voters: u64) -> Self {
        let mut scene = Self {
            clock: Clock::stepped(START),
            watch: Watch::default(),
            config: AutopilotConfig::default(),
            term: 1,
            members: (1..=voters).map(member).collect(),
        };
        scene.pass(0);
        scene
    }

    fn cleaning(voters: u64, min_quorum: u64) -> Self {
        let mut scene = Self::of(voters);
        let minute = Duration::from_mins(1);
        scene.config.cleanup_dead_servers = true;
        scene.config.dead_server_last_contact_threshold = minute;
        scene.config.min_quorum = min_quorum;
        scene
    }

    fn look(&mut self) {
        self.watch.look(self.term, self.clock.now(), &self.members, &self.config);
    }

    /// Seconds pass, with a look after each. Who is silent stays so.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(SECOND);
            for status in &mut self.members {
                status.silence =
                    status.silence.map(|s| if s.is_zero() { s } else { s.saturating_add(SECOND) });
            }
            self.look();
        }
        self.look();
    }

    fn silence(&mut self, number: u64) {
        self.status(number).silence = Some(Duration::from_nanos(1));
    }

    fn status(&mut self, number: u64) -> &mut MemberStatus {
        self.members.iter_mut().find(|status| status.member.raft_id == number).unwrap()
    }

    /// One that has just been admitted: it has acknowledged nothing yet.
    fn admit(&mut self, number: u64) {
        let new =
            MemberStatus { voter: false, silence: None, last_log: None, last_term: None, ..member(number) };
        self.members.push(new);
    }

    fn hear(&mut self, number: u64) {
        let status = self.status(number);
        (status.silence, status.last_log) = (Some(Duration::ZERO), Some(100));
    }

    fn decided(&self) -> Vec<String> {
        let decided = self.watch.decide(&self.members, &self.config);
        let text = |decision| match decision {
            Decision::Remove(member) => format!("remove {}", member.node_id),
            Decision::Promote(member) => format!("promote {}", member.node_id),
        };
        decided.into_iter().map(text).collect()
    }

    /// Does what was decided.
    fn act(&mut self) {
        for decision in self.watch.decide(&self.members, &self.config) {
            match decision {
                Decision::Remove(gone) => self.members.retain(|status| status.member != gone),
                Decision::Promote(new) => self.status(new.raft_id).voter = true,
            }
        }
    }

    fn outlook(&self) -> (bool, usize) {
        let outlook = self.watch.outlook(&self.members);
        (outlook.healthy, outlook.failure_tolerance)
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_new_node_votes_when_it_was_healthy_for_long_enough() {
    let mut scene = Scene::of(1);
    scene.admit(2);
    scene.pass(30);
    assert_eq!(scene.decided(), NOTHING, "it has acknowledged nothing");
    assert_eq!(scene.outlook(), (false, 0));
    scene.hear(2);
    scene.pass(10);
    assert_eq!(scene.decided(), NOTHING, "healthy since the first look that found it so, nine seconds ago");
    scene.pass(1);
    assert_eq!(scene.decided(), ["promote n2"]);
    scene.act();
    assert_eq!((scene.decided(), scene.outlook()), (vec![], (true, 0)));
}

#[test]
fn a_new_node_that_falters_begins_again() {
    let mut scene = Scene::of(3);
    scene.admit(4);
    scene.hear(4);
    scene.pass(9);
    scene.status(4).last_log = None;
    scene.pass(1);
    assert!(!scene.outlook().0);
    scene.hear(4);
    scene.pass(10);
    assert_eq!(scene.decided(), NOTHING);
    scene.pass(1);
    assert_eq!(scene.decided(), ["promote n4"]);
}

#[test]
fn without_a_time_to_stabilise_being_healthy_is_enough() {
    let mut scene = Scene::of(1);
    scene.config.server_stabilization_time = Duration::ZERO;
    scene.admit(2);
    scene.look();
    assert_eq!(scene.decided(), NOTHING);
    scene.hear(2);
    scene.look();
    assert_eq!(scene.decided(), ["promote n2"]);
}

#[test]
fn who_is_never_to_vote_is_not_promoted() {
    let mut scene = Scene::of(3);
    scene.admit(4);
    scene.hear(4);
    scene.status(4).member.non_voter = true;
    scene.pass(100);
    assert_eq!((scene.decided(), scene.outlook()), (vec![], (true, 1)));
}

#[test]
fn health_is_contact_and_keeping_up() {
    let mut scene = Scene::of(3);
    assert_eq!(scene.outlook(), (true, 1));
    scene.status(1).last_log = Some(1101);
    scene.status(2).last_log = Some(101);
    scene.status(3).last_log = Some(100);
    scene.look();
    let healthy = |scene: &Scene, number| scene.watch.of(number).unwrap().healthy;
    assert!(healthy(&scene, 1) && healthy(&scene, 2), "a thousand entries behind is near enough");
    assert!(!healthy(&scene, 3));
    assert_eq!(scene.outlook(), (false, 0));
    scene.status(3).last_log = Some(1101);
    scene.silence(3);
    scene.pass(10);
    assert!(!healthy(&scene, 3), "a nanosecond more than ten seconds");
    scene.hear(3);
    scene.status(3).last_log = Some(1101);
    scene.look();
    assert!(healthy(&scene, 3));
}

#[test]
fn it_is_told_since_when_a_node_is_as_it_is() {
    let mut scene = Scene::of(3);
    scene.pass(5);
    assert_eq!(scene.watch.of(3).unwrap().since, START);
    scene.silence(3);
    scene.pass(20);
    let since = scene.watch.of(3).unwrap().since;
    assert_eq!((since.since(START), scene.watch.of(2).unwrap().since), (Duration::from_secs(15), START));
    scene.term = 2;
    scene.look();
    assert_eq!(scene.watch.of(2).unwrap().since, scene.clock.now(), "another term, and all is seen anew");
}

#[test]
fn the_dead_are_removed_where_that_is_configured() {
    let mut scene = Scene::cleaning(4, 3);
    scene.silence(4);
    scene.pass(59);
    assert_eq!(scene.decided(), NOTHING);
    scene.pass(2);
    assert_eq!(scene.decided(), ["remove n4"]);
    scene.config.cleanup_dead_servers = false;
    assert_eq!(scene.decided(), NOTHING);
    scene.config.cleanup_dead_servers = true;
    scene.hear(4);
    scene.look();
    assert_eq!(scene.decided(), NOTHING, "it speaks again");
}

#[test]
fn as_many_voters_stay_as_are_wanted() {
    let mut scene = Scene::cleaning(3, 3);
    scene.silence(3);
    scene.pass(100);
    assert_eq!(scene.decided(), NOTHING);
    scene.admit(4);
    scene.hear(4);
    scene.pass(11);
    assert_eq!(scene.decided(), ["promote n4"]);
    scene.act();
    scene.look();
    assert_eq!(scene.decided(), ["remove n3"], "its successor votes");
    scene.act();
    assert_eq!((scene.decided(), scene.outlook()), (vec![], (true, 1)));
}

#[test]
fn one_voter_goes_at_a_time() {
    let mut scene = Scene::cleaning(5, 3);
    scene.silence(4);
    scene.silence(5);
    scene.pass(100);
    assert_eq!(scene.decided(), ["remove n4"]);
    scene.act();
    scene.look();
    assert_eq!(scene.decided(), ["remove n5"]);
    scene.act();
    assert_eq!(scene.members.len(), 3);
}

#[test]
fn nobody_goes_without_a_majority() {
    let mut scene = Scene::cleaning(5, 3);
    for number in [3, 4, 5] {
        scene.silence(number);
    }
    scene.pass(100);
    assert_eq!((scene.decided(), scene.outlook()), (vec![], (false, 0)));
}

#[test]
fn the_dead_without_a_vote_go_whatever_the_number_of_voters() {
    let mut scene = Scene::cleaning(3, 3);
    scene.admit(4);
    scene.admit(5);
    scene.status(5).member.non_voter = true;
    scene.pass(100);
    assert_eq!(scene.decided(), ["remove n4", "remove n5"]);
}

#[test]
fn a_leader_that_was_stopped_takes_nobody_for_dead() {
    let mut scene = Scene::cleaning(4, 3);
    scene.silence(4);
    scene.clock.advance(Duration::from_hours(48));
    scene.status(4).silence = Some(Duration::from_hours(48));
    scene.look();
    assert_eq!(scene.decided(), NOTHING, "nobody was watched while the leader was stopped");
    scene.status(4).silence = Some(Duration::ZERO);
    scene.pass(100);
    assert_eq!(scene.decided(), NOTHING);
    scene.silence(4);
    scene.pass(61);
    assert_eq!(scene.decided(), ["remove n4"]);
}

#[test]
fn a_new_leader_waits_anew() {
    let mut scene = Scene::cleaning(4, 3);
    scene.silence(4);
    scene.pass(50);
    scene.term = 2;
    scene.status(4).silence = None;
    scene.pass(50);
    assert_eq!(scene.decided(), NOTHING);
    scene.pass(11);
    assert_eq!(scene.decided(), ["remove n4"], "never heard in this term");
}

#[test]
fn a_number_is_watched_and_not_a_name() {
    let mut scene = Scene::cleaning(4, 3);
    scene.silence(4);
    scene.pass(100);
    scene.members.retain(|status| status.member.raft_id != 4);
    scene.admit(5);
    scene.status(5).member.node_id = "n4".to_owned();
    scene.look();
    assert_eq!(scene.decided(), NOTHING, "the old name, and another node");
}

proptest! {
    /// Whatever is silent and however it is configured: the leader stays, so do as many voters as are wanted, and who
    /// is heard is a majority of who is left.
    #[test]
    fn the_quorum_is_never_decided_away(
        voters in 1_u64..8,
        silent in proptest::collection::vec(any::<bool>(), 8),
        min_quorum in 0_u64..8,
        rounds in 1_usize..6,
    ) {
        let mut scene = Scene::cleaning(voters, min_quorum);
        for number in 2..=voters {
            if silent[usize::try_from(number).unwrap()] {
                scene.silence(number);
            }
        }
        scene.pass(90);
        let before = scene.members.len();
        let heard = scene.members.iter().filter(|status| status.silence == Some(Duration::ZERO)).count();
        for _ in 0..rounds {
            scene.act();
            scene.look();
        }
        let left = scene.members.len();
        prop_assert!(scene.members.iter().any(|status| status.leader));
        prop_assert!(left == before || u64::try_from(left).unwrap() >= min_quorum);
        prop_assert!(left == before || heard.saturating_mul(2) > before, "only a majority removes");
        prop_assert!(scene.members.iter().filter(|status| status.silence == Some(Duration::ZERO)).count() == heard);
    }
}
