//! How text looks in a terminal: its width, its colours, its tables' lines.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

/// How the output is to look.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub width: u16,
    pub colour: bool,
}

impl Style {
    /// A paragraph that fits, its later lines indented.
    pub fn paragraph(self, text: &str) -> String {
        self.indented("", "  ", text)
    }

    /// A paragraph that fits, behind an indent of its own in its first line. Commands in backquotes stay in one piece, and no
    /// word is broken at a hyphen: people copy them.
    pub fn indented(self, first: &str, later: &str, text: &str) -> String {
        const KEPT: &str = "\u{a0}";
        let parts = text.split('`').enumerate();
        let whole: Vec<String> = parts
            .map(|(place, part)| if place % 2 == 1 { part.replace(' ', KEPT) } else { part.to_owned() })
            .collect();
        let options = textwrap::Options::new(usize::from(self.width))
            .initial_indent(first)
            .subsequent_indent(later)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .break_words(false);
        textwrap::fill(&whole.join("`"), options).replace(KEPT, " ") + "\n"
    }

    pub fn bold(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{}\u{1b}[0m\n", text.trim_end()) } else { text.to_owned() }
    }

    /// What should make a reader careful.
    pub fn caution(self, text: &str) -> String {
        let text = self.paragraph(&format!("! {text}"));
        if self.colour { format!("\u{1b}[33m{}\u{1b}[0m\n", text.trim_end()) } else { text }
    }
}

/// Lines above, below and under the heading, and none between rows.
const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

pub fn plain_table(style: Style) -> Table {
    let mut table = Table::new();
    table.load_style(LINES).set_content_arrangement(ContentArrangement::Dynamic);
    if style.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_width(style.width);
    table
}
