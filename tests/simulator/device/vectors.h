// The vector types of CUDA, with its alignment: a kernel's wide loads are as
// wide and as demanding here as there.
#pragma once

#define SIMULATED_VECTORS(scalar, base)                                         \
    struct alignas(2 * sizeof(scalar)) base##2 {                                \
        scalar x, y;                                                            \
    };                                                                          \
    struct base##3 {                                                            \
        scalar x, y, z;                                                         \
    };                                                                          \
    struct alignas(sizeof(scalar) * 4 > 16 ? 16 : sizeof(scalar) * 4) base##4 { \
        scalar x, y, z, w;                                                      \
    };                                                                          \
    static inline base##2 make_##base##2(scalar x, scalar y) {                  \
        return {x, y};                                                          \
    }                                                                           \
    static inline base##3 make_##base##3(scalar x, scalar y, scalar z) {        \
        return {x, y, z};                                                       \
    }                                                                           \
    static inline base##4 make_##base##4(scalar x, scalar y, scalar z, scalar w) { \
        return {x, y, z, w};                                                    \
    }

SIMULATED_VECTORS(float, float)
SIMULATED_VECTORS(double, double)
SIMULATED_VECTORS(signed char, char)
SIMULATED_VECTORS(unsigned char, uchar)
SIMULATED_VECTORS(short, short)
SIMULATED_VECTORS(unsigned short, ushort)
SIMULATED_VECTORS(int, int)
SIMULATED_VECTORS(unsigned int, uint)
SIMULATED_VECTORS(long long, longlong)
SIMULATED_VECTORS(unsigned long long, ulonglong)
#undef SIMULATED_VECTORS

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};
