//! Contexts with a clock that the test moves.

use daemon::{Clock, Context};
use model::Timestamp;

/// A service context whose clock stands at `at`.
pub fn context_at(at: Timestamp) -> Context {
    Context::new("test", Clock::manual(at)).expect("an HTTP client can be built")
}
