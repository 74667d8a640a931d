// The tensor core's product and its loads, as a kernel calls them.
#pragma once

#include <cstdint>

#include "numbers.h"
#include "warp.h"

namespace simulated {
namespace tensor_core {

struct Product {
    float* d;
    const uint32_t* a;
    const uint32_t* b;
};

// Defined in tensor_core.cpp, where no sanitizer slows them down.
template <typename Number>
void multiply(const Gathering& all);

struct Load {
    uint32_t* registers;
    const void* row;
};

template <unsigned count, bool transposed>
void load(const Gathering& all);

template <unsigned count, bool transposed>
inline void loaded(uint32_t (&registers)[count], const void* row, const char* name) {
    Load own{registers, row};
    warp_together(0xffffffffu, load<count, transposed>, &own, name);
}

template <typename Number>
inline void multiplied(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    Product own{d, a, b};
    warp_together(0xffffffffu, multiply<Number>, &own, "mma_m16n8k16");
}

}  // namespace tensor_core
}  // namespace simulated

// d += a * b; a is 16 by 16 in rows, b is 16 by 8 in columns.
static inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half) {
    ::simulated::tensor_core::multiplied<__half>(d, a, b);
}
static inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __nv_bfloat16) {
    ::simulated::tensor_core::multiplied<__nv_bfloat16>(d, a, b);
}

static inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
    ::simulated::tensor_core::loaded<4, false>(r, row, "ldmatrix_x4");
}
static inline void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) {
    ::simulated::tensor_core::loaded<4, true>(r, row, "ldmatrix_x4_transposed");
}
static inline void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
    ::simulated::tensor_core::loaded<2, false>(r, row, "ldmatrix_x2");
}
static inline void ldmatrix_x2_transposed(uint32_t (&r)[2], const void* row) {
    ::simulated::tensor_core::loaded<2, true>(r, row, "ldmatrix_x2_transposed");
}
