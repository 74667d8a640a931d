//! The table of GPUs, for people.

use comfy_table::{Cell, CellAlignment};

use super::style::{Style, plain_table};
use crate::hardware::Card;
use crate::units::significant;

/// The figures that people choose by. All of them are in the JSON.
pub fn gpus(cards: &[Card], style: Style) -> String {
    let mut table = plain_table(style);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let heads = ["memory", "GB/s", "fp16 TFLOPS", "price an hour"].map(|head| right(head.to_owned()));
    table.set_header(["--gpu", "GPU"].map(Cell::new).into_iter().chain(heads));
    for card in cards {
        let price = card.price_per_hour.map_or_else(String::new, |price| format!("${price:.2}"));
        table.add_row([
            Cell::new(&card.name),
            Cell::new(&card.title),
            right(memory(card)),
            right(format!("{:.0}", card.bandwidth_gb_s)),
            right(significant(card.fp16_tflops)),
            right(price),
        ]);
    }
    table.trim_fmt() + "\n"
}

/// A card's own memory, or how much machines have that share it.
fn memory(card: &Card) -> String {
    match (card.vram_gib, card.memory_gib.as_slice()) {
        (Some(vram_gib), _) => format!("{vram_gib} GiB"),
        (None, [least, .., most]) => format!("of {least}–{most} GiB"),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::cards;

    #[test]
    fn the_table_fits_and_has_a_row_a_card() {
        let text = gpus(cards(), Style { width: 100, colour: false });
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 100, "{widest}\n{text}");
        // Three lines and the heading.
        assert_eq!(text.lines().count(), cards().len() + 4, "{text}");
        for word in ["rtx2070super", "36.3", "$1.20", "of 32–96 GiB", "141 GiB"] {
            assert!(text.contains(word), "no {word} in\n{text}");
        }
    }
}
