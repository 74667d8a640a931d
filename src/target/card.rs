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
    cards().iter().find(|card| wanted == card.name || card.is_called(name))
}

impl Card {
    /// Whether a driver's name of a card has this card's words in a row, and none behind them that make it another
    /// model: an RTX 3090 Ti is no RTX 3090.
    fn is_called(&self, name: &str) -> bool {
        const OTHER_MODELS: [&str; 5] = ["ti", "super", "laptop", "max", "mobile"];
        let given = words(name);
        let own = words(&self.matches);
        given.windows(own.len()).enumerate().any(|(place, window)| {
            let next = given.get(place + own.len()).map_or("", String::as_str);
            window == own && !OTHER_MODELS.contains(&next)
        })
    }
}

/// Stretches of letters and digits, in lower case.
fn words(name: &str) -> Vec<String> {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect()
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
            assert!(card.vram_gib >= 1.0);
        }
        let name = |driver: &str| find(driver).map(|card| card.name.as_str());
        assert_eq!(name("NVIDIA A100-SXM4-40GB"), Some("a100"));
        assert_eq!(name("NVIDIA GeForce RTX 2070 SUPER"), Some("rtx2070super"));
        for other in ["NVIDIA T400", "NVIDIA RTX A1000", "NVIDIA GeForce RTX 3090 Ti", "", "-"] {
            assert_eq!(name(other), None, "{other:?}");
        }
    }
}
