//! Tables of columns of which those that matter least are left out where the terminal is narrow.

use comfy_table::{Attribute, Cell, CellAlignment};

use super::style::{Style, plain_table};

/// Columns that are never dropped.
pub const NEEDED: u8 = 0;

/// What stands in a column for a row, if anything does.
type CellText<Row> = Box<dyn Fn(&Row) -> Option<String>>;

pub struct Column<Row> {
    /// It breaks where it has an underscore.
    pub title: String,
    /// Of the columns that don't fit, the one with the highest number goes first.
    dispensable: u8,
    numeric: bool,
    cell: CellText<Row>,
}

impl<Row> Column<Row> {
    pub fn new(title: &str, dispensable: u8, cell: impl Fn(&Row) -> Option<String> + 'static) -> Self {
        Column { title: title.to_owned(), dispensable, numeric: false, cell: Box::new(cell) }
    }

    pub fn number(title: &str, dispensable: u8, cell: impl Fn(&Row) -> Option<String> + 'static) -> Self {
        Column { numeric: true, ..Column::new(title, dispensable, cell) }
    }

    pub fn has_some(&self, shown: &[&Row]) -> bool {
        shown.iter().any(|row| (self.cell)(row).is_some())
    }

    fn text(&self, row: &Row) -> String {
        (self.cell)(row).unwrap_or_else(|| "–".to_owned())
    }

    fn alignment(&self) -> CellAlignment {
        if self.numeric { CellAlignment::Right } else { CellAlignment::Left }
    }

    /// Characters that it takes, with a space on either side and the place of a line that isn't drawn.
    fn width(&self, shown: &[&Row]) -> usize {
        let cells = shown.iter().map(|row| self.text(row).chars().count());
        let title = self.title.split('_').map(|word| word.chars().count());
        cells.chain(title).max().unwrap_or(0) + 3
    }
}

/// A table with as many of the columns as the width allows.
pub fn render<Row>(
    mut columns: Vec<Column<Row>>,
    shown: &[&Row],
    style: Style,
    stands_out: impl Fn(&Row) -> bool,
) -> String {
    fit(&mut columns, shown, style.width);
    let mut table = plain_table(style);
    table.set_header(
        columns
            .iter()
            .map(|column| Cell::new(column.title.replace('_', "\n")).set_alignment(column.alignment())),
    );
    for row in shown {
        let bold = style.colour && stands_out(row);
        table.add_row(columns.iter().map(|column| {
            let cell = Cell::new(column.text(row)).set_alignment(column.alignment());
            if bold { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
    }
    table.trim_fmt()
}

/// Drops columns until the rest fits.
fn fit<Row>(columns: &mut Vec<Column<Row>>, shown: &[&Row], width: u16) {
    while columns.iter().map(|column| column.width(shown)).sum::<usize>() > usize::from(width) {
        let Some(worst) =
            columns.iter().map(|column| column.dispensable).max().filter(|worst| *worst > NEEDED)
        else {
            return;
        };
        columns.retain(|column| column.dispensable != worst);
    }
}
