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

// All the static shared memory of all kernels together.
size_t static_shared_bytes();

// Set by the driver, so that a kernel's copies can be held against what is
// allocated; without it every address passes.
extern bool (*is_device_memory)(const void* address, size_t bytes);

}  // namespace simulated
