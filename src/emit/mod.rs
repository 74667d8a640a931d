//! What people and programs get to see. Renders; decides nothing.
//!
//! One file for each form: the terminal's table, `.env.optimized`, the charts, the page.

pub mod env;
mod html;
pub mod plots;
pub mod table;

pub use html::page;

/// Templates in which a line that holds only a tag leaves no empty line behind.
fn line_syntax() -> Result<minijinja::syntax::SyntaxConfig, minijinja::Error> {
    minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}
