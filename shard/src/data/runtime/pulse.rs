//! A pulse for every executor, from outside of it: since glommio 0.9 can fall asleep with tasks that
//! are ready, and then the tasks that would wake it may be among them.
//!
//! Where a shard's thread is taken off its core for longer than the preempt timer just after it was
//! woken, glommio's `run_task_queues` finds that timer due before it ran anything, says that nothing
//! ran, and the executor parks. A timer of the executor's own cannot set that right for certain: it may
//! have been the very event that woke it, and then nothing is armed any more (seen on a loaded machine,
//! one run of the fairness test in sixteen). So one plain thread wakes a task of each executor every
//! [`PULSE`], through the descriptor that a sleeping executor always listens to.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How often. Twenty wake-ups a second cost about 0.2 % of a core and shard.
const PULSE: Duration = Duration::from_millis(50);

/// One waker for each executor, with its number.
static BEATING: Mutex<(u64, Vec<(u64, Waker)>)> = Mutex::new((0, Vec::new()));

/// Runs `main`, the executor's main future, with a pulse until it is done.
pub(super) async fn with_pulse<T>(main: impl Future<Output = T>) -> T {
    start_thread();
    let number = {
        let mut beating = beating();
        beating.0 += 1;
        beating.0
    };
    let done = Rc::new(Cell::new(false));
    let pulse = super::spawn({
        let done = done.clone();
        poll_fn(move |cx| {
            if done.get() {
                return Poll::Ready(());
            }
            let mut beating = beating();
            if !beating.1.iter().any(|(beats, _)| *beats == number) {
                beating.1.push((number, cx.waker().clone()));
            }
            Poll::Pending
        })
    });
    let result = main.await;
    // The waker is dropped here, on the executor's own thread, and its task is over before the
    // executor ends: nothing of it is left for another thread to drop.
    done.set(true);
    beating().1.retain(|(beats, _)| *beats != number);
    pulse.cancel().await;
    result
}

fn beating() -> MutexGuard<'static, (u64, Vec<(u64, Waker)>)> {
    BEATING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start_thread() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let beat = || loop {
            std::thread::sleep(PULSE);
            beating().1.iter().for_each(|(_, waker)| waker.wake_by_ref());
        };
        if let Err(error) = std::thread::Builder::new().name("pulse".to_owned()).spawn(beat) {
            tracing::error!(%error, "there is no thread for the shards' pulse: a busy machine may hold a shard up");
        }
    });
}
