// Allocations and the accounts of pools and device.
#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "settings.h"
#include "shared_state.h"
#include "trace.h"

namespace simulated {

namespace {

constexpr unsigned char poison = 0xff;
constexpr unsigned char guard = 0xa5;
constexpr size_t guard_bytes = 512;
constexpr size_t unit = 512;
// In which a pool reserves memory of the device.
constexpr size_t step = size_t(2) << 20;
constexpr size_t kept_at_most = size_t(512) << 20;
// Of a larger allocation only the ends are poisoned, so that a test can fill
// the simulated device without filling the machine.
constexpr size_t poisoned_at_most = size_t(256) << 20;

size_t rounded(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

struct State {
    std::map<uintptr_t, Memory> living;
    // Whose guards stand, as of the operations that ran.
    std::map<uintptr_t, Memory> guarded;
    // Freed in the order of a stream whose operation has not run.
    std::vector<Memory> pending;
    // Whose free has run, oldest first.
    std::vector<Block> kept;
    size_t kept_bytes = 0;
    std::vector<std::weak_ptr<Pool>> pools;
    std::shared_ptr<Pool> by_default;
    unsigned numbers = 0;
    unsigned pool_numbers = 0;
    uint64_t attempts = 0;
    size_t direct = 0;
    bool context = false;
    SharedState* shared = nullptr;
    SharedState::Process* own = nullptr;
};

State& state() {
    static State& instance = *new State;
    return instance;
}

void tell_others() {
    State& all = state();
    if (all.shared == nullptr) all.shared = open_shared_state(settings().state);
    if (all.shared == nullptr) return;
    const int32_t process = getpid();
    if (all.own == nullptr || all.own->id != process) {
        all.own = nullptr;
        for (auto& slot : all.shared->processes) {
            int32_t owner = slot.id;
            if (owner != process && lives(owner)) continue;
            if (!slot.id.compare_exchange_strong(owner, process)) continue;
            all.own = &slot;
            break;
        }
        if (all.own == nullptr) broken("no slot is free in " + settings().state);
    }
    size_t bytes = all.context ? context_bytes : 0;
    bytes += all.direct;
    for (const auto& pool : all.pools)
        if (const auto living = pool.lock()) bytes += living->reserved;
    all.own->bytes = bytes;
}

// A process that ends gives its slot back, so that none seems to hold memory.
struct Farewell {
    ~Farewell() {
        if (state().own != nullptr && state().own->id == getpid()) {
            state().own->bytes = 0;
            state().own->id = 0;
        }
    }
} farewell;

Block take_block(size_t bytes) {
    State& all = state();
    const size_t needed = rounded(bytes, unit);
    // The memory that was freed last comes first: who still uses it shows.
    for (auto at = all.kept.rbegin(); at != all.kept.rend(); ++at) {
        if (at->capacity < needed || at->capacity > 2 * needed) continue;
        const Block block = *at;
        all.kept.erase(std::next(at).base());
        all.kept_bytes -= block.capacity;
        return block;
    }
    void* base = nullptr;
    if (posix_memalign(&base, unit, needed + 2 * guard_bytes) != 0) broken("the host has no memory left");
    return {static_cast<char*>(base), needed};
}

void keep_block(const Block& block) {
    State& all = state();
    all.kept.push_back(block);
    all.kept_bytes += block.capacity;
    while (all.kept_bytes > kept_at_most && nothing_waits()) {
        std::free(all.kept.front().base);
        all.kept_bytes -= all.kept.front().capacity;
        all.kept.erase(all.kept.begin());
    }
}

void fill_with_poison(const Allocation& memory) {
    if (memory.bytes <= poisoned_at_most) {
        std::memset(memory.address, poison, memory.bytes);
    } else {
        const size_t each = poisoned_at_most / 8;
        std::memset(memory.address, poison, each);
        std::memset(memory.address + memory.bytes - each, poison, each);
    }
}

void make(const Memory& memory) {
    std::memset(memory->block.base, guard, guard_bytes);
    fill_with_poison(*memory);
    std::memset(memory->address + memory->bytes, guard, guard_bytes);
    memory->guarded = true;
    state().guarded[reinterpret_cast<uintptr_t>(memory->address)] = memory;
}

void check(const Allocation& memory) {
    const auto wrong = [](const char* begin) {
        for (size_t at = 0; at < guard_bytes; ++at)
            if (static_cast<unsigned char>(begin[at]) != guard) return ptrdiff_t(at);
        return ptrdiff_t(-1);
    };
    const std::string which =
        "allocation " + std::to_string(memory.number) + " of " + std::to_string(memory.bytes) + " bytes was written ";
    const ptrdiff_t before = wrong(memory.block.base);
    if (before >= 0) broken(which + std::to_string(guard_bytes - size_t(before)) + " bytes before its start");
    const ptrdiff_t behind = wrong(memory.address + memory.bytes);
    if (behind >= 0) broken(which + std::to_string(behind) + " bytes behind its end");
}

void unmake(const Memory& memory) {
    check(*memory);
    fill_with_poison(*memory);
    memory->guarded = false;
    state().guarded.erase(reinterpret_cast<uintptr_t>(memory->address));
}

size_t taken_by_others() {
    size_t bytes = settings().taken;
    if (state().shared == nullptr) return bytes;
    for (const auto& slot : state().shared->processes)
        if (&slot != state().own && lives(slot.id)) bytes += slot.bytes;
    return bytes;
}

void release_unused() {
    for (const auto& weak : state().pools)
        if (const auto pool = weak.lock()) trim(*pool, 0);
}

bool device_has(size_t more) {
    const auto fits = [more] { return device_bytes_taken() + more <= settings().memory; };
    if (fits()) return true;
    release_unused();
    return fits();
}

// Makes sure that the pool has this much of the device.
bool reserve(Pool& pool, size_t bytes) {
    if (bytes <= pool.reserved) return true;
    if (bytes > pool.most) return false;
    const size_t wanted = std::min(rounded(bytes, step), pool.most);
    const auto fits = [&] { return device_bytes_taken() - pool.reserved + wanted <= settings().memory; };
    if (!fits()) release_unused();
    if (!fits()) return false;
    pool.reserved = wanted;
    pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
    return true;
}

// A block that the same stream gave back, though it has not come to that yet:
// its order keeps the uses apart.
Memory same_stream(const std::shared_ptr<Stream>& stream, const Pool& pool, size_t bytes) {
    const size_t needed = rounded(bytes, unit);
    auto& pending = state().pending;
    for (auto at = pending.rbegin(); at != pending.rend(); ++at) {
        const Memory& memory = *at;
        if (memory->pool.get() != &pool || memory->freed->stream != stream) continue;
        if (memory->block.capacity < needed || memory->block.capacity > 2 * needed) continue;
        const Memory found = memory;
        pending.erase(std::next(at).base());
        return found;
    }
    return nullptr;
}

}  // namespace

size_t device_bytes_taken() {
    size_t bytes = state().direct + (state().context ? context_bytes : 0) + taken_by_others();
    for (const auto& weak : state().pools)
        if (const auto pool = weak.lock()) bytes += pool->reserved;
    return bytes;
}

void set_context(bool exists) {
    state().context = exists;
    tell_others();
}

Memory allocate(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Pool>& pool, size_t bytes,
                CUresult& reason) {
    State& all = state();
    reason = CUDA_ERROR_INVALID_VALUE;
    if (bytes == 0) return nullptr;
    reason = CUDA_ERROR_OUT_OF_MEMORY;
    if (++all.attempts == settings().failing_allocation) return nullptr;

    auto memory = std::make_shared<Allocation>();
    memory->bytes = bytes;
    memory->accounted = rounded(bytes, unit);
    memory->pool = pool;
    std::vector<Done> after;
    if (pool == nullptr) {
        if (!device_has(memory->accounted)) return nullptr;
        all.direct += memory->accounted;
        memory->block = take_block(bytes);
    } else {
        const Memory reused = same_stream(stream, *pool, bytes);
        if (reused != nullptr) pool->pending -= reused->accounted;
        if (!reserve(*pool, pool->used + pool->pending + memory->accounted)) {
            // The pool takes what other streams gave back, and lets this stream
            // wait until they have.
            if (!reserve(*pool, pool->used + memory->accounted)) {
                if (reused != nullptr) {
                    pool->pending += reused->accounted;
                    all.pending.push_back(reused);
                }
                return nullptr;
            }
            std::vector<Memory> others;
            for (const Memory& other : all.pending) {
                if (other->pool == pool) {
                    pool->pending -= other->accounted;
                    after.push_back(other->freed);
                    // Its bytes are accounted for from now on; its block stays
                    // with the operation.
                    other->pool = nullptr;
                }
                others.push_back(other);
            }
            all.pending = others;
        }
        pool->used += memory->accounted;
        pool->used_high = std::max(pool->used_high, pool->used);
        memory->block = reused != nullptr ? reused->block : take_block(bytes);
    }
    memory->number = ++all.numbers;
    memory->address = memory->block.base + guard_bytes;
    all.living[reinterpret_cast<uintptr_t>(memory->address)] = memory;
    const std::string text = "allocate memory=" + std::to_string(memory->number) + " bytes=" + std::to_string(bytes);
    if (pool == nullptr) {
        trace("now " + text);
        make(memory);
    } else {
        memory->made = queue(stream, text + " pool=" + std::to_string(pool->number), 0, [memory] { make(memory); }, after);
    }
    tell_others();
    reason = CUDA_SUCCESS;
    return memory;
}

void free_in_order(const std::shared_ptr<Stream>& stream, const Memory& memory) {
    State& all = state();
    all.living.erase(reinterpret_cast<uintptr_t>(memory->address));
    if (memory->pool != nullptr) {
        memory->pool->used -= memory->accounted;
        memory->pool->pending += memory->accounted;
    }
    const bool direct = memory->pool == nullptr;
    const auto run = [memory, direct] {
        State& now = state();
        unmake(memory);
        const auto found = std::find(now.pending.begin(), now.pending.end(), memory);
        // It is no longer among them if an allocation of its stream took it over.
        if (found != now.pending.end()) {
            now.pending.erase(found);
            if (memory->pool != nullptr) memory->pool->pending -= memory->accounted;
            if (direct) now.direct -= memory->accounted;
            keep_block(memory->block);
        }
        tell_others();
    };
    all.pending.push_back(memory);
    const std::string text = "free memory=" + std::to_string(memory->number) + " bytes=" + std::to_string(memory->bytes);
    // With the eager schedule the operation runs before queue() returns.
    memory->freed = queue(stream, text, 0, run);
}

void free_at_once(const Memory& memory) {
    State& all = state();
    if (memory->made != nullptr) force(memory->made);
    trace("now free memory=" + std::to_string(memory->number) + " bytes=" + std::to_string(memory->bytes));
    unmake(memory);
    all.living.erase(reinterpret_cast<uintptr_t>(memory->address));
    if (memory->pool != nullptr)
        memory->pool->used -= memory->accounted;
    else
        all.direct -= memory->accounted;
    keep_block(memory->block);
    tell_others();
}

void free_everything() {
    for (const auto& [address, memory] : std::map<uintptr_t, Memory>(state().living)) free_at_once(memory);
}

static Memory memory_at(const std::map<uintptr_t, Memory>& all, uintptr_t address, size_t bytes) {
    auto found = all.upper_bound(address);
    if (found == all.begin()) return nullptr;
    --found;
    const size_t offset = address - found->first;
    const Memory& memory = found->second;
    if (offset > memory->bytes || bytes > memory->bytes - offset) return nullptr;
    return memory;
}

Memory memory_of(CUdeviceptr address, size_t bytes) { return memory_at(state().living, uintptr_t(address), bytes); }

Memory standing_memory(const void* address, size_t bytes) {
    return memory_at(state().guarded, reinterpret_cast<uintptr_t>(address), bytes);
}

void check_memory() {
    for (const auto& [address, memory] : state().guarded) check(*memory);
}

void trim(Pool& pool, size_t keep) {
    const size_t needed = std::min(rounded(pool.used + pool.pending, step), pool.most);
    pool.reserved = std::max(needed, std::min(pool.reserved, keep));
}

void release_above_thresholds() {
    for (const auto& weak : state().pools)
        if (const auto pool = weak.lock()) trim(*pool, pool->threshold);
    tell_others();
}

std::shared_ptr<Pool> make_pool(size_t most) {
    auto pool = std::make_shared<Pool>();
    pool->number = state().pool_numbers++;
    pool->most = most == 0 ? settings().memory : most;
    state().pools.push_back(pool);
    return pool;
}

std::shared_ptr<Pool> default_pool() {
    if (state().by_default == nullptr) state().by_default = make_pool(0);
    return state().by_default;
}

}  // namespace simulated
