//! What a guided search sees of a space: rows of levels, and how far levels lie apart.

use std::collections::HashMap;

/// One knob: its levels, and the distance between any two of them, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    levels: usize,
    /// Where the levels that have an order lie, from 0 to 1. Any two others are as far apart as can be.
    places: Vec<f64>,
}

impl Column {
    /// Words in no order: any two are equally far apart.
    pub fn of_words(name: &str, levels: usize) -> Column {
        Column { name: name.to_owned(), levels, places: Vec::new() }
    }

    /// Numbers in rising order, on a log scale where all are positive. An infinite one (a limit that isn't set) is one step
    /// beyond the last.
    pub fn of_numbers(name: &str, numbers: &[f64]) -> Column {
        let logarithmic = numbers.iter().all(|number| *number > 0.0);
        let scaled = |number: f64| if logarithmic { number.log2() } else { number };
        let finite: Vec<f64> =
            numbers.iter().copied().filter(|number| number.is_finite()).map(scaled).collect();
        let (first, last) = (finite.first().copied().unwrap_or(0.0), finite.last().copied().unwrap_or(0.0));
        let step = (last - first) / finite.len().saturating_sub(1).max(1) as f64;
        let beyond = if step > 0.0 { last + step } else { last + 1.0 };
        let end = if finite.len() < numbers.len() { beyond } else { last };
        let range = if end > first { end - first } else { 1.0 };
        let place =
            |number: &f64| (if number.is_finite() { scaled(*number) } else { beyond } - first) / range;
        Column { name: name.to_owned(), levels: numbers.len(), places: numbers.iter().map(place).collect() }
    }

    /// The same column with one more level, which stands for not having the knob at all.
    pub fn with_absence(self) -> Column {
        Column { levels: self.levels + 1, ..self }
    }

    pub fn levels(&self) -> usize {
        self.levels
    }

    /// Whether its levels have an order in which "the next" means something.
    pub fn is_ordered(&self) -> bool {
        !self.places.is_empty()
    }

    pub fn distance(&self, left: u32, right: u32) -> f32 {
        let place = |level: u32| self.places.get(level as usize);
        match (place(left), place(right)) {
            (Some(left), Some(right)) => (left - right).abs() as f32,
            _ => f32::from(left != right),
        }
    }
}

/// Candidates as rows of levels.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    /// Row after row.
    cells: Vec<u32>,
    places: HashMap<Box<[u32]>, usize>,
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Table {
        Table { columns, cells: Vec::new(), places: HashMap::new() }
    }

    /// Adds a row; one that is there already is left as it is. Returns its number.
    pub fn add(&mut self, levels: &[u32]) -> usize {
        debug_assert_eq!(levels.len(), self.columns.len());
        let next = self.len();
        let place = *self.places.entry(levels.into()).or_insert(next);
        if place == next {
            self.cells.extend_from_slice(levels);
        }
        place
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn row(&self, row: usize) -> &[u32] {
        &self.cells[row * self.columns.len()..][..self.columns.len()]
    }

    pub fn place(&self, levels: &[u32]) -> Option<usize> {
        self.places.get(levels).copied()
    }

    /// Rows that differ in one knob.
    pub fn neighbours(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        let own = self.row(row);
        self.columns.iter().enumerate().flat_map(move |(place, column)| {
            let others = (0..column.levels as u32).filter(move |level| *level != own[place]);
            others.filter_map(move |level| {
                let mut levels = own.to_vec();
                levels[place] = level;
                self.place(&levels)
            })
        })
    }

    /// Rows that differ in one knob by one step: the next level of what is ordered, any other word.
    pub fn steps(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        self.neighbours(row).filter(move |other| {
            let both = self.row(row).iter().zip(self.row(*other)).zip(&self.columns);
            both.into_iter().all(|((left, right), column)| !column.is_ordered() || left.abs_diff(*right) <= 1)
        })
    }

    /// How far two rows are apart: the sum over the knobs.
    pub fn distance(&self, left: usize, right: usize) -> f32 {
        let both = self.row(left).iter().zip(self.row(right)).zip(&self.columns);
        both.map(|((left, right), column)| column.distance(*left, *right)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of three batches and two words.
    fn table() -> Table {
        let columns = vec![Column::of_numbers("batch", &[1.0, 4.0, 16.0]), Column::of_words("order", 2)];
        let mut table = Table::new(columns);
        for batch in 0..3 {
            for order in 0..2 {
                table.add(&[batch, order]);
            }
        }
        table
    }

    #[test]
    fn levels_lie_apart_as_their_kind_says() {
        let table = table();
        let columns = table.columns();
        assert_eq!((columns[0].distance(0, 1), columns[0].distance(0, 2)), (0.5, 1.0));
        let limit = Column::of_numbers("limit", &[64.0, 128.0, f64::INFINITY]);
        assert_eq!((limit.distance(0, 1), limit.distance(1, 2)), (0.5, 0.5));
        let absent = limit.with_absence();
        assert_eq!((absent.levels(), absent.distance(0, 3), absent.distance(0, 1)), (4, 1.0, 0.5));
        let one = Column::of_numbers("one", &[7.0]);
        assert_eq!(one.distance(0, 0), 0.0);
    }

    #[test]
    fn neighbours_differ_in_one_knob_and_steps_by_one_level() {
        let mut table = table();
        assert_eq!((table.len(), table.add(&[1, 1])), (6, 3));
        let names = |rows: Vec<usize>| rows.iter().map(|row| table.row(*row).to_vec()).collect::<Vec<_>>();
        assert_eq!(names(table.neighbours(0).collect()), [vec![1, 0], vec![2, 0], vec![0, 1]]);
        assert_eq!(names(table.steps(0).collect()), [vec![1, 0], vec![0, 1]]);
        assert_eq!(table.distance(0, 3), 1.5);
    }
}
