//! Tables for people: columns as wide as they must be, numbers to the right.

/// Rows under a heading.
#[derive(Debug, Clone, Default)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { heading: heading.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row with a cell for each column.
    pub fn row<const N: usize>(&mut self, cells: [impl Into<String>; N]) {
        assert_eq!(N, self.heading.len(), "a row has a cell for each column");
        self.rows.push(cells.map(Into::into).to_vec());
    }

    /// The table as text, each line ended.
    pub fn render(&self, colours: bool) -> String {
        let widths: Vec<usize> = (0..self.heading.len()).map(|column| self.width(column)).collect();
        let right: Vec<bool> = (0..self.heading.len()).map(|column| self.is_numeric(column)).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).zip(&right).map(|((cell, &width), &right)| {
                let gap = " ".repeat(width - cell.chars().count());
                if right { format!("{gap}{cell}") } else { format!("{cell}{gap}") }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let heading = line(&self.heading);
        let mut text = if colours { format!("\x1b[1m{heading}\x1b[0m\n") } else { format!("{heading}\n") };
        for row in &self.rows {
            text.push_str(&line(row));
            text.push('\n');
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| &row[column]);
        cells.chain([&self.heading[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// Figures with a unit count too: what starts with a digit and is no label such as 010.
    fn is_numeric(&self, column: usize) -> bool {
        let number = |cell: &String| {
            let figure = cell.trim_start_matches('-');
            let label = figure.len() > 1 && figure.starts_with('0') && !figure.starts_with("0.");
            (figure.starts_with(|c: char| c.is_ascii_digit()) && !label) || cell == "-" || cell.is_empty()
        };
        !self.rows.is_empty() && self.rows.iter().all(|row| number(&row[column]))
    }
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(["peer", "held", "state"]);
        table.row(["000", "8", "up"]);
        table.row(["001", "124", "up"]);
        assert_eq!(table.render(false), "peer  held  state\n000      8  up\n001    124  up\n");
    }

    #[test]
    fn wide_characters_count_once() {
        let mut table = Table::new(["a", "b"]);
        table.row(["é", "x"]);
        assert_eq!(table.render(false), "a  b\né  x\n");
    }

    #[test]
    fn long_numbers_are_grouped_in_threes() {
        let shown = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
