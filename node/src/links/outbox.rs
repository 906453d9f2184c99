//! What waits to be sent over one connection, bounded by bytes.
//!
//! What is small goes to the socket at once, by whoever sends it: waking the connection's writer would take longer
//! than the sending. The writer sends what the socket did not take, and what is large.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::wire::{self, Kind};

/// Messages up to so many bytes are sent at once; copying more would keep the core from its other work.
const AT_ONCE_BYTES: usize = 32 << 10;

/// Filled by the core without waiting, emptied by the connection's writer.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Something was put in, or the outbox was closed.
    news: Notify,
    bytes_max: usize,
    socket: Option<Socket>,
}

/// Where it all goes.
#[derive(Debug)]
struct Socket {
    half: OwnedWriteHalf,
    sent_bytes: Counter,
}

#[derive(Debug, Default)]
struct State {
    waiting: Waiting,
    bytes: usize,
    /// Whether the writer is sending, so that nothing may come in between.
    busy: bool,
    closed: bool,
}

/// What the writer is to send, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The rest of a message that the socket took a part of.
    pub begun: Vec<u8>,
    /// Whole messages behind it.
    pub messages: Vec<Vec<u8>>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.messages.is_empty()
    }
}

impl Outbox {
    /// An outbox whose writer does all the sending.
    pub fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), news: Notify::new(), bytes_max, socket: None }
    }

    /// An outbox of this connection, which counts the bytes that it sends.
    pub fn over(half: OwnedWriteHalf, bytes_max: usize, sent_bytes: Counter) -> Self {
        Self { socket: Some(Socket { half, sent_bytes }), ..Self::new(bytes_max) }
    }

    /// Sends a message, or adds it to what waits. False when there is no room for it, or nobody to send it.
    pub fn push(&self, message: Vec<u8>) -> bool {
        let mut state = self.lock();
        if state.closed || state.bytes + message.len() > self.bytes_max {
            return false;
        }
        let first = state.waiting.is_empty();
        if first && !state.busy && message.len() <= AT_ONCE_BYTES && self.send_now(&mut state, &message) {
            return true;
        }
        state.bytes += message.len();
        state.waiting.messages.push(message);
        drop(state);
        if first {
            self.news.notify_one();
        }
        true
    }

    /// Shows that this side is alive, unless something is being sent, which shows it as well.
    pub fn show_alive(&self) {
        let mut state = self.lock();
        if state.closed || state.busy || !state.waiting.is_empty() {
            return;
        }
        // A socket that takes nothing has something to send already.
        self.send_now(&mut state, &wire::message_of(Kind::Alive, &[]));
    }

    /// Waits for something to send and takes all of it; none once the outbox is closed. Until the next call nobody
    /// else sends anything.
    pub async fn take(&self) -> Option<Waiting> {
        loop {
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                state.busy = !state.waiting.is_empty();
                if state.busy {
                    state.bytes = 0;
                    return Some(std::mem::take(&mut state.waiting));
                }
            }
            // A notice given between the look and the wait is kept for the wait.
            self.news.notified().await;
        }
    }

    /// Sends all of it, for the writer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(Socket { half, sent_bytes }) = &self.socket else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        while !bytes.is_empty() {
            half.writable().await?;
            match half.try_write(bytes) {
                Ok(sent) => {
                    sent_bytes.inc_by(sent as u64);
                    bytes = &bytes[sent..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Throws away what waits; the connection ends.
    pub fn close(&self) {
        let mut state = self.lock();
        *state = State { closed: true, ..State::default() };
        drop(state);
        self.news.notify_one();
    }

    /// Sends a message as far as the socket takes it without waiting, and leaves the rest to the writer. False where the
    /// socket takes nothing; what is wrong with it the writer finds out.
    fn send_now(&self, state: &mut State, message: &[u8]) -> bool {
        let Some(Socket { half, sent_bytes }) = &self.socket else { return false };
        let sent = half.try_write(message).unwrap_or(0);
        sent_bytes.inc_by(sent as u64);
        if sent > 0 && sent < message.len() {
            state.bytes += message.len() - sent;
            state.waiting.begun = message[sent..].to_vec();
            self.news.notify_one();
        }
        sent > 0
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
        assert_eq!(outbox.take().await.unwrap().messages, [vec![1], vec![2, 3]]);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_room_comes_back() {
        let outbox = Outbox::new(10);
        assert!(outbox.push(vec![0; 8]));
        assert!(!outbox.push(vec![0; 3]));
        assert_eq!(outbox.take().await.unwrap().messages.len(), 1);
        assert!(outbox.push(vec![0; 3]));
    }

    #[tokio::test]
    async fn closing_wakes_the_writer_and_takes_nothing_more() {
        let outbox = Outbox::new(10);
        let (taken, ()) = tokio::join!(outbox.take(), async { outbox.close() });
        assert_eq!(taken, None);
        assert!(!outbox.push(vec![1]));
    }

    #[tokio::test]
    async fn everything_arrives_in_order_whoever_sends_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (sender, receiver) = tokio::join!(connecting, listener.accept());
        let (_reader, half) = sender.unwrap().into_split();
        let (mut receiver, _) = receiver.unwrap();
        let outbox = std::sync::Arc::new(Outbox::over(half, usize::MAX, Counter::default()));
        let writer = tokio::spawn({
            let outbox = std::sync::Arc::clone(&outbox);
            async move {
                while let Some(Waiting { begun, messages }) = outbox.take().await {
                    outbox.write_all(&begun).await.unwrap();
                    for message in messages {
                        outbox.write_all(&message).await.unwrap();
                    }
                }
            }
        });
        // More than any socket takes, so that both send, by turns.
        let count = 2000_u32;
        let pusher = std::thread::spawn({
            let outbox = std::sync::Arc::clone(&outbox);
            move || {
                for number in 0..count {
                    let length = if number % 50 == 0 { 2 * AT_ONCE_BYTES } else { 10_000 };
                    let mut payload = number.to_le_bytes().to_vec();
                    payload.resize(length, 7);
                    assert!(outbox.push(wire::message_of(Kind::Frame, &payload)));
                    if number % 7 == 0 {
                        outbox.show_alive();
                    }
                }
            }
        });
        let mut next = 0_u32;
        while next < count {
            let (kind, payload) = wire::read(&mut receiver).await.unwrap();
            if kind == Kind::Frame {
                assert_eq!(payload[..4], next.to_le_bytes());
                next += 1;
            }
        }
        pusher.join().unwrap();
        outbox.close();
        writer.await.unwrap();
    }
}
