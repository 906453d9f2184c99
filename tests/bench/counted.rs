//! Benchmarks whose instructions are counted: `tests/bench/regress` runs each alone under callgrind. A module of the
//! benches `crates/*/benches`, which are a program each, so that one that does not build takes no other with it.
//!
//! Without arguments a program lists its benchmarks, a line each: how often one round repeats what is counted, and the
//! name. With a name and a number it makes so many rounds of that benchmark. What two rounds take more than one does is
//! free of whatever happens once: the start, what is made ready, tables and buffers that the first use makes.

use std::hint::black_box;
use std::io::{Error, Result, Write as _};

/// What is repeated and counted.
pub type Step = Box<dyn FnMut()>;

/// One benchmark of a program.
pub struct Counted {
    /// What a reader calls it.
    pub name: &'static str,
    /// How often a round repeats it.
    pub repeats: u32,
    /// Makes ready what it needs.
    pub ready: fn() -> Step,
}

/// Something that can be done again and again, and whose result is not optimized away.
pub fn repeat<R>(mut act: impl FnMut() -> R + 'static) -> Step {
    Box::new(move || {
        black_box(act());
    })
}

/// The whole program.
pub fn run(all: &[Counted]) -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (name, rounds) = (arguments.next(), arguments.next().and_then(|rounds| rounds.parse::<u32>().ok()));
    let (Some(name), Some(rounds)) = (name, rounds) else {
        let mut out = std::io::stdout().lock();
        return all.iter().try_for_each(|one| writeln!(out, "{} {}", one.repeats, one.name));
    };
    let Some(chosen) = all.iter().find(|one| one.name == name) else {
        return Err(Error::other(format!("there is no benchmark '{name}'")));
    };
    let mut step = (chosen.ready)();
    (0..rounds * chosen.repeats).for_each(|_| step());
    Ok(())
}
