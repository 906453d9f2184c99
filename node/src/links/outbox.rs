//! What waits to be sent over one connection, bounded by bytes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Filled by the core without waiting, emptied by the connection's writer.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Something was put in, or the outbox was closed.
    news: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    payloads: Vec<Vec<u8>>,
    bytes: usize,
    closed: bool,
}

impl Outbox {
    pub fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), news: Notify::new(), bytes_max }
    }

    /// Adds a payload. False when there is no room for it, or nobody to send it.
    pub fn push(&self, payload: Vec<u8>) -> bool {
        let mut state = self.lock();
        if state.closed || state.bytes + payload.len() > self.bytes_max {
            return false;
        }
        state.bytes += payload.len();
        state.payloads.push(payload);
        let first = state.payloads.len() == 1;
        drop(state);
        if first {
            self.news.notify_one();
        }
        true
    }

    /// Waits for something to send and takes all of it; none once the outbox is closed.
    pub async fn take(&self) -> Option<Vec<Vec<u8>>> {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if !state.payloads.is_empty() {
                    state.bytes = 0;
                    return Some(std::mem::take(&mut state.payloads));
                }
            }
            // A notice given between the look and the wait is kept for the wait.
            self.news.notified().await;
        }
    }

    /// Throws away what waits; the connection ends.
    pub fn close(&self) {
        let mut state = self.lock();
        *state = State { closed: true, ..State::default() };
        drop(state);
        self.news.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_that_waits_is_taken_at_once() {
        let outbox = Outbox::new(100);
        assert!(outbox.push(vec![1]) && outbox.push(vec![2, 3]));
        assert_eq!(outbox.take().await, Some(vec![vec![1], vec![2, 3]]));
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_room_comes_back() {
        let outbox = Outbox::new(10);
        assert!(outbox.push(vec![0; 8]));
        assert!(!outbox.push(vec![0; 3]));
        assert_eq!(outbox.take().await.map(|all| all.len()), Some(1));
        assert!(outbox.push(vec![0; 3]));
    }

    #[tokio::test]
    async fn closing_wakes_the_writer_and_takes_nothing_more() {
        let outbox = Outbox::new(10);
        let (taken, ()) = tokio::join!(outbox.take(), async { outbox.close() });
        assert_eq!(taken, None);
        assert!(!outbox.push(vec![1]));
    }
}
