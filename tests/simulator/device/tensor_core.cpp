// Carries out the tensor core's operations for a warp, with the fragment layouts
// of the PTX instruction set: "Matrix Fragments for mma.m16n8k16 with floating
// point type" and "ldmatrix", .m8n8 .shared.b16.
#include "tensor_core.h"

#include <cstring>

#include "access.h"

namespace simulated {
namespace tensor_core {

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

template void multiply<__half>(const Gathering&);
template void multiply<__nv_bfloat16>(const Gathering&);
template void load<2, false>(const Gathering&);
template void load<2, true>(const Gathering&);
template void load<4, false>(const Gathering&);
template void load<4, true>(const Gathering&);

}  // namespace tensor_core
}  // namespace simulated
