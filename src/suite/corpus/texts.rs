//! Documents that are nothing but texts: a file each, or a line each.

use std::path::Path;

const ENDINGS: [&str; 4] = ["md", "markdown", "txt", "text"];

/// Whether a file of a folder is a document. Hidden ones aren't.
pub fn is_text(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let ending = plain.rsplit_once('.').map(|(_, ending)| ending);
    !name.starts_with('.') && ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// A line each, named by its number.
pub fn of_lines(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| ((index + 1).to_string(), line.to_owned())).collect()
}
