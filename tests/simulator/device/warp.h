// The operations in which the threads of a warp take part together.
#pragma once

#include <cstring>

#include "threads.h"

namespace simulated {

// The lanes that came, and what each of them brought.
struct Gathering {
    unsigned lanes;
    void* operands[32];

    bool has(unsigned lane) const { return lane < 32 && (lanes >> lane & 1u) != 0; }
    template <typename T>
    T& operand(unsigned lane) const { return *static_cast<T*>(operands[lane]); }
};

// Carries out an operation once for all its lanes.
using Together = void (*)(const Gathering&);

// Waits until every living lane of the mask came with the same operation, which
// the last of them carries out for all. A lane that never comes ends the
// process.
void warp_together(unsigned mask, Together together, void* operand, const char* name);

namespace warp {

// What a lane gets from a lane that is not there is undefined on the device.
template <typename T>
T undefined() {
    T value;
    std::memset(static_cast<void*>(&value), 0xff, sizeof value);
    return value;
}

enum class Way { from, exclusive_or, up, down };

template <typename T>
struct Shuffle {
    T value;
    T result;
    unsigned argument;
    unsigned width;
};

template <typename T, Way way>
void shuffle(const Gathering& all) {
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (!all.has(lane)) continue;
        auto& own = all.operand<Shuffle<T>>(lane);
        const unsigned first = lane & ~(own.width - 1);
        const unsigned last = first + own.width - 1;
        unsigned source = lane;
        switch (way) {
            case Way::from: source = first + (own.argument & (own.width - 1)); break;
            case Way::exclusive_or:
                source = lane ^ own.argument;
                // A source in a later segment gives the lane its own value.
                if (source > last) source = lane;
                break;
            case Way::up: source = lane < first + own.argument ? lane : lane - own.argument; break;
            case Way::down: source = lane + own.argument > last ? lane : lane + own.argument; break;
        }
        own.result = all.has(source) ? all.operand<Shuffle<T>>(source).value : undefined<T>();
    }
}

template <Way way, typename T>
T shuffled(unsigned mask, T value, unsigned argument, int width, const char* name) {
    Shuffle<T> own{value, value, argument, unsigned(width)};
    warp_together(mask, shuffle<T, way>, &own, name);
    return own.result;
}

struct Vote {
    bool predicate;
    unsigned result;
};

inline void ballot(const Gathering& all) {
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (all.has(lane) && all.operand<Vote>(lane).predicate) result |= 1u << lane;
    for (unsigned lane = 0; lane < 32; ++lane)
        if (all.has(lane)) all.operand<Vote>(lane).result = result;
}

inline void barrier(const Gathering&) {}

}  // namespace warp
}  // namespace simulated

static inline void __syncwarp(unsigned mask = 0xffffffffu) {
    ::simulated::warp_together(mask, ::simulated::warp::barrier, nullptr, "__syncwarp");
}

template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    return ::simulated::warp::shuffled<::simulated::warp::Way::from>(mask, value, unsigned(source), width, "__shfl_sync");
}

template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
    return ::simulated::warp::shuffled<::simulated::warp::Way::exclusive_or>(mask, value, unsigned(lanes), width, "__shfl_xor_sync");
}

template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return ::simulated::warp::shuffled<::simulated::warp::Way::up>(mask, value, delta, width, "__shfl_up_sync");
}

template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return ::simulated::warp::shuffled<::simulated::warp::Way::down>(mask, value, delta, width, "__shfl_down_sync");
}

static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    ::simulated::warp::Vote own{predicate != 0, 0};
    ::simulated::warp_together(mask, ::simulated::warp::ballot, &own, "__ballot_sync");
    return own.result;
}

static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
