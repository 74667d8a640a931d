// The tensor core's product and its loads, with the fragment layouts of the PTX
// instruction set: "Matrix Fragments for mma.m16n8k16 with floating point type"
// and "ldmatrix", .m8n8 .shared.b16.
#pragma once

#include <cstdint>
#include <cstring>

#include "access.h"
#include "numbers.h"
#include "warp.h"

namespace simulated {
namespace tensor_core {

struct Product {
    float* d;
    const uint32_t* a;
    const uint32_t* b;
};

template <typename Number>
float number_of(uint32_t pair, unsigned which) {
    Number number;
    number.bits = uint16_t(pair >> (16 * which));
    return number;
}

template <typename Number>
void multiply(const Gathering& all) {
    if (all.lanes != 0xffffffffu) fail("mma_m16n8k16 needs all 32 lanes of the warp");
    float a[16][16];
    float b[16][8];
    for (unsigned lane = 0; lane < 32; ++lane) {
        const auto& own = all.operand<Product>(lane);
        const unsigned group = lane >> 2;
        const unsigned member = lane & 3u;
        for (unsigned which = 0; which < 2; ++which) {
            a[group][member * 2 + which] = number_of<Number>(own.a[0], which);
            a[group + 8][member * 2 + which] = number_of<Number>(own.a[1], which);
            a[group][member * 2 + 8 + which] = number_of<Number>(own.a[2], which);
            a[group + 8][member * 2 + 8 + which] = number_of<Number>(own.a[3], which);
            b[member * 2 + which][group] = number_of<Number>(own.b[0], which);
            b[member * 2 + 8 + which][group] = number_of<Number>(own.b[1], which);
        }
    }
    float sum[16][8] = {};
    for (unsigned row = 0; row < 16; ++row)
        for (unsigned k = 0; k < 16; ++k)
            for (unsigned column = 0; column < 8; ++column) sum[row][column] += a[row][k] * b[k][column];
    for (unsigned lane = 0; lane < 32; ++lane) {
        const auto& own = all.operand<Product>(lane);
        const unsigned group = lane >> 2;
        const unsigned member = lane & 3u;
        for (unsigned which = 0; which < 2; ++which) {
            own.d[which] += sum[group][member * 2 + which];
            own.d[2 + which] += sum[group + 8][member * 2 + which];
        }
    }
}

struct Load {
    uint32_t* registers;
    const void* row;
};

template <unsigned count, bool transposed>
void load(const Gathering& all) {
    if (all.lanes != 0xffffffffu) fail("ldmatrix needs all 32 lanes of the warp");
    for (unsigned matrix = 0; matrix < count; ++matrix) {
        uint16_t elements[8][8];
        for (unsigned row = 0; row < 8; ++row) {
            const void* address = all.operand<Load>(matrix * 8 + row).row;
            if (reinterpret_cast<uintptr_t>(address) % 16 != 0)
                fail("ldmatrix: the row of lane %u is not aligned to 16 bytes", matrix * 8 + row);
            if (!is_shared(address, 16))
                fail("ldmatrix: the row of lane %u is not in shared memory", matrix * 8 + row);
            note_shared(running->number / 32 * 32 + matrix * 8 + row, address, 16, false);
            std::memcpy(elements[row], address, 16);
        }
        for (unsigned lane = 0; lane < 32; ++lane) {
            const unsigned group = lane >> 2;
            const unsigned pair = (lane & 3u) * 2;
            const uint32_t low = transposed ? elements[pair][group] : elements[group][pair];
            const uint32_t high = transposed ? elements[pair + 1][group] : elements[group][pair + 1];
            all.operand<Load>(lane).registers[matrix] = low | high << 16;
        }
    }
}

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
