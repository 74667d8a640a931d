// How a launch is carried out; the driver calls this.
#pragma once

#include <cstddef>
#include <cstdint>

#include "registry.h"
#include "vectors.h"

namespace simulated {

// Runs every block of the grid, one after another, to its end.
void run_grid(const Kernel& kernel, dim3 grid, dim3 block, size_t dynamic_shared_bytes, void* const* parameters);

// Decides the order of blocks, warps and lanes.
void seed_grids(uint64_t seed);

// The stretches of shared memory of the block that runs.
struct SharedArea {
    const char* begin;
    size_t bytes;
};
SharedArea static_shared();
SharedArea dynamic_shared_area();

// Set by the driver, so that a kernel's accesses can be held against what is
// allocated when it runs: whether one allocation has all the bytes, and which
// stretch that is. Without it every address passes.
extern bool (*device_memory)(const void* address, size_t bytes, const char*& begin, size_t& length);

}  // namespace simulated
