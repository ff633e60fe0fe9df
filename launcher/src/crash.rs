//! Power cuts for tests: in builds with debug assertions the process ends at a named point, once.

use crate::layout::Layout;

/// Ends the process, as `kill -9` would, if the file `crash-at` in the folder of releases names this point. In
/// release builds it does nothing.
pub fn point(layout: &Layout, name: &str) {
    if cfg!(debug_assertions) {
        let file = layout.base.join("crash-at");
        let is_named = std::fs::read_to_string(&file).is_ok_and(|text| text.trim() == name);
        if is_named && std::fs::remove_file(&file).is_ok() {
            std::process::abort();
        }
    }
}
