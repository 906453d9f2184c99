//! Which version of hcube the peers are, as far as the name of their image says it.

/// The label that Kubernetes recommends for it.
pub(super) const LABEL: &str = "app.kubernetes.io/version";
/// Letters of a label's value at most.
const LENGTH_MAX: usize = 63;

/// The tag of an image; none where it has none, or one that cannot be a label's value.
pub(super) fn of(image: &str) -> Option<String> {
    let (name, _) = image.split_once('@').unwrap_or((image, ""));
    let last = name.rsplit('/').next()?;
    let (_, tag) = last.split_once(':')?;
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    let is_end = |letter: Option<&u8>| letter.is_some_and(u8::is_ascii_alphanumeric);
    let fits = tag.len() <= LENGTH_MAX
        && tag.bytes().all(is_letter)
        && is_end(tag.as_bytes().first())
        && is_end(tag.as_bytes().last());
    fits.then(|| tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_tag_of_the_image() {
        for (image, version) in [
            ("hcube-node:1.2.3", Some("1.2.3")),
            ("registry.example:5000/team/hcube-node:2_b", Some("2_b")),
            ("hcube-node:2@sha256:0123", Some("2")),
            ("registry.example:5000/hcube-node", None),
            ("hcube-node@sha256:0123", None),
            ("hcube-node", None),
            ("hcube-node:", None),
            ("hcube-node:_2", None),
            ("hcube-node:2-", None),
            ("hcube-node:a b", None),
            (&format!("hcube-node:{}", "1".repeat(63)), Some(&*"1".repeat(63))),
            (&format!("hcube-node:{}", "1".repeat(64)), None),
        ] {
            assert_eq!(of(image).as_deref(), version, "{image}");
        }
    }
}
