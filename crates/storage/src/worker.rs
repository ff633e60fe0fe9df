//! One thread for the work on blocks. What malloc gets back on a thread it keeps for that thread: on
//! whichever thread of the runtime is free, every one of them would come to hold what a cut needs.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: SyncSender<Job>,
}

impl Worker {
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let thread = thread::Builder::new().name("storage-blocks".to_owned());
        thread.spawn(move || queue.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Does some work on the thread. `None` when it panicked, or when other work is waiting already.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        // Nobody may be waiting any more.
        let job = Box::new(move || drop(done.send(work())));
        self.jobs.try_send(job).ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_on_one_thread_of_its_own() {
        let worker = Worker::start().unwrap();
        let first = worker.run(|| thread::current().id()).await;
        let second = worker.run(|| thread::current().id()).await;
        assert!(first.is_some() && first == second);
        assert_ne!(first, Some(thread::current().id()));
    }

    #[tokio::test]
    async fn work_that_panics_is_told() {
        let worker = Worker::start().unwrap();
        assert_eq!(worker.run(|| panic!("on purpose")).await, None::<()>);
        assert_eq!(worker.run(|| 1).await, None, "the thread is gone");
    }
}
