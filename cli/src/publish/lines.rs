//! Line numbers in few words.

use crate::output::grouped;

/// Ranges that are named at most; the rest is counted.
const RANGES_MAX: usize = 12;

/// `3, 7-9 and 2 more`: ascending numbers, neighbours drawn together.
pub fn named(lines: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => ranges.push((line, line)),
        }
    }
    let shown = ranges
        .iter()
        .take(RANGES_MAX)
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    let more: u64 = ranges.iter().skip(RANGES_MAX).map(|(first, last)| last - first + 1).sum();
    if more > 0 {
        text.push_str(&format!(" and {} more", grouped(more)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_drawn_together() {
        assert_eq!(named(&[3, 7, 8, 9]), "3, 7-9");
        assert_eq!(named(&[]), "");
    }

    #[test]
    fn many_ranges_are_counted() {
        let odd: Vec<u64> = (0..20).map(|line| 2 * line + 1).collect();
        assert!(named(&odd).ends_with("21, 23 and 8 more"), "{}", named(&odd));
    }
}
