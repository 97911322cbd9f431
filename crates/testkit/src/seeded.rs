//! Decisions by a seed.

use std::sync::{Arc, Mutex};

use strongroom_stdx::Entropy;

/// A stream of numbers that a seed repeats (SplitMix64; Steele, Lea and Flood, 2014). Clones share the stream.
#[derive(Clone)]
pub struct Seeded(Arc<Mutex<u64>>);

impl Seeded {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().expect("not poisoned");
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether something happens that does so in `percent` of all cases.
    pub fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of some things.
    pub fn pick<'a, T>(&self, things: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(things.len()).expect("a small number");
        (count > 0).then(|| &things[usize::try_from(self.below(count)).expect("a small number")])
    }

    /// Random bytes of this stream.
    pub fn entropy(&self) -> Entropy {
        let stream = self.clone();
        Entropy::given(move |out| {
            for piece in out.chunks_mut(8) {
                piece.copy_from_slice(&stream.next().to_le_bytes()[..piece.len()]);
            }
        })
    }
}
