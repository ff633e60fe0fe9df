//! The spool on a thread of its own: a disk that hangs stops neither the collectors nor the heartbeats.
//!
//! Questions go over a bounded queue and are answered in order. One that is not answered in time makes the
//! disk count as hanging: nobody waits for it any more until it has answered.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::spool::{Damage, Lost, Spool, Ticket};

/// How long to wait for the disk. Writing goes to memory of the kernel and takes microseconds, unless the disk
/// is stuck.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions under way. What the agent writes in a second is less by far.
const QUEUE: usize = 64;
/// The spool keeps its buffers on the heap.
const STACK_BYTES: usize = 128 << 10;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The disk does not answer.
    Hanging,
    /// The disk refuses.
    Refusing(io::Error),
}

/// A batch that was written, and what made room for it.
type Appended = io::Result<(Ticket, Lost)>;
type Oldest = Result<Option<(Ticket, Vec<u8>)>, Damage>;

enum Question {
    Append {
        body: Bytes,
        samples: u32,
        reply: oneshot::Sender<Appended>,
    },
    Oldest {
        reply: oneshot::Sender<Oldest>,
    },
    Settle(Ticket),
    #[cfg(test)]
    Hold(Receiver<()>),
}

struct Numbered {
    number: u64,
    question: Question,
}

#[derive(Debug, Default)]
struct Progress {
    asked: AtomicU64,
    done: AtomicU64,
    /// The last question for which patience ran out.
    given_up: AtomicU64,
}

/// The way to the spool's thread.
#[derive(Debug)]
pub(super) struct Disk {
    // Gone only while this is dropped.
    questions: Option<SyncSender<Numbered>>,
    progress: Arc<Progress>,
    ended: Mutex<Receiver<()>>,
}

impl Disk {
    /// Starts the thread, which first opens the spool.
    ///
    /// # Errors
    /// What `open` says; [`io::ErrorKind::TimedOut`] when it has said nothing yet. The disk is returned all
    /// the same then, and is used from when it answers.
    pub(super) async fn start(
        open: impl FnOnce() -> io::Result<(Spool, Lost)> + Send + 'static,
        metrics: Arc<Metrics>,
    ) -> (Option<Self>, Option<io::Error>) {
        let (questions, queue) = sync_channel::<Numbered>(QUEUE);
        let (end, ended) = sync_channel(1);
        let (reply, opened) = oneshot::channel();
        // Opening is question 0, which is under way before any other is asked.
        let progress = Arc::new(Progress { asked: AtomicU64::new(1), ..Progress::default() });
        let shared = Arc::clone(&progress);
        let serve = move || {
            let _end = end;
            match open() {
                Ok((spool, lost)) => {
                    let _ = reply.send(Ok(lost));
                    let mut keeper = Keeper { spool, metrics, told_bytes: 0 };
                    keeper.tell_size();
                    shared.done.store(1, Ordering::Release);
                    keeper.serve(&queue, &shared);
                }
                Err(error) => drop(reply.send(Err(error))),
            }
        };
        let builder = thread::Builder::new().name("spool".to_owned()).stack_size(STACK_BYTES);
        if let Err(error) = builder.spawn(serve) {
            return (None, Some(error));
        }
        let disk = Self { questions: Some(questions), progress, ended: Mutex::new(ended) };
        match timeout(PATIENCE, opened).await {
            Ok(Ok(Ok(lost))) => {
                if lost.damaged_bytes > 0 {
                    let bytes = lost.damaged_bytes;
                    tracing::warn!(bytes, "cut a damaged end off the spool; the rest is kept");
                }
                (Some(disk), None)
            }
            Ok(Ok(Err(error))) => (None, Some(error)),
            Ok(Err(_)) => (None, Some(io::Error::other("the thread of the spool died"))),
            Err(_) => {
                disk.progress.given_up.store(1, Ordering::Release);
                let error =
                    io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer (yet)");
                (Some(disk), Some(error))
            }
        }
    }

    /// Writes a batch.
    pub(super) async fn append(&self, body: Bytes, samples: u32) -> Result<(Ticket, Lost), Fault> {
        let ask = |reply| Question::Append { body, samples, reply };
        self.ask(ask).await?.map_err(Fault::Refusing)
    }

    /// The oldest batch that is not done with.
    pub(super) async fn oldest(&self) -> Result<Oldest, Fault> {
        self.ask(|reply| Question::Oldest { reply }).await
    }

    /// Marks a batch as done with, when the disk comes to it. A mark that finds no room in the queue is left
    /// out: the batch is then sent twice.
    pub(super) fn settle(&self, ticket: Ticket) {
        self.send(Question::Settle(ticket));
    }

    /// Stops the thread until the other end is dropped.
    #[cfg(test)]
    pub(super) fn hold(&self) -> SyncSender<()> {
        let (release, wait) = sync_channel(1);
        self.send(Question::Hold(wait));
        release
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Fault> {
        if self.is_hanging() {
            return Err(Fault::Hanging);
        }
        let (reply, answer) = oneshot::channel();
        let number = self.send(question(reply)).ok_or(Fault::Hanging)?;
        match timeout(PATIENCE, answer).await {
            Ok(answer) => answer.map_err(|_| Fault::Hanging),
            Err(_) => {
                self.progress.given_up.fetch_max(number, Ordering::AcqRel);
                Err(Fault::Hanging)
            }
        }
    }

    fn is_hanging(&self) -> bool {
        let Progress { done, given_up, .. } = &*self.progress;
        done.load(Ordering::Acquire) < given_up.load(Ordering::Acquire)
    }

    fn send(&self, question: Question) -> Option<u64> {
        let number = self.progress.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.questions.as_ref()?.try_send(Numbered { number, question }).ok()?;
        Some(number)
    }
}

impl Drop for Disk {
    // What is in the queue is written before the folder is free for another agent, unless the disk hangs.
    fn drop(&mut self) {
        self.questions = None;
        if !self.is_hanging() {
            let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}

struct Keeper {
    spool: Spool,
    metrics: Arc<Metrics>,
    told_bytes: u64,
}

impl Keeper {
    fn serve(&mut self, queue: &Receiver<Numbered>, progress: &Progress) {
        while let Ok(Numbered { number, question }) = queue.recv() {
            self.answer(question);
            self.tell_size();
            progress.done.store(number, Ordering::Release);
        }
    }

    // Nobody may be listening any more. A batch that was written too late is then sent twice, which does no
    // harm; to take it back would lose it if the agent died now.
    fn answer(&mut self, question: Question) {
        match question {
            Question::Append { body, samples, reply } => {
                let _ = reply.send(self.spool.append(&body, samples));
            }
            Question::Oldest { reply } => {
                let _ = reply.send(self.spool.oldest());
            }
            Question::Settle(ticket) => {
                if let Err(error) = self.spool.settle(ticket) {
                    tracing::debug!(%error, "cannot mark a batch as sent; it may be sent twice");
                }
            }
            #[cfg(test)]
            Question::Hold(wait) => {
                let _ = wait.recv();
            }
        }
    }

    fn tell_size(&mut self) {
        let bytes = self.spool.bytes();
        self.metrics.spool_bytes_changed(self.told_bytes, bytes);
        self.told_bytes = bytes;
    }
}
