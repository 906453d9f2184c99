//! Server-sent events (WHATWG HTML, section 9.2), as hcube writes and reads them.
//!
//! A subscription sends:
//!
//! ```text
//! event: message      data: the message as JSON      id: the cursor after it
//! event: problem      data: a problem; the subscription ends with it
//! : comment           now and then, so that both ends notice a dead connection
//! ```
//!
//! The id may be left out where several messages go out together; the one before then stands.

use super::message::Message;
use crate::cursor::Cursor;
use crate::error::Problem;
use crate::json;

/// Name of the event that carries a message.
pub const MESSAGE: &str = "message";
/// Name of the event that carries a problem and ends the subscription.
pub const PROBLEM: &str = "problem";
/// What is sent while there is nothing to say.
pub const KEEP_ALIVE: &[u8] = b":\n\n";
/// Most bytes of one event that [`Decoder`] takes: a message of 1 MiB grows at most sixfold in JSON.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// Appends the event of one message.
pub fn write_message(out: &mut Vec<u8>, message: &Message, next: Option<&Cursor>) {
    if let Some(cursor) = next {
        out.extend_from_slice(format!("id: {cursor}\n").as_bytes());
    }
    write_event(out, MESSAGE, &json::to_vec(message));
}

/// Appends the event that ends a subscription.
pub fn write_problem(out: &mut Vec<u8>, problem: &Problem) {
    write_event(out, PROBLEM, &problem.to_json());
}

/// `data` is JSON without line breaks, so it fits one line.
fn write_event(out: &mut Vec<u8>, event: &str, data: &[u8]) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// One event as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its name; [`MESSAGE`] where none was sent.
    pub event: String,
    /// Its data; lines are joined by line feeds.
    pub data: String,
    /// The last id that was sent, with this event or before.
    pub id: Option<String>,
}

/// Why a stream of events cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// An event is larger than any that hcube sends.
    #[error("an event of more than {EVENT_BYTES_MAX} bytes")]
    TooLarge,
    /// The stream is not text.
    #[error("the event stream is not UTF-8")]
    NotText,
}

/// Takes a stream in pieces and gives its events. Lines may end in LF or CR LF.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    event: String,
    data: Option<String>,
    id: Option<String>,
}

impl Decoder {
    /// The events that these bytes complete.
    ///
    /// # Errors
    /// [`StreamError`]; the stream is useless afterwards.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, StreamError> {
        let mut events = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if held + piece.len() > EVENT_BYTES_MAX {
                return Err(StreamError::TooLarge);
            }
            self.line.extend_from_slice(piece);
            if pieces.peek().is_some() {
                let line =
                    String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| StreamError::NotText)?;
                events.extend(self.take_line(line.strip_suffix('\r').unwrap_or(&line)));
            }
        }
        Ok(events)
    }

    fn take_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.event);
            let event = if name.is_empty() { MESSAGE.to_owned() } else { name };
            return self.data.take().map(|data| Event { event, data, id: self.id.clone() });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.to_owned(),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments, and fields of a future version, as the standard asks.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::TopicId;
    use hcube_core::record::Record;
    use proptest::prelude::*;

    use super::*;
    use crate::error::Code;

    fn written() -> (Vec<u8>, Message, Cursor) {
        let record = Record { value: "two\nlines".into(), ..Record::default() };
        let message = Message { partition: 0, offset: 4, timestamp_ms: 1, record };
        let mut cursor = Cursor::new(TopicId(9));
        cursor.set(0, 5);
        let mut out = KEEP_ALIVE.to_vec();
        write_message(&mut out, &message, Some(&cursor));
        write_message(&mut out, &message, None);
        write_problem(&mut out, &Problem::new(Code::UnknownTopic, "deleted"));
        (out, message, cursor)
    }

    proptest! {
        #[test]
        fn events_round_trip_in_any_pieces(size in 1usize..50) {
            let (out, message, cursor) = written();
            let mut decoder = Decoder::default();
            let events: Vec<Event> =
                out.chunks(size).flat_map(|piece| decoder.push(piece).unwrap()).collect();
            prop_assert_eq!(events.len(), 3);
            for event in &events[..2] {
                prop_assert_eq!(event.event.as_str(), MESSAGE);
                prop_assert_eq!(event.id.as_ref().unwrap().parse::<Cursor>(), Ok(cursor.clone()));
                prop_assert_eq!(&serde_json::from_str::<Message>(&event.data).unwrap(), &message);
            }
            prop_assert_eq!(events[2].event.as_str(), PROBLEM);
            prop_assert_eq!(serde_json::from_str::<Problem>(&events[2].data).unwrap().code, Code::UnknownTopic);
        }

        #[test]
        fn random_streams_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), text in "(data|id|event|:| |\n|\r|x){0,30}") {
            let _ = Decoder::default().push(&bytes);
            let _ = Decoder::default().push(text.as_bytes());
        }
    }

    #[test]
    fn foreign_spellings_are_understood() {
        let mut decoder = Decoder::default();
        let events = decoder.push(b"retry: 5\r\ndata:a\r\ndata: b\r\n\r\n\n").unwrap();
        assert_eq!(events, [Event { event: "message".into(), data: "a\nb".into(), id: None }]);
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX / 2 + 1];
        assert_eq!(decoder.push(&piece), Ok(vec![]));
        assert_eq!(decoder.push(&piece), Err(StreamError::TooLarge));
    }
}
