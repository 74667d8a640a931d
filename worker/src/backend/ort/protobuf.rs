//! Protocol buffers, as far as writing a message needs them. Knows no message.

/// A message under way: fields in the order in which they're written.
#[derive(Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
}

/// How the value of a field lies in the bytes that follow its number.
const VARINT: u64 = 0;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

impl Message {
    pub fn integer(&mut self, field: u64, value: i64) {
        self.varint(field << 3 | VARINT);
        // Negative ones take all ten bytes, as the format wants it.
        self.varint(value as u64);
    }

    pub fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | FIXED32);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn text(&mut self, field: u64, value: &str) {
        self.raw(field, value.as_bytes());
    }

    pub fn raw(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | DELIMITED);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A message in the message.
    pub fn nested(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.raw(field, &inner.bytes);
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_format_says() {
        // The examples of the format's own description: 150 as field 1, and "testing" as field 2.
        let mut message = Message::default();
        message.integer(1, 150);
        message.text(2, "testing");
        assert_eq!(message.finish(), b"\x08\x96\x01\x12\x07testing");
        let mut message = Message::default();
        message.nested(3, |inner| inner.integer(1, -1));
        assert_eq!(message.finish(), b"\x1a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
        let mut message = Message::default();
        message.float(1, 1.0);
        assert_eq!(message.finish(), b"\x0d\x00\x00\x80\x3f");
    }
}
