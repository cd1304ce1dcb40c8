//! Who is who: the pairs of rows and columns that are worth most together.
//!
//! The Hungarian method in the form with shortest augmenting paths, `rows² x columns` steps. Among equally good
//! solutions the order of rows and columns decides, never chance.

/// The worth of every pair, by rows.
pub(super) struct Worth {
    columns: usize,
    values: Vec<f64>,
}

impl Worth {
    /// `rows` times `columns`, each from 0, which is no pair at all, to 1.
    pub(super) fn of(rows: usize, columns: usize, worth: impl Fn(usize, usize) -> f64) -> Self {
        let pairs = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        // What is no number is no worth: the search needs finite ones to end.
        let values =
            pairs.map(|(row, column)| worth(row, column)).map(|worth| if worth > 0.0 { worth.min(1.0) } else { 0.0 });
        Self { columns, values: values.collect() }
    }

    fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.values[row * self.columns + column]
    }

    /// Pairs of row and column, each at most once, whose worth is largest in sum, by rows; those worth nothing are left out.
    pub(super) fn pairs(&self) -> Vec<(usize, usize)> {
        let (rows, columns) = (self.rows(), self.columns);
        let turned = rows > columns;
        // The method wants no more rows than columns, and a cost.
        let cost = |row: usize, column: usize| 1.0 - if turned { self.at(column, row) } else { self.at(row, column) };
        let partners = if turned { cheapest(columns, rows, cost) } else { cheapest(rows, columns, cost) };
        let pairs = partners.into_iter().enumerate().filter_map(|(column, row)| Some((row?, column)));
        let pairs = pairs.map(|(row, column)| if turned { (column, row) } else { (row, column) });
        let mut pairs: Vec<_> = pairs.filter(|&(row, column)| self.at(row, column) > 0.0).collect();
        pairs.sort_unstable();
        pairs
    }
}

/// The row of each column so that every row has one and the costs are least; `rows` must not exceed `columns`.
fn cheapest(rows: usize, columns: usize, cost: impl Fn(usize, usize) -> f64) -> Vec<Option<usize>> {
    let mut search = Search {
        // The place after the last column stands for the row that looks for one.
        partners: vec![None; columns + 1],
        row_prices: vec![0.0; rows],
        column_prices: vec![0.0; columns + 1],
    };
    for row in 0..rows {
        search.place(row, columns, &cost);
    }
    search.partners.truncate(columns);
    search.partners
}

struct Search {
    partners: Vec<Option<usize>>,
    row_prices: Vec<f64>,
    column_prices: Vec<f64>,
}

impl Search {
    /// Finds `row` a column, and others their second best if that is cheaper for all.
    fn place(&mut self, row: usize, columns: usize, cost: &impl Fn(usize, usize) -> f64) {
        let mut least = vec![f64::INFINITY; columns];
        let mut from = vec![columns; columns];
        let mut done = vec![false; columns + 1];
        self.partners[columns] = Some(row);
        let mut column = columns;
        while let Some(row) = self.partners[column] {
            done[column] = true;
            let (mut next, mut step) = (columns, f64::INFINITY);
            for candidate in (0..columns).filter(|&candidate| !done[candidate]) {
                let reduced = cost(row, candidate) - self.row_prices[row] - self.column_prices[candidate];
                if reduced < least[candidate] {
                    least[candidate] = reduced;
                    from[candidate] = column;
                }
                if least[candidate] < step {
                    (next, step) = (candidate, least[candidate]);
                }
            }
            self.reprice(&done, step);
            least.iter_mut().zip(&done).filter(|(_, done)| !**done).for_each(|(least, _)| *least -= step);
            column = next;
        }
        while column != columns {
            self.partners[column] = self.partners[from[column]];
            column = from[column];
        }
    }

    /// Raises what the rows of `done` columns pay, and lowers what those columns cost.
    fn reprice(&mut self, done: &[bool], step: f64) {
        let columns = self.column_prices.iter_mut().zip(&self.partners).zip(done).filter(|(_, done)| **done);
        for ((price, partner), _) in columns {
            if let Some(row) = partner {
                self.row_prices[*row] += step;
                *price -= step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The most that any pairs are worth, by trying all.
    fn best(worth: &Worth, row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == worth.rows() {
            return 0.0;
        }
        let mut most = best(worth, row + 1, taken);
        for column in 0..worth.columns {
            if !taken[column] {
                taken[column] = true;
                most = most.max(worth.at(row, column) + best(worth, row + 1, taken));
                taken[column] = false;
            }
        }
        most
    }

    #[test]
    fn two_that_want_the_same_share_for_the_good_of_both() {
        let worth = [[0.9, 0.8], [0.85, 0.1]];
        assert_eq!(Worth::of(2, 2, |row, column| worth[row][column]).pairs(), [(0, 1), (1, 0)]);
    }

    #[test]
    fn what_is_worth_nothing_is_no_pair() {
        assert_eq!(Worth::of(2, 3, |row, column| if (row, column) == (1, 2) { 0.4 } else { 0.0 }).pairs(), [(1, 2)]);
        assert_eq!(Worth::of(0, 3, |_, _| 1.0).pairs(), []);
        assert_eq!(Worth::of(3, 0, |_, _| 1.0).pairs(), []);
    }

    proptest! {
        #[test]
        fn no_other_pairs_are_worth_more(
            rows in 0..6usize, columns in 1..6usize, values in prop::collection::vec(0..5u8, 36),
        ) {
            let worth = Worth::of(rows, columns, |row, column| f64::from(values[row * 6 + column]) / 4.0);
            let pairs = worth.pairs();
            let sum: f64 = pairs.iter().map(|&(row, column)| worth.at(row, column)).sum();
            prop_assert_eq!(sum, best(&worth, 0, &mut vec![false; columns]));
            for (index, pair) in pairs.iter().enumerate() {
                prop_assert!(pairs[..index].iter().all(|other| other.0 < pair.0 && other.1 != pair.1));
            }
        }
    }
}
