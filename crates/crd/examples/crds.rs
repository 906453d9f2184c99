//! Writes the definitions of the custom resources to `deploy/crds`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in hcube_crd::manifest::files() {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
