//! Byte pair encoding, learned from the pieces that are to come out.

use std::collections::HashMap;

/// Pairs of symbols that are joined, in the order in which they are.
pub struct Joins {
    /// Every symbol: the bytes, and what joins make of them.
    pub texts: Vec<String>,
    symbols: HashMap<String, usize>,
    /// By the pair: its rank and what it becomes.
    ranks: HashMap<(usize, usize), (usize, usize)>,
    pub order: Vec<(usize, usize)>,
    room: usize,
}

impl Joins {
    pub fn new(room: usize) -> Joins {
        let mut joins =
            Joins { texts: vec![], symbols: HashMap::new(), ranks: HashMap::new(), order: vec![], room };
        for byte in 0..=u8::MAX {
            joins.symbol(byte_character(byte).to_string());
        }
        joins
    }

    pub fn text(&self, symbol: usize) -> &str {
        &self.texts[symbol]
    }

    fn symbol(&mut self, text: String) -> usize {
        let next = self.texts.len();
        let symbol = *self.symbols.entry(text.clone()).or_insert(next);
        if symbol == next {
            self.texts.push(text);
        }
        symbol
    }

    /// Adds what is lacking for `text` to become one symbol, as long as there is room.
    pub fn learn(&mut self, text: &str) {
        let mut symbols: Vec<usize> = text.bytes().map(usize::from).collect();
        let known = |joins: &Joins, symbols: &[usize]| {
            let pairs = symbols.windows(2).enumerate();
            pairs.filter_map(|(place, pair)| Some((*joins.ranks.get(&(pair[0], pair[1]))?, place))).min()
        };
        while let Some(((_, joined), place)) = known(self, &symbols) {
            symbols.splice(place..place + 2, [joined]);
        }
        while let [left, right, ..] = symbols[..] {
            if self.texts.len() == self.room {
                return;
            }
            let joined = self.symbol(format!("{}{}", self.texts[left], self.texts[right]));
            self.ranks.insert((left, right), (self.order.len(), joined));
            self.order.push((left, right));
            symbols.splice(..2, [joined]);
        }
    }
}

/// The printable character that stands for a byte in the vocabularies of GPT-2 and all that came after it.
fn byte_character(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return byte.into();
    }
    let place = (0..byte).filter(|byte| !printable(*byte)).count() as u32;
    char::from_u32(0x100 + place).unwrap_or_default()
}
