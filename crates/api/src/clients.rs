//! Bodies of the requests about named publishers and subscribers.

use hcube_core::ids::ProducerId;
use hcube_core::limits;
use hcube_core::topic::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::error::Problem;
use crate::json::{NameSchema, UuidSchema};

/// Body of `POST /v1/publishers`; an empty body stands for `{}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterPublisher {
    /// A name gets the same producer id each time and a higher epoch, which fences the one before.
    /// Without a name the id is new and the epoch 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameSchema>")]
    pub name: Option<Name>,
}

/// Answer to the registration of a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Publisher {
    /// Goes into `Hcube-Producer-Id`.
    #[schemars(with = "UuidSchema")]
    pub producer_id: ProducerId,
    /// Goes into `Hcube-Producer-Epoch`.
    pub epoch: u32,
    /// The name, where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameSchema>")]
    pub name: Option<Name>,
}

/// Body of `POST /v1/subscribers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterSubscriber {
    /// Names the subscriber for ever; registering it again changes nothing.
    #[schemars(with = "NameSchema")]
    pub name: Name,
}

/// Answer to the registration of a subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscriber {
    /// The name.
    #[schemars(with = "NameSchema")]
    pub name: Name,
    /// Whether this request registered it, rather than an earlier one.
    pub created: bool,
}

/// One partition's place in a durable cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The partition.
    pub partition: u16,
    /// The offset that comes next: one after the last message dealt with.
    pub offset: u64,
}

/// Body of `PUT /v1/subscribers/{subscriber}/cursors/{topic}`: commits what has been dealt with, or resets to
/// another place, forwards or backwards; the last one stands. Exactly one of the members is given. Partitions
/// that it does not name stay where they are. Each partition commits by itself: repeat it after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum SetCursor {
    /// Where a pull or an event ended.
    Cursor(Cursor),
    /// Places by partition.
    Partitions(Vec<Position>),
    /// The same place in every partition.
    To(ResetTo),
}

/// Where a reset leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum ResetTo {
    /// The earliest message kept.
    Earliest,
    /// After the last committed message.
    Latest,
    /// The first message stamped at this time or later, milliseconds since 1970.
    TimestampMs(u64),
}

impl SetCursor {
    /// Checks places against the topic: partitions that exist, each named once.
    ///
    /// # Errors
    /// `unknown-partition`, `invalid-argument`.
    pub fn check(&self, partitions: u16) -> Result<(), Problem> {
        let Self::Partitions(positions) = self else { return Ok(()) };
        let mut seen = [false; limits::PARTITIONS_MAX as usize];
        for position in positions {
            let place = seen.get_mut(usize::from(position.partition));
            match place.filter(|_| position.partition < partitions) {
                Some(seen) if *seen => {
                    let detail = format!("partition {} is named twice", position.partition);
                    return Err(Problem::invalid(detail));
                }
                Some(seen) => *seen = true,
                None => return Err(crate::messages::unknown_partition(position.partition, partitions)),
            }
        }
        Ok(())
    }
}

/// Answer to fetching or setting a durable cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CursorAnswer {
    /// Whose.
    #[schemars(with = "NameSchema")]
    pub subscriber: Name,
    /// In which topic.
    #[schemars(with = "NameSchema")]
    pub topic: Name,
    /// Places by partition; a partition that is missing starts at its earliest message.
    pub partitions: Vec<Position>,
    /// The same as one text: give it to a pull or a subscription as `from`.
    pub cursor: Cursor,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn cursors_are_set_in_three_ways() {
        let read = |text: &str| serde_json::from_str::<SetCursor>(text);
        for text in [
            r#"{"to":"earliest"}"#,
            r#"{"to":"latest"}"#,
            r#"{"to":{"timestamp_ms":5}}"#,
            r#"{"partitions":[{"partition":0,"offset":7}]}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
        let cursor = Cursor::new(hcube_core::ids::TopicId(3));
        let set = SetCursor::Cursor(cursor);
        assert_eq!(read(&serde_json::to_string(&set).unwrap()).unwrap(), set);
        for wrong in ["{}", r#"{"to":"never"}"#, r#"{"cursor":"c1-x"}"#, r#"{"to":"latest","cursor":"c1-x"}"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_are_checked_against_the_topic() {
        let set = |partitions: &[u16]| {
            let positions = partitions.iter().map(|&partition| Position { partition, offset: 0 }).collect();
            SetCursor::Partitions(positions).check(2).map_err(|problem| problem.code)
        };
        assert_eq!(set(&[1, 0]), Ok(()));
        assert_eq!(set(&[2]), Err(Code::UnknownPartition));
        assert_eq!(set(&[u16::MAX]), Err(Code::UnknownPartition));
        assert_eq!(set(&[1, 1]), Err(Code::InvalidArgument));
    }

    #[test]
    fn names_are_checked_while_they_are_read() {
        assert!(serde_json::from_str::<RegisterSubscriber>(r#"{"name":"a/b"}"#).is_err());
        assert!(serde_json::from_str::<RegisterPublisher>("{}").is_ok());
        let text = r#"{"producer_id":"0000000000000000000000000000000f","epoch":2}"#;
        let publisher: Publisher = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&publisher).unwrap(), text);
    }
}
