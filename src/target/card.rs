//! The table of GPUs.

use std::sync::OnceLock;

use serde::Deserialize;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub name: String,
    pub title: String,
    matches: String,
    pub vram_gib: f64,
}

#[derive(Deserialize)]
struct Table {
    gpu: Vec<Card>,
}

pub fn cards() -> &'static [Card] {
    static CARDS: OnceLock<Vec<Card>> = OnceLock::new();
    // A test reads the table, so it can't be wrong in a program that passed its tests.
    CARDS.get_or_init(|| {
        toml::from_str::<Table>(include_str!("gpus.toml")).map(|table| table.gpu).unwrap_or_default()
    })
}

/// The card that a name of a person or of a driver means.
pub fn find(name: &str) -> Option<&'static Card> {
    let wanted = plain(name);
    cards().iter().find(|card| wanted == card.name || wanted.contains(&card.matches))
}

/// Lower case, letters and digits only.
pub fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_each_card_is_found_by_its_names() {
        let table: Table = toml::from_str(include_str!("gpus.toml")).unwrap();
        assert!(!table.gpu.is_empty());
        for card in &table.gpu {
            assert_eq!(find(&card.name), Some(card));
            assert_eq!(find(&card.title), Some(card));
            assert_eq!(card.matches, plain(&card.matches));
            assert!(card.vram_gib >= 1.0);
        }
        assert_eq!(find("NVIDIA A100-SXM4-40GB").map(|card| card.name.as_str()), Some("a100"));
    }
}
