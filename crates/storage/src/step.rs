//! Where a process may be killed while the disk is between two states: the steps of cutting,
//! compacting and deleting are named, so that a test can look at the directory after each.

/// Passes the end of a step.
#[cfg(not(test))]
pub(crate) fn step(_name: &'static str) {}

#[cfg(test)]
pub(crate) use watched::{step, watch};

#[cfg(test)]
mod watched {
    use std::cell::RefCell;

    type Watcher = Box<dyn FnMut(&'static str)>;

    thread_local! {
        static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    }

    pub(crate) fn step(name: &'static str) {
        WATCHER.with_borrow_mut(|watcher| {
            if let Some(watcher) = watcher {
                watcher(name);
            }
        });
    }

    /// Has `watcher` called after every step that `work` takes on this thread.
    pub(crate) fn watch<T>(
        watcher: impl FnMut(&'static str) + 'static,
        work: impl FnOnce() -> T,
    ) -> T {
        WATCHER.set(Some(Box::new(watcher)));
        let done = work();
        WATCHER.set(None);
        done
    }
}
