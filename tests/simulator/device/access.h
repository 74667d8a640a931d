// The check of every single access of a kernel, which a build with CHECKED=1
// has the compiler call: where it goes, and whether a barrier lies between it
// and another thread's access to the same shared memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simulated {

// Counts the barriers of the block, and of each of its warps. They only grow,
// from one block to the next as well, so nothing is to be reset.
extern uint32_t block_epoch;
extern uint32_t warp_epochs[32];

// Says that a thread reads or writes shared memory, other than by an access
// that the compiler sees. Without CHECKED=1 nothing listens.
void note_shared(unsigned thread, const void* address, size_t bytes, bool writes);

// A launch begins, and what was learnt of the device's memory may be outdated.
void forget_memory();

}  // namespace simulated
