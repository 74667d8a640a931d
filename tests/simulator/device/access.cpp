// The functions that -fsanitize=thread calls at each access.
#include "access.h"

#include <vector>

#include "fiber.h"
#include "grid.h"
#include "threads.h"

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));
extern "C" const char _end[] __attribute__((visibility("hidden")));

namespace simulated {

uint32_t block_epoch = 1;
uint32_t warp_epochs[32];

namespace {

// Whether the compiler's calls come at all.
bool checked = false;

// The last write and the reads of one byte of shared memory.
struct Shadow {
    uint32_t write_block = 0, write_warp = 0;
    uint32_t read_block = 0, read_warp = 0;
    uint16_t writer = 0, reader = 0;
    // More than one reader since the warp's barrier; readers of other warps.
    bool readers = false, warps = false;
};
std::vector<Shadow> fixed;
std::vector<Shadow> dynamic;

const char* memory_begin = nullptr;
const char* memory_end = nullptr;

Shadow* shadow_of(const void* address, size_t bytes) {
    const SharedArea areas[] = {static_shared(), dynamic_shared_area()};
    std::vector<Shadow>* shadows[] = {&fixed, &dynamic};
    const auto* begin = static_cast<const char*>(address);
    for (int i = 0; i < 2; ++i) {
        if (begin < areas[i].begin || begin + bytes > areas[i].begin + areas[i].bytes) continue;
        if (shadows[i]->size() < areas[i].bytes) shadows[i]->resize(areas[i].bytes);
        return shadows[i]->data() + (begin - areas[i].begin);
    }
    return nullptr;
}

// Whether nothing orders an access of the one thread before the other's.
bool unordered(unsigned before, uint32_t epoch, unsigned now) {
    return before / 32 != now / 32 || epoch == warp_epochs[now / 32];
}

void read(Shadow& byte, unsigned thread) {
    if (byte.write_block == block_epoch && byte.writer != thread && unordered(byte.writer, byte.write_warp, thread))
        fail("race: thread %u reads shared memory that thread %u wrote, and no barrier is between", thread, byte.writer);
    const uint32_t warp_epoch = warp_epochs[thread / 32];
    if (byte.read_block != block_epoch) {
        byte.readers = byte.warps = false;
    } else if (byte.reader / 32 != thread / 32) {
        byte.warps = true;
    } else if (byte.read_warp != warp_epoch) {
        byte.readers = false;
    } else if (byte.reader != thread) {
        byte.readers = true;
    }
    byte.read_block = block_epoch;
    byte.read_warp = warp_epoch;
    byte.reader = uint16_t(thread);
}

void write(Shadow& byte, unsigned thread) {
    if (byte.write_block == block_epoch && byte.writer != thread && unordered(byte.writer, byte.write_warp, thread))
        fail("race: thread %u writes shared memory that thread %u wrote, and no barrier is between", thread, byte.writer);
    if (byte.read_block == block_epoch &&
        (byte.warps || ((byte.readers || byte.reader != thread) && unordered(byte.reader, byte.read_warp, thread))))
        fail("race: thread %u writes shared memory that thread %u%s read, and no barrier is between", thread, byte.reader,
             byte.warps || byte.readers ? " (among others)" : "");
    byte.write_block = block_epoch;
    byte.write_warp = warp_epochs[thread / 32];
    byte.writer = uint16_t(thread);
}

void note(Shadow* shadow, unsigned thread, size_t bytes, bool writes) {
    for (size_t at = 0; at < bytes; ++at) writes ? write(shadow[at], thread) : read(shadow[at], thread);
}

void check(const void* address, size_t bytes, bool writes) {
    checked = true;
    // What runs outside of a grid's threads is the simulator's own.
    if (running == nullptr) return;
    const auto* begin = static_cast<const char*>(address);
    if (begin >= memory_begin && begin + bytes <= memory_end) return;
    if (Fiber::is_stack(address)) return;
    // threadIdx is read from here.
    if (begin >= reinterpret_cast<const char*>(running) && begin < reinterpret_cast<const char*>(running + 1)) return;
    if (Shadow* shadow = shadow_of(address, bytes)) {
        note(shadow, running->number, bytes, writes);
        return;
    }
    size_t length = 0;
    if (device_memory != nullptr && device_memory(address, bytes, memory_begin, length)) {
        memory_end = memory_begin + length;
        return;
    }
    memory_begin = memory_end = nullptr;
    // Constants of the kernels' own code.
    if (begin >= __ehdr_start && begin < _end && !writes) return;
    fail("%s %zu bytes at %p, which is outside of every allocation", writes ? "writes" : "reads", bytes, address);
}

}  // namespace

void note_shared(unsigned thread, const void* address, size_t bytes, bool writes) {
    if (!checked) return;
    if (Shadow* shadow = shadow_of(address, bytes)) note(shadow, thread, bytes, writes);
}

void forget_memory() { memory_begin = memory_end = nullptr; }

}  // namespace simulated

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_read_range(const void* address, size_t bytes) { simulated::check(address, bytes, false); }
void __tsan_write_range(const void* address, size_t bytes) { simulated::check(address, bytes, true); }

#define SIMULATED_ACCESS(bytes)                                                                                 \
    void __tsan_read##bytes(const void* address) { simulated::check(address, bytes, false); }                   \
    void __tsan_write##bytes(const void* address) { simulated::check(address, bytes, true); }                   \
    void __tsan_unaligned_read##bytes(const void* address) { simulated::check(address, bytes, false); }         \
    void __tsan_unaligned_write##bytes(const void* address) { simulated::check(address, bytes, true); }
SIMULATED_ACCESS(1)
SIMULATED_ACCESS(2)
SIMULATED_ACCESS(4)
SIMULATED_ACCESS(8)
SIMULATED_ACCESS(16)
}
