//! Data centres as bits.

/// Most data centres there may be.
pub(crate) const SITES_MAX: usize = 64;

/// A set of data centres: the first is bit 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SiteSet(u64);

impl SiteSet {
    /// The first `count`.
    pub(crate) fn first(count: usize) -> Self {
        Self(u64::MAX.checked_shr(64 - count.min(SITES_MAX) as u32).unwrap_or(0))
    }

    /// One.
    pub(crate) fn one(at: usize) -> Self {
        Self(1 << at)
    }

    pub(crate) fn with(self, at: usize) -> Self {
        Self(self.0 | 1 << at)
    }

    pub(crate) fn without(self, at: usize) -> Self {
        Self(self.0 & !(1 << at))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their positions, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let at = (left != 0).then(|| left.trailing_zeros() as usize)?;
            left &= left - 1;
            Some(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sites_are_a_set() {
        assert_eq!(SiteSet::first(0).len(), 0);
        assert_eq!(SiteSet::first(64).len(), 64);
        assert_eq!(SiteSet::first(3).iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(SiteSet::first(3).without(1).with(63).iter().collect::<Vec<_>>(), [0, 2, 63]);
    }
}
