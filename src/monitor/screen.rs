//! The terminal while it's ours: drawn in place, and given back as it was.

use std::io::{self, IsTerminal, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{execute, queue, terminal};

pub struct Screen {
    /// Whether keys come one by one and unseen.
    keys: bool,
    /// Columns and rows when it was drawn last.
    size: (u16, u16),
}

impl Screen {
    pub fn enter() -> io::Result<Screen> {
        // Somebody else's input isn't ours to read; then Ctrl-C comes as a signal.
        let keys = io::stdin().is_terminal() && terminal::enable_raw_mode().is_ok();
        let screen = Screen { keys, size: (0, 0) };
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    pub fn has_keys(&self) -> bool {
        self.keys
    }

    /// Draws lines made for the width that there is, as many as there are rows.
    pub fn draw(
        &mut self,
        only_if_resized: bool,
        lines: impl FnOnce(usize) -> Vec<String>,
    ) -> io::Result<()> {
        let size = terminal::size().unwrap_or((80, 24));
        if only_if_resized && size == self.size {
            return Ok(());
        }
        self.size = size;
        let lines = lines(usize::from(size.0));
        let mut out = io::BufWriter::new(io::stdout().lock());
        queue!(out, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        for (row, line) in lines.iter().take(usize::from(size.1)).enumerate() {
            if row > 0 {
                out.write_all(b"\r\n")?;
            }
            // Cleared first: behind a line that fills its row there is nothing to clear, and the last character would go.
            queue!(out, Clear(ClearType::CurrentLine))?;
            out.write_all(line.as_bytes())?;
        }
        if lines.len() < usize::from(size.1) {
            out.write_all(b"\r\n")?;
            queue!(out, Clear(ClearType::FromCursorDown))?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        if self.keys {
            let _ = terminal::disable_raw_mode();
        }
    }
}
