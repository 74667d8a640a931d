//! A symmetric matrix, taken apart row by row as its rows come.

/// The lower triangle `L` with `L·Lᵀ` equal to the matrix.
#[derive(Debug, Clone, Default)]
pub struct Cholesky {
    rows: Vec<Vec<f64>>,
}

impl Cholesky {
    pub fn new() -> Cholesky {
        Cholesky::default()
    }

    /// Adds the matrix's next row, up to its diagonal.
    pub fn push(&mut self, mut row: Vec<f64>) {
        for place in 0..self.rows.len() {
            let known = dot(&row[..place], &self.rows[place][..place]);
            row[place] = (row[place] - known) / self.rows[place][place];
        }
        let place = self.rows.len();
        let left = row[place] - dot(&row[..place], &row[..place]);
        // A row that says nothing new must not divide by nothing.
        row[place] = left.max(1e-9).sqrt();
        self.rows.push(row);
    }

    pub fn last(&self) -> &[f64] {
        self.rows.last().map_or(&[], Vec::as_slice)
    }

    /// Solves `L·x = y`.
    pub fn solve(&self, values: &[f64]) -> Vec<f64> {
        let mut solved: Vec<f64> = Vec::with_capacity(values.len());
        for (row, value) in self.rows.iter().zip(values) {
            let place = solved.len();
            let next = (value - dot(&row[..place], &solved)) / row[place];
            solved.push(next);
        }
        solved
    }

    /// The sum of the logarithms along the diagonal.
    pub fn log_diagonal(&self) -> f64 {
        self.rows.iter().enumerate().map(|(place, row)| row[place].ln()).sum()
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_solved_as_its_rows_come() {
        let mut factor = Cholesky::new();
        factor.push(vec![4.0]);
        factor.push(vec![2.0, 5.0]);
        assert_eq!(factor.last(), [1.0, 2.0]);
        assert_eq!(factor.solve(&[2.0, 5.0]), [1.0, 2.0]);
        assert!((factor.log_diagonal() - 4.0f64.ln() / 2.0 - 2.0f64.ln()).abs() < 1e-12);
        // Twice the same row: nothing new, and no division by zero.
        factor.push(vec![4.0, 2.0, 4.0]);
        assert!(factor.solve(&[2.0, 5.0, 2.0]).iter().all(|number| number.is_finite()));
    }
}
