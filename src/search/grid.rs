//! Every candidate, or as many as there is room for, evenly spread over the grid.

use super::{Observation, Search};
use crate::knob::Candidate;

pub struct Grid {
    left: Vec<Candidate>,
}

impl Grid {
    pub fn new(space: &[Candidate], room: usize) -> Self {
        let room = room.min(space.len());
        // The first member and the last are in, and the steps between differ by one at most.
        let place = |step: usize| match room {
            0 | 1 => 0,
            _ => step * (space.len() - 1) / (room - 1),
        };
        Grid { left: (0..room).map(|step| space[place(step)].clone()).collect() }
    }
}

impl Search for Grid {
    fn next(&mut self, _: &[Observation]) -> Vec<Candidate> {
        std::mem::take(&mut self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::space;

    fn tried(size: i64, room: usize) -> Vec<i64> {
        let mut grid = Grid::new(&space(size), room);
        let tried = grid.next(&[]).iter().map(crate::search::tests::number).collect();
        assert!(grid.next(&[]).is_empty());
        tried
    }

    #[test]
    fn a_grid_is_tried_whole_or_evenly() {
        assert_eq!(tried(4, 100), [0, 1, 2, 3]);
        assert_eq!(tried(10, 4), [0, 3, 6, 9]);
        assert_eq!(tried(10, 1), [0]);
        assert!(tried(10, 0).is_empty());
    }
}
