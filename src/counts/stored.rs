//! Counts as a document: what `autotune counts --json` prints, read again.

use std::path::Path;

use crate::analysis::counts::{Counts, FORMAT};
use crate::suite::Problem;

/// Reads a file of counts that a flag names.
pub fn read(flag: &str, file: &Path) -> Result<Counts, Problem> {
    let wrong = |why: String| Problem::new(format!("{flag} {}", file.display()), why);
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

/// Reads a document, or says why it tells nothing.
pub fn parse(text: &str) -> Result<Counts, String> {
    let counts: Counts = serde_json::from_str(text)
        .map_err(|error| format!("not a document of `autotune counts --json`: {error}"))?;
    if counts.format != FORMAT {
        return Err(format!(
            "counts of format {}, and this version takes format {FORMAT}: take them again with this version",
            counts.format
        ));
    }
    // One that holds only reasons would let everything pass.
    if counts.entries.iter().all(|entry| entry.groups.is_empty()) {
        return Err("there are no counts in it".to_owned());
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_counts_is_refused() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert!(refused("").contains("not a document"));
        assert!(refused("{\"format\": 1, \"suite\": \"s\"").contains("not a document"));
        assert!(refused("[]").contains("not a document"));
        let with = |format: u32| {
            format!(
                "{{\"format\": {format}, \"suite\": \"s\", \"corpus_digest\": \"\", \"processor\": \"\", \"entries\": []}}"
            )
        };
        assert!(refused(&with(FORMAT)).contains("no counts"));
        assert!(refused(&with(FORMAT + 1)).contains("take them again"));
        assert!(read("--beside", Path::new("nowhere")).unwrap_err().to_string().contains("--beside nowhere"));
    }
}
