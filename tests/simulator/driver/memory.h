// The device's memory: allocations between guards, the pools that account for
// them, and pinned memory of the host.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "streams.h"

namespace simulated {

// A stretch of the host's memory that stands for device memory, with room for
// the guards around it.
struct Block {
    char* base;
    size_t capacity;
};

struct Pool {
    unsigned number;
    size_t most;
    size_t threshold = 0;
    // In use as of the calls; given back by a call, but not yet by its stream.
    size_t used = 0;
    size_t pending = 0;
    size_t reserved = 0;
    size_t used_high = 0;
    size_t reserved_high = 0;
};

struct Allocation {
    unsigned number;
    char* address;
    size_t bytes;
    // As the pool or the device accounts for it.
    size_t accounted;
    Block block;
    std::shared_ptr<Pool> pool;
    // The operation that makes the memory, and the one that ends it.
    Done made;
    Done freed;
    bool guarded = false;
};
using Memory = std::shared_ptr<Allocation>;

// Null, and the reason, if there is no room. A null pool means memory that is
// allocated at once.
Memory allocate(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Pool>& pool, size_t bytes,
                CUresult& reason);
void free_in_order(const std::shared_ptr<Stream>& stream, const Memory& memory);
void free_at_once(const Memory& memory);
void free_everything();

// The living allocation (as of the calls) that holds all the bytes.
Memory memory_of(CUdeviceptr address, size_t bytes);

// The same as of the operations that ran: the allocation that stands there now.
Memory standing_memory(const void* address, size_t bytes);

void check_memory();
void release_above_thresholds();
void trim(Pool& pool, size_t keep);

std::shared_ptr<Pool> make_pool(size_t most);
std::shared_ptr<Pool> default_pool();

// Bytes of the device that are taken: by this context, its memory and others.
size_t device_bytes_taken();
void set_context(bool exists);

// Whether all the bytes are pinned memory of the host.
bool is_pinned(const void* address, size_t bytes);

}  // namespace simulated
