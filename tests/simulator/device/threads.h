// What a kernel knows about its own thread, and the block's barrier.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vectors.h"

namespace simulated {

// The thread that runs now. Every switch between fibers sets it, so a kernel
// must read it anew after each barrier: it is no constant to the compiler.
struct Thread {
    uint3 index;
    unsigned lane;
    unsigned number;
};
extern Thread* running;
extern uint3 block_index;
extern dim3 block_size;
extern dim3 grid_size;

void* dynamic_shared();

// Whether all the bytes are the running block's shared memory.
bool is_shared(const void* address, size_t bytes);

void block_barrier();

// A barrier that also counts the threads that came with a true predicate.
unsigned block_count(bool predicate);

// Ends the process with a message that names the kernel, block and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace simulated

#define threadIdx (::simulated::running->index)
#define blockIdx (::simulated::block_index)
#define blockDim (::simulated::block_size)
#define gridDim (::simulated::grid_size)
#define warpSize 32

static inline void __syncthreads() { ::simulated::block_barrier(); }
static inline int __syncthreads_count(int predicate) { return ::simulated::block_count(predicate != 0); }
static inline int __syncthreads_or(int predicate) { return ::simulated::block_count(predicate != 0) != 0; }
static inline int __syncthreads_and(int predicate) { return ::simulated::block_count(predicate == 0) == 0; }
