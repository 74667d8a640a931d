// What libcuda.so.1 offers to the stand-ins of the libraries above it.
#pragma once

#include <cstddef>

#include "types.h"

// Queues an operation; "drop" frees its data after it ran. False if the handle
// is no stream's.
extern "C" __attribute__((visibility("default"))) bool simulated_queue(CUstream stream, const char* text,
                                                                       void (*run)(void*), void (*drop)(void*),
                                                                       void* data);

// Whether all the bytes are of one living allocation.
extern "C" __attribute__((visibility("default"))) bool simulated_is_device_memory(const void* address, size_t bytes);
