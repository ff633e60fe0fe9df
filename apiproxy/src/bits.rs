//! A set of small numbers as bits.

/// Numbers from 0 on, a bit each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn set(&mut self, at: usize) {
        let word = at / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (at % 64);
    }

    pub(crate) fn clear(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word &= !(1 << (at % 64));
        }
    }

    pub(crate) fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// All of them, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let words = self.0.iter().enumerate();
        words.flat_map(|(at, word)| ones(at, *word))
    }

    /// Those that are not in another set, ascending.
    pub(crate) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        let words = self.0.iter().enumerate();
        words.flat_map(|(at, word)| ones(at, word & !other.0.get(at).copied().unwrap_or(0)))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<u64>()
    }
}

fn ones(at: usize, word: u64) -> impl Iterator<Item = u32> {
    let mut left = word;
    std::iter::from_fn(move || {
        let bit = (left != 0).then(|| left.trailing_zeros())?;
        left &= left - 1;
        Some(at as u32 * 64 + bit)
    })
}

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.without(other).next().is_none() && other.without(self).next().is_none()
    }
}

impl FromIterator<usize> for Bits {
    fn from_iter<T: IntoIterator<Item = usize>>(numbers: T) -> Self {
        let mut bits = Self::default();
        numbers.into_iter().for_each(|at| bits.set(at));
        bits
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_set(
            a in proptest::collection::btree_set(0_usize..300, 0..40),
            b in proptest::collection::btree_set(0_usize..300, 0..40),
            cleared in 0_usize..400,
        ) {
            let (mut ours, other) = (a.iter().copied().collect::<Bits>(), b.iter().copied().collect());
            let list = |found: &mut dyn Iterator<Item = u32>| -> BTreeSet<usize> {
                found.map(|at| at as usize).collect()
            };
            prop_assert_eq!(&list(&mut ours.iter()), &a);
            prop_assert_eq!(list(&mut ours.without(&other)), &a - &b);
            prop_assert_eq!(ours == other, a == b);
            ours.clear(cleared);
            let left: BTreeSet<usize> = a.iter().copied().filter(|at| *at != cleared).collect();
            prop_assert_eq!((ours.len(), ours.is_empty()), (left.len(), left.is_empty()));
            prop_assert!((0..400).all(|at| ours.has(at) == left.contains(&at)));
        }
    }
}
