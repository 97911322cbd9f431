//! The choice among several data directories that a cluster is to go on from.

use serde::{Deserialize, Serialize};
use strongroom_raft::{Kept, Survey};

/// The content of a data directory, and where that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    #[serde(flatten)]
    pub(super) survey: Survey,
    /// The directory, as it is called on its machine.
    pub(super) path: String,
}

/// The request of the operator.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// The other nodes that stay members.
    pub(super) keep: Vec<Kept>,
    /// The last entry that must be there.
    pub(super) min_index: u64,
    /// True if entries that only others have may be lost.
    pub(super) allow_data_loss: bool,
}

/// The place of the directory to go on from: of those that are `here`, the one with the latest entry, the first of
/// several. An error says why there is none: going back in time is refused, unless it is wished for.
pub(super) fn choose(here: &[Found], elsewhere: &[Found], wish: &Wish) -> Result<usize, String> {
    let all = || here.iter().chain(elsewhere);
    for (place, one) in all().enumerate() {
        if let Some(other) = all().find(|other| other.survey.cluster_id != one.survey.cluster_id) {
            let (one, other) = (describe(one), describe(other));
            return Err(format!("{one} and {other} are of two clusters"));
        }
        if all().take(place).any(|other| other.survey.node_id == one.survey.node_id) {
            return Err(format!("{} is given twice", describe(one)));
        }
    }
    // Of equal ones, the last one counts as the greatest.
    let latest = here.iter().enumerate().rev().max_by_key(|(_, found)| found.survey.last);
    let (place, chosen) = latest.ok_or("no data directory of this machine is given")?;
    if chosen.survey.members.is_empty() {
        return Err(format!("{} belongs to no cluster", describe(chosen)));
    }
    let ahead = all().find(|other| other.survey.last > chosen.survey.last);
    if let Some(ahead) = ahead.filter(|_| !wish.allow_data_loss) {
        return Err(format!(
            "{} has more, up to entry {} of term {}: recover there, or give up what it has with -allow-data-loss",
            describe(ahead),
            ahead.survey.last.index,
            ahead.survey.last.term,
        ));
    }
    if chosen.survey.last.index < wish.min_index && !wish.allow_data_loss {
        return Err(format!(
            "{} has entries up to {} only, less than -min-index={}",
            describe(chosen),
            chosen.survey.last.index,
            wish.min_index
        ));
    }
    for kept in &wish.keep {
        let shown = all().find(|found| found.survey.node_id == kept.node_id);
        let shown = shown.ok_or_else(|| {
            format!(
                "-peer={0}: show what {0} has, with -path or -report, or let it join afterwards",
                kept.node_id
            )
        })?;
        if shown.survey.node_id == chosen.survey.node_id {
            return Err(format!("-peer={}: that is the node to go on from", kept.node_id));
        }
        if shown.survey.last > chosen.survey.last {
            return Err(format!(
                "-peer={}: it has more than {}, and would have to take it back; let it join with an empty directory",
                kept.node_id, chosen.survey.node_id
            ));
        }
    }
    Ok(place)
}

pub(super) fn describe(found: &Found) -> String {
    format!("node {} ({})", found.survey.node_id, found.path)
}

#[cfg(test)]
mod tests {
    use strongroom_raft::{Position, SurveyedMember};

    use super::*;

    fn found(name: &str, term: u64, index: u64) -> Found {
        let member = SurveyedMember { node_id: name.to_owned(), address: String::new(), voter: true };
        let survey = Survey {
            cluster_id: "c".to_owned(),
            node_id: name.to_owned(),
            last: Position { term, index },
            committed: index,
            checkpoint: 0,
            members: vec![member],
            written: None,
        };
        Found { survey, path: format!("/{name}") }
    }

    fn keep(names: &[&str]) -> Wish {
        let kept = |name: &&str| Kept { node_id: (*name).to_owned(), address: String::new() };
        Wish { keep: names.iter().map(kept).collect(), ..Wish::default() }
    }

    #[test]
    fn the_latest_entry_counts_its_term_before_its_number() {
        let of = |here: &[Found]| choose(here, &[], &Wish::default()).unwrap();
        assert_eq!(of(&[found("a", 2, 10), found("b", 2, 11)]), 1);
        assert_eq!(of(&[found("a", 3, 10), found("b", 2, 11)]), 0);
        assert_eq!(
            of(&[found("a", 2, 10), found("b", 2, 10), found("c", 1, 99)]),
            0,
            "the first of equal ones"
        );
    }

    #[test]
    fn there_is_no_going_back_in_time_unless_that_is_wished_for() {
        let (here, elsewhere) = ([found("a", 2, 10)], [found("b", 2, 11)]);
        let told = choose(&here, &elsewhere, &Wish::default()).unwrap_err();
        assert!(told.starts_with("node b (/b) has more, up to entry 11 of term 2"), "{told}");
        let loss = Wish { allow_data_loss: true, ..Wish::default() };
        assert_eq!(choose(&here, &elsewhere, &loss), Ok(0));
        assert_eq!(choose(&here, &[found("b", 2, 10)], &Wish::default()), Ok(0), "equal is not more");
        let least = |min_index, allow_data_loss| {
            choose(&here, &[], &Wish { min_index, allow_data_loss, ..Wish::default() })
        };
        assert_eq!((least(10, false), least(11, true)), (Ok(0), Ok(0)));
        assert!(least(11, false).unwrap_err().contains("less than -min-index=11"));
    }

    #[test]
    fn who_stays_must_be_shown_and_behind() {
        let (here, elsewhere) = ([found("a", 2, 10)], [found("b", 2, 9), found("c", 2, 11)]);
        let loss = |names: &[&str]| Wish { allow_data_loss: true, ..keep(names) };
        assert_eq!(choose(&here, &elsewhere, &loss(&["b"])), Ok(0));
        for (name, expected) in
            [("a", "that is the node"), ("c", "has more than a"), ("d", "show what d has")]
        {
            let told = choose(&here, &elsewhere, &loss(&[name])).unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let told =
            |here: &[Found], elsewhere: &[Found]| choose(here, elsewhere, &Wish::default()).unwrap_err();
        let mut other = found("b", 1, 1);
        other.survey.cluster_id = "d".to_owned();
        assert!(told(&[found("a", 1, 1), other], &[]).contains("are of two clusters"));
        assert!(told(&[found("a", 1, 1)], &[found("a", 1, 1)]).contains("is given twice"));
        assert!(told(&[], &[found("a", 1, 1)]).contains("no data directory"));
        let mut new = found("a", 0, 0);
        new.survey.members.clear();
        assert!(told(&[new], &[]).contains("belongs to no cluster"));
    }
}
