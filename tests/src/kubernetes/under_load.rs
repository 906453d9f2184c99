//! What most stories share: something happens to a Hypercube while messages are published, and nothing is missed.

use super::Hypercube;
use crate::load::{self, Progress};

impl Hypercube<'_> {
    /// Tells a story while publishers work, one for each partition of a topic that is made for it. They are at work when
    /// it begins, and get further once it has ended. Then what was acknowledged is compared with what each of the first
    /// three peers reads.
    ///
    /// # Panics
    /// When the story does, a publisher is stuck or refused, or anything is missing, doubled, moved or different.
    #[track_caller]
    pub fn under_load(&self, partitions: u16, story: impl FnOnce(&Progress)) {
        const TOPIC: &str = "under-load";
        self.create_topic(TOPIC, partitions);
        let ((), acked) = load::during(&self.endpoints, TOPIC, partitions, partitions, |progress| {
            progress.goes_on();
            let _ = progress.times();
            story(progress);
            progress.goes_on();
        });
        let _ = self.check(TOPIC, partitions, &acked, &[0, 1, 2]);
    }
}
