//! Inputs made by chance from inputs that are known.

use crate::Target;

/// Bytes of an input at most.
const MAX_BYTES: usize = 1 << 16;

/// Reproducible randomness (`SplitMix64`).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; zero if that is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.next().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }

    /// A byte.
    pub const fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// One of several; `None` of none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A part of `len`, rather short than long.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let most = if self.below(4) == 0 { len - start } else { (len - start).min(16) };
        start..start + self.below(most + 1)
    }
}

/// Makes inputs for a target.
pub struct Mutator<'a> {
    random: Random,
    known: Vec<Vec<u8>>,
    words: &'a [&'static str],
}

impl<'a> Mutator<'a> {
    /// From the target's seeds and `further` inputs.
    pub fn new(target: &'a Target, further: Vec<Vec<u8>>, seed: u64) -> Self {
        let mut known: Vec<Vec<u8>> = target.inputs();
        known.extend(further);
        known.push(Vec::new());
        Self { random: Random::new(seed), known, words: target.words }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.random.pick(&self.known).cloned().unwrap_or_default();
        for _ in 0..1 << self.random.below(5) {
            self.change(&mut input);
            input.truncate(MAX_BYTES);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let range = self.random.range(input.len());
        match self.random.below(12) {
            0 => self.flip(input),
            1 => drop(input.drain(range)),
            2 => drop(input.splice(range.start..range.start, self.noise())),
            3 => drop(input.splice(range, self.noise())),
            4 | 5 => drop(input.splice(range.start..range.start, self.word())),
            6 => drop(input.splice(range, self.word())),
            7 => self.repeat(input, range),
            8 => self.cross(input),
            9 => input.truncate(range.start),
            10 => self.number(input, range.start),
            _ => self.exchange(input),
        }
    }

    fn flip(&mut self, input: &mut [u8]) {
        let at = self.random.below(input.len());
        let (bit, other) = (1 << self.random.below(8), self.random.byte());
        if let Some(byte) = input.get_mut(at) {
            *byte = if other & 1 == 0 { *byte ^ bit } else { other };
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = self.random.below(9);
        let text = self.random.below(2) == 0;
        (0..len).map(|_| if text { b' ' + self.random.byte() % 95 } else { self.random.byte() }).collect()
    }

    fn word(&mut self) -> Vec<u8> {
        self.random.pick(self.words).map_or_else(Vec::new, |word| word.as_bytes().to_vec())
    }

    /// A part many times over: depth and length are where parsers run out of stack and time.
    fn repeat(&mut self, input: &mut Vec<u8>, range: std::ops::Range<usize>) {
        let part = if self.random.below(2) == 0 { self.word() } else { input[range.clone()].to_vec() };
        let most = [4, 64, 4096, MAX_BYTES][self.random.below(16).saturating_sub(12)];
        let times = self.random.below(most).min(MAX_BYTES / part.len().max(1));
        input.splice(range.start..range.start, part.repeat(times));
    }

    /// The beginning of this input and the end of another.
    fn cross(&mut self, input: &mut Vec<u8>) {
        let other = self.random.pick(&self.known).cloned().unwrap_or_default();
        input.truncate(self.random.below(input.len() + 1));
        input.extend_from_slice(&other[self.random.below(other.len() + 1)..]);
    }

    /// Numbers at which something overflows, as text or as bytes.
    fn number(&mut self, input: &mut Vec<u8>, at: usize) {
        const LIMITS: [u64; 12] = [
            0,
            1,
            0x7f,
            0xff,
            0xffff,
            0x7fff_ffff,
            0xffff_ffff,
            0x0020_0000_0000_0000,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX,
            18_446_744_073,
        ];
        let number = LIMITS[self.random.below(LIMITS.len())];
        let bytes = match self.random.below(4) {
            0 => number.to_le_bytes().to_vec(),
            1 => number.to_be_bytes().to_vec(),
            2 => format!("-{number}").into_bytes(),
            _ => number.to_string().into_bytes(),
        };
        input.splice(at..at, bytes);
    }

    /// Two parts in each other's place.
    fn exchange(&mut self, input: &mut Vec<u8>) {
        let (a, b) = (self.random.range(input.len()), self.random.range(input.len()));
        let (first, second) = if a.start <= b.start { (a, b) } else { (b, a) };
        if first.end <= second.start {
            let (front, back) = (input[first.clone()].to_vec(), input[second.clone()].to_vec());
            input.splice(second, front);
            input.splice(first, back);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn a_seed_gives_the_same_inputs_again() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(&TARGETS[0], Vec::new(), seed);
            (0..50).map(|_| mutator.input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
        assert!(inputs(7).iter().all(|input| input.len() <= MAX_BYTES));
    }

    #[test]
    fn every_target_takes_its_seeds() {
        for target in TARGETS {
            for seed in target.inputs() {
                (target.run)(&seed);
            }
        }
    }
}
