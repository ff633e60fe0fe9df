//! A thread for work that may never come back.
//!
//! A read from a dead NFS server or a wedged driver cannot be interrupted. Such work runs here; whoever waits
//! for it sets a deadline, and then drops the worker and starts another. The thread ends when its work does,
//! if ever.

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use tokio::sync::oneshot;

/// The collectors keep their data on the heap; the largest frame is that of resolving a name.
const STACK_BYTES: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// One thread that does one thing after the other.
#[derive(Debug)]
pub struct Worker {
    jobs: SyncSender<Job>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system allows no further thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        thread::Builder::new().name("worker".to_owned()).stack_size(STACK_BYTES).spawn(
            move || {
                for job in queue {
                    job();
                }
            },
        )?;
        Ok(Self { jobs })
    }

    /// Hands over a job. The worker is unusable when it does not take it: the job is then dropped, and with
    /// it whatever it would have answered on.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        match self.jobs.try_send(Box::new(job)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Does `work` on a thread of its own and gives what it returns; nothing when no thread can be started or the
/// work panics. The thread goes on when nobody waits any more.
pub async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    start_on_thread(work)?.await.ok()
}

/// As [`on_thread`], for whoever wants to wait later or not at all.
pub fn start_on_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<oneshot::Receiver<T>> {
    let (reply, answer) = oneshot::channel();
    // Nobody may wait any more.
    let job = move || drop(reply.send(work()));
    Worker::start().is_ok_and(|worker| worker.run(job)).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_on_a_thread_of_its_own_comes_back_unless_it_panics() {
        assert_eq!(on_thread(|| 7).await, Some(7));
        let panics = || std::panic::resume_unwind(Box::new("on purpose"));
        assert_eq!(on_thread::<u8>(panics).await, None);
    }

    #[test]
    fn jobs_are_done_in_order() {
        let worker = Worker::start().unwrap();
        for number in 0..3 {
            let (done, wait) = sync_channel(1);
            assert!(worker.run(move || done.send(number).unwrap()));
            assert_eq!(wait.recv(), Ok(number));
        }
    }

    #[test]
    fn a_job_that_panics_is_seen_as_one_that_never_answers() {
        let worker = Worker::start().unwrap();
        let (done, wait) = sync_channel::<()>(1);
        worker.run(move || {
            let _done = done;
            panic!("on purpose");
        });
        assert!(wait.recv().is_err());
    }

    #[test]
    fn a_worker_that_hangs_takes_one_job_more_and_then_refuses() {
        let worker = Worker::start().unwrap();
        let (started, wait) = sync_channel(1);
        let (release, hang) = sync_channel::<()>(1);
        worker.run(move || {
            started.send(()).unwrap();
            let _ = hang.recv();
        });
        wait.recv().unwrap();
        assert!(worker.run(|| {}));
        assert!(!worker.run(|| {}));
        drop(release);
    }
}
