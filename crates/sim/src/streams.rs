//! One stream of random numbers for each concern, so that what changes in one does not reshuffle the others.

use hcube_consensus::Rng;

/// The streams of a run, all from its seed.
pub(crate) struct Streams {
    pub network: Rng,
    pub disk: Rng,
    pub faults: Rng,
    pub clients: Rng,
    pub admin: Rng,
    /// What machines draw at their starts.
    pub machines: Rng,
    /// The shape of the hypercube at its founding.
    pub shape: Rng,
}

impl Streams {
    pub fn new(seed: u64) -> Self {
        let mut root = Rng::new(seed);
        Self {
            network: root.split(),
            disk: root.split(),
            faults: root.split(),
            clients: root.split(),
            admin: root.split(),
            machines: root.split(),
            shape: root.split(),
        }
    }
}

/// One of these, if there are any.
pub(crate) fn pick<T: Copy>(rng: &mut Rng, among: &[T]) -> Option<T> {
    let bound = among.len() as u64;
    (bound > 0).then(|| among[usize::try_from(rng.below(bound)).expect("an index fits")])
}

/// Whether something happens that does so once in so many times.
pub(crate) fn once_in(rng: &mut Rng, times: u64) -> bool {
    rng.below(times) == 0
}
