//! The README's lines, as a reader would type them.

use std::path::Path;

/// The lines of each fenced `sh` block that stands behind this mark, block by block.
///
/// # Panics
/// When the README cannot be read, or no block follows a mark.
#[must_use]
pub fn blocks(mark: &str) -> Vec<Vec<String>> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells its tests where they lie");
    let path = Path::new(&package).join("../README.md");
    let readme = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let block = |after: &str| {
        let fenced = after.trim_start().strip_prefix("```sh\n").expect("a fenced sh block follows each mark");
        let (block, _) = fenced.split_once("\n```").expect("the block is closed");
        block.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
    };
    readme.split(mark).skip(1).map(block).collect()
}
