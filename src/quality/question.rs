//! What answers are answers to.

use crate::item::Item;
use crate::suite::Gold;
use crate::task::Task;

#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub task: Task,
    pub items: &'a [Item],
    /// What people say of the items, if anybody does.
    pub gold: Option<&'a Gold>,
}
