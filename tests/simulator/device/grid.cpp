// Runs the blocks of a grid: the threads of a block as fibers, in an order that
// a seed permutes, with the barriers of block and warp between them.
#include "grid.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "access.h"
#include "copy.h"
#include "fiber.h"
#include "threads.h"
#include "warp.h"

// The linker makes these from the section's name; a build without static shared
// memory has neither.
extern "C" char __start_simulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_simulated_shared[] __attribute__((weak, visibility("hidden")));

namespace simulated {

Thread* running = nullptr;
uint3 block_index;
dim3 block_size;
dim3 grid_size;
bool (*device_memory)(const void* address, size_t bytes, const char*& begin, size_t& length) = nullptr;

namespace {

constexpr unsigned char poison = 0xff;
constexpr unsigned char guard = 0xa5;
constexpr size_t guard_bytes = 1024;
constexpr unsigned most_threads = 1024;

struct Copy {
    void* shared;
    const void* global;
    bool valid;
    unsigned group;
};

struct Member {
    Thread thread;
    Fiber fiber;
    std::vector<Copy> copies;
    unsigned groups = 0;
    // What the thread waits for in its warp, while it does.
    unsigned mask = 0;
    Together together = nullptr;
    void* operand = nullptr;
    const char* name = nullptr;
};

struct Warp {
    unsigned living = 0;
    unsigned ready = 0;
    unsigned gathering = 0;
    unsigned at_barrier = 0;
};

struct Order {
    uint64_t state = 1;
    unsigned draw() {
        state = state * 6364136223846793005u + 1442695040888963407u;
        return unsigned(state >> 33);
    }
};

// The state of the one block that runs; there is never a second.
struct Block {
    const Kernel* kernel = nullptr;
    void* const* parameters = nullptr;
    std::vector<std::unique_ptr<Member>> members;
    std::vector<Warp> warps;
    std::vector<unsigned char> shared;
    unsigned char* dynamic = nullptr;
    size_t dynamic_bytes = 0;
    unsigned size = 0;
    unsigned living = 0;
    unsigned waiting = 0;
    unsigned counted = 0;
    unsigned count = 0;
    Order order;
};
Block block;

Member& member() { return *block.members[running->number]; }

Warp& warp_of(const Member& member) { return block.warps[member.thread.number / 32]; }

Member& lane_of(const Warp& warp, unsigned lane) {
    return *block.members[size_t(&warp - block.warps.data()) * 32 + lane];
}

// Lets a warp's operation happen if all came that live and are in the mask.
bool try_together(Warp& warp, unsigned mask, Together together) {
    const unsigned lanes = mask & warp.living;
    if ((warp.gathering & lanes) != lanes) return false;
    Gathering all{lanes, {}};
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!all.has(lane)) continue;
        const Member& other = lane_of(warp, lane);
        if (other.mask != mask || other.together != together) return false;
        all.operands[lane] = other.operand;
    }
    together(all);
    ++warp_epochs[&warp - block.warps.data()];
    warp.gathering &= ~lanes;
    warp.ready |= lanes;
    return true;
}

void end_of_thread() {
    Member& own = member();
    Warp& warp = warp_of(own);
    warp.living &= ~(1u << own.thread.lane);
    --block.living;
    own.copies.clear();
    // Those who waited for this thread no longer do.
    for (unsigned lane = 0; lane < 32; ++lane) {
        if ((warp.gathering >> lane & 1u) == 0) continue;
        const Member& other = lane_of(warp, lane);
        try_together(warp, other.mask, other.together);
    }
    own.fiber.leave();
}

void begin_of_thread() {
    block.kernel->call(block.kernel->function, block.parameters);
    end_of_thread();
}

[[noreturn]] void stuck() {
    running = nullptr;
    for (unsigned at = 0; at < block.size; ++at) {
        const Member& other = *block.members[at];
        if ((warp_of(other).gathering >> other.thread.lane & 1u) == 0) continue;
        fail("thread %u waits in %s with mask 0x%08x for lanes of its warp that never come; "
             "%u of %u living threads wait at __syncthreads",
             at, other.name, other.mask, block.waiting, block.living);
    }
    fail("a barrier that not all threads reach");
}

void release_barrier() {
    block.waiting = 0;
    block.count = block.counted;
    block.counted = 0;
    ++block_epoch;
    for (Warp& warp : block.warps) {
        warp.ready |= warp.at_barrier;
        warp.at_barrier = 0;
    }
}

// Runs each ready lane of the warp once, in an order drawn anew.
void run_warp(Warp& warp) {
    const unsigned draw = block.order.draw();
    const unsigned step = draw | 1u;
    const unsigned start = draw >> 8;
    for (unsigned i = 0; i < 32; ++i) {
        const unsigned lane = (i * step + start) & 31u;
        if ((warp.ready >> lane & 1u) == 0) continue;
        warp.ready &= ~(1u << lane);
        Member& next = lane_of(warp, lane);
        running = &next.thread;
        next.fiber.enter();
        running = nullptr;
    }
}

void poison_shared() {
    if (static_shared().bytes != 0) std::memset(__start_simulated_shared, poison, static_shared().bytes);
    std::memset(block.dynamic, poison, block.dynamic_bytes);
    std::memset(block.dynamic + block.dynamic_bytes, guard, guard_bytes);
}

void check_shared() {
    for (size_t at = 0; at < guard_bytes; ++at)
        if (block.dynamic[block.dynamic_bytes + at] != guard)
            fail("writes behind its %zu bytes of dynamic shared memory, at byte %zu", block.dynamic_bytes,
                 block.dynamic_bytes + at);
}

void run_block() {
    poison_shared();
    ++block_epoch;
    block.living = block.size;
    block.waiting = 0;
    block.counted = 0;
    block.warps.assign((block.size + 31) / 32, Warp());
    for (unsigned at = 0; at < block.size; ++at) {
        Member& own = *block.members[at];
        own.copies.clear();
        own.groups = 0;
        own.fiber.prepare(begin_of_thread);
        Warp& warp = block.warps[at / 32];
        warp.living |= 1u << at % 32;
        warp.ready |= 1u << at % 32;
    }
    while (block.living != 0) {
        const size_t first = block.order.draw() % block.warps.size();
        Warp* next = nullptr;
        for (size_t i = 0; i < block.warps.size() && next == nullptr; ++i) {
            Warp& warp = block.warps[(first + i) % block.warps.size()];
            if (warp.ready != 0) next = &warp;
        }
        if (next != nullptr)
            run_warp(*next);
        else if (block.waiting == block.living)
            release_barrier();
        else
            stuck();
    }
    check_shared();
}

}  // namespace

void fail(const char* format, ...) {
    std::fflush(stdout);
    std::fprintf(stderr, "simulator: kernel %s", block.kernel != nullptr ? block.kernel->name.c_str() : "(none)");
    if (block.kernel != nullptr)
        std::fprintf(stderr, ", block (%u,%u,%u)", block_index.x, block_index.y, block_index.z);
    if (running != nullptr)
        std::fprintf(stderr, ", thread (%u,%u,%u)", running->index.x, running->index.y, running->index.z);
    std::fprintf(stderr, ": ");
    va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
    std::fprintf(stderr, "\n");
    std::abort();
}

SharedArea static_shared() {
    if (__start_simulated_shared == nullptr) return {nullptr, 0};
    return {__start_simulated_shared, size_t(__stop_simulated_shared - __start_simulated_shared)};
}

SharedArea dynamic_shared_area() { return {reinterpret_cast<const char*>(block.dynamic), block.dynamic_bytes}; }

void* dynamic_shared() { return block.dynamic; }

bool is_shared(const void* address, size_t bytes) {
    const auto* begin = static_cast<const char*>(address);
    for (const SharedArea& area : {static_shared(), dynamic_shared_area()})
        if (begin >= area.begin && area.bytes >= bytes && begin <= area.begin + (area.bytes - bytes)) return true;
    return false;
}

void block_barrier() {
    Member& own = member();
    warp_of(own).at_barrier |= 1u << own.thread.lane;
    ++block.waiting;
    own.fiber.leave();
}

unsigned block_count(bool predicate) {
    if (predicate) ++block.counted;
    block_barrier();
    return block.count;
}

void warp_together(unsigned mask, Together together, void* operand, const char* name) {
    Member& own = member();
    Warp& warp = warp_of(own);
    const unsigned bit = 1u << own.thread.lane;
    if ((mask & bit) == 0) fail("%s with mask 0x%08x, which leaves the calling lane %u out", name, mask, own.thread.lane);
    own.mask = mask;
    own.together = together;
    own.operand = operand;
    own.name = name;
    warp.gathering |= bit;
    if (try_together(warp, mask, together))
        warp.ready &= ~bit;
    else
        own.fiber.leave();
}

void copy_issue(void* shared, const void* global, bool valid) {
    if (reinterpret_cast<uintptr_t>(shared) % 16 != 0)
        fail("copy_async_16: the destination is not aligned to 16 bytes");
    if (!is_shared(shared, 16)) fail("copy_async_16: the destination is not in shared memory");
    if (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0)
        fail("copy_async_16: the source is not aligned to 16 bytes");
    const char* begin;
    size_t length;
    if (valid && device_memory != nullptr && !device_memory(global, 16, begin, length))
        fail("copy_async_16: the source is not inside of an allocation");
    note_shared(running->number, shared, 16, true);
    std::memset(shared, poison, 16);
    Member& own = member();
    own.copies.push_back({shared, global, valid, own.groups});
}

void copy_commit() { ++member().groups; }

void copy_wait(unsigned pending_groups) {
    Member& own = member();
    size_t kept = 0;
    for (const Copy& copy : own.copies) {
        if (copy.group >= own.groups || copy.group + pending_groups >= own.groups) {
            own.copies[kept++] = copy;
            continue;
        }
        // The copy landed at some time since it was issued, with or without
        // barriers in between: it is one more write of this thread.
        note_shared(running->number, copy.shared, 16, true);
        if (copy.valid)
            std::memcpy(copy.shared, copy.global, 16);
        else
            std::memset(copy.shared, 0, 16);
    }
    own.copies.resize(kept);
}

void seed_grids(uint64_t seed) { block.order.state = seed * 2 + 1; }

void run_grid(const Kernel& kernel, dim3 grid, dim3 size, size_t dynamic_shared_bytes, void* const* parameters) {
    forget_memory();
    block.kernel = &kernel;
    block.parameters = parameters;
    block.size = size.x * size.y * size.z;
    if (block.size == 0 || block.size > most_threads) fail("a block of %u threads", block.size);
    block_size = size;
    grid_size = grid;
    while (block.members.size() < block.size) block.members.push_back(std::make_unique<Member>());
    for (unsigned at = 0; at < block.size; ++at) {
        Thread& thread = block.members[at]->thread;
        thread.index = {at % size.x, at / size.x % size.y, at / size.x / size.y};
        thread.lane = at % 32;
        thread.number = at;
    }
    // The start is aligned as CUDA aligns it, and no better: a kernel that
    // needs more than 16 bytes must ask for it.
    block.shared.resize(dynamic_shared_bytes + guard_bytes + 128);
    const size_t misplaced = reinterpret_cast<uintptr_t>(block.shared.data()) % 128;
    block.dynamic = block.shared.data() + (128 - misplaced);
    block.dynamic_bytes = dynamic_shared_bytes;

    // Blocks run in any order on the device; here forwards or backwards from a
    // start that is drawn.
    const uint64_t count = uint64_t(grid.x) * grid.y * grid.z;
    const uint64_t first = block.order.draw() % count;
    const bool backwards = (block.order.draw() & 1u) != 0;
    for (uint64_t i = 0; i < count; ++i) {
        const uint64_t at = (first + (backwards ? count - i : i)) % count;
        block_index = {unsigned(at % grid.x), unsigned(at / grid.x % grid.y), unsigned(at / grid.x / grid.y)};
        run_block();
    }
    block.kernel = nullptr;
    block.dynamic = nullptr;
    block.dynamic_bytes = 0;
}

}  // namespace simulated
