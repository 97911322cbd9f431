//! The waits between attempts, and what is known of mounts whose outside is not reached.

use std::time::Duration;

use proptest::prelude::*;
use strongroom_barrier::MountId;
use strongroom_expiry::{NEVER, URGENT};
use strongroom_stdx::{Entropy, Moment};

use crate::attempt::{backoff, tidied};
use crate::revoker::Revoker;

const HOUR: Duration = Duration::from_hours(1);
const NOW: Moment = Moment::from_secs(1_700_000_000);

/// Randomness of which every byte is this.
fn always(byte: u8) -> Entropy {
    Entropy::given(move |out| out.fill(byte))
}

#[test]
fn waits_double_from_ten_seconds_to_an_hour() {
    let least = |failures| backoff(&always(0), failures).as_secs();
    assert_eq!(
        (1..12).map(least).collect::<Vec<_>>(),
        [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    );
    let most = |failures| backoff(&always(255), failures).as_millis();
    assert_eq!([1, 2, 9].map(most), [12_500, 25_000, 3_200_000], "and up to a quarter more");
    assert_eq!(most(10), 2_700_000, "at the longest a quarter less, so that it is never more than an hour");
}

proptest! {
    #[test]
    fn no_wait_is_shorter_than_the_first_or_longer_than_an_hour(failures in any::<u32>(), seed in any::<u8>()) {
        let wait = backoff(&always(seed), failures);
        prop_assert!(wait >= Duration::from_secs(10) && wait <= HOUR, "{wait:?}");
        let next = backoff(&always(seed), failures.saturating_add(1));
        prop_assert!(next >= wait || wait >= Duration::from_mins(30), "{wait:?} {next:?}: later attempts do not come closer");
    }

    #[test]
    fn an_error_is_one_line_and_has_an_end(text in "\\PC{0,40}[\n\r\t\u{7}]{0,3}\\PC{0,900}") {
        let kept = tidied(&text);
        prop_assert!(kept.chars().count() <= 512);
        prop_assert!(!kept.chars().any(char::is_control));
        let same = kept.chars().zip(text.chars()).all(|(kept, given)| kept == given || given.is_control());
        prop_assert!(same, "nothing else of it changes");
    }
}

#[test]
fn a_queue_waits_for_its_mount_alone() {
    let revoker = Revoker::default();
    let [down, fine] = [MountId::new(20), MountId::new(21)];
    let wait = Duration::from_secs(20);
    let pause = || revoker.pause(down, &always(0), NOW, "no route to host");
    assert_eq!((pause(), pause()), (1, 2), "failures are counted, and the second waits twice as long");
    assert!(revoker.is_failing(down) && !revoker.is_failing(fine));
    assert_eq!(revoker.paused_for(down, NOW).as_deref(), Some("no route to host"));
    assert_eq!(revoker.paused_for(down, NOW.after(wait)), None, "then it is tried again");
    assert_eq!(revoker.due(down, NOW.as_secs()), Some(NOW.after(wait)));
    assert_eq!(revoker.due(fine, NOW.as_secs()), Some(NOW));
    assert_eq!(revoker.due(down, NOW.after(HOUR * 2).as_secs()), Some(NOW.after(HOUR * 2)));
    assert_eq!(revoker.due(down, URGENT), Some(Moment::default()), "what an operator asks for does not wait");
    assert_eq!(revoker.due(fine, NEVER), None, "what was given up is not tried of itself");
    revoker.end_pause(down);
    assert_eq!(revoker.paused_for(down, NOW), None);
    assert!(revoker.is_failing(down), "it is not known yet whether it is reached");
}
