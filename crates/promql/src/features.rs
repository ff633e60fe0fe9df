//! What of the language is switched on.

/// Switches for the parts of the language that Prometheus calls experimental. All are off by
/// default; what is off is refused by the parser with an error that names the feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// `limitk`, `limit_ratio`, `sort_by_label`, `mad_over_time`, `info` and the other functions
    /// marked so.
    pub experimental_functions: bool,
    /// The modifiers `anchored` and `smoothed`.
    pub extended_ranges: bool,
    /// The modifiers `fill`, `fill_left` and `fill_right`.
    pub binary_fill: bool,
}

impl Features {
    /// Everything on.
    pub const fn all() -> Self {
        Self { experimental_functions: true, extended_ranges: true, binary_fill: true }
    }
}
