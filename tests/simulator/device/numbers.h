// half and bfloat16: storage of 16 bits, conversions that round to nearest
// even, and arithmetic that rounds each result, as the device does.
#pragma once

#include <cstdint>
#include <cstring>

#include "vectors.h"

namespace simulated {

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float half_to_float(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000u) << 16;
    const uint32_t rest = half & 0x7fffu;
    if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // The product with 2^112 moves the exponent from half's bias to float's and
    // makes subnormal halves normal, exactly.
    return float_of(sign | bits_of(float_of(rest << 13) * 0x1p112f));
}

static inline uint16_t float_to_half(float value) {
    const uint32_t bits = bits_of(value);
    const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
    const uint32_t rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return uint16_t(0x7fffu);  // the device's one NaN
    if (rest >= 0x477ff000u) return sign | 0x7c00u;    // rounds to 2^16 or more
    if (rest < 0x38800000u) {
        // Adding 0.5 leaves the bits of a subnormal half at the bottom of the
        // sum, rounded by the addition itself.
        return sign | uint16_t(bits_of(float_of(rest) + 0.5f) - bits_of(0.5f));
    }
    const uint32_t odd = rest >> 13 & 1u;
    return sign | uint16_t((rest - 0x38000000u + 0xfffu + odd) >> 13);
}

static inline float bfloat16_to_float(uint16_t number) { return float_of(uint32_t(number) << 16); }

static inline uint16_t float_to_bfloat16(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t(0x7fffu);
    return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace simulated

#define SIMULATED_NUMBER(name, to_float, from_float)                                            \
    struct name {                                                                               \
        uint16_t bits;                                                                          \
        name() = default;                                                                       \
        name(float value) : bits(::simulated::from_float(value)) {}                             \
        operator float() const { return ::simulated::to_float(bits); }                          \
    };                                                                                          \
    static inline name operator+(name a, name b) { return name(float(a) + float(b)); }          \
    static inline name operator-(name a, name b) { return name(float(a) - float(b)); }          \
    static inline name operator*(name a, name b) { return name(float(a) * float(b)); }          \
    static inline name operator/(name a, name b) { return name(float(a) / float(b)); }          \
    static inline name operator-(name a) { name b = a; b.bits ^= 0x8000u; return b; }           \
    static inline name& operator+=(name& a, name b) { return a = a + b; }                       \
    static inline name& operator-=(name& a, name b) { return a = a - b; }                       \
    static inline name& operator*=(name& a, name b) { return a = a * b; }                       \
    static inline name __hadd(name a, name b) { return a + b; }                                 \
    static inline name __hsub(name a, name b) { return a - b; }                                 \
    static inline name __hmul(name a, name b) { return a * b; }                                 \
    static inline name __hmax(name a, name b) { return name(__builtin_fmaxf(a, b)); }           \
    static inline name __hmin(name a, name b) { return name(__builtin_fminf(a, b)); }           \
    static inline bool __hgt(name a, name b) { return float(a) > float(b); }                    \
    static inline bool __hlt(name a, name b) { return float(a) < float(b); }                    \
    struct alignas(4) name##2 {                                                                 \
        name x, y;                                                                              \
        name##2() = default;                                                                    \
        name##2(name x, name y) : x(x), y(y) {}                                                 \
    };                                                                                          \
    static inline name##2 __hadd2(name##2 a, name##2 b) { return {a.x + b.x, a.y + b.y}; }      \
    static inline name##2 __hmul2(name##2 a, name##2 b) { return {a.x * b.x, a.y * b.y}; }      \
    static inline float __low2float(name##2 pair) { return pair.x; }                            \
    static inline float __high2float(name##2 pair) { return pair.y; }

SIMULATED_NUMBER(__half, half_to_float, float_to_half)
SIMULATED_NUMBER(__nv_bfloat16, bfloat16_to_float, float_to_bfloat16)
#undef SIMULATED_NUMBER

using half = __half;
using half2 = __half2;
// nvcc calls the pair __nv_bfloat162, which is the macro's name for it too.
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

static inline float __half2float(__half number) { return number; }
static inline __half __float2half(float value) { return value; }
static inline __half __float2half_rn(float value) { return value; }
static inline __half2 __floats2half2_rn(float low, float high) { return {__half(low), __half(high)}; }
static inline __half2 __float2half2_rn(float both) { return {__half(both), __half(both)}; }
static inline __half2 __float22half2_rn(float2 pair) { return {__half(pair.x), __half(pair.y)}; }
static inline __half2 __halves2half2(__half low, __half high) { return {low, high}; }
static inline __half2 __half2half2(__half both) { return {both, both}; }
static inline float2 __half22float2(__half2 pair) { return {pair.x, pair.y}; }
static inline __half __low2half(__half2 pair) { return pair.x; }
static inline __half __high2half(__half2 pair) { return pair.y; }

static inline float __bfloat162float(__nv_bfloat16 number) { return number; }
static inline __nv_bfloat16 __float2bfloat16(float value) { return value; }
static inline __nv_bfloat16 __float2bfloat16_rn(float value) { return value; }
static inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
    return {__nv_bfloat16(low), __nv_bfloat16(high)};
}
static inline __nv_bfloat162 __float2bfloat162_rn(float both) {
    return {__nv_bfloat16(both), __nv_bfloat16(both)};
}
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high) { return {low, high}; }
static inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {pair.x, pair.y}; }
static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 pair) { return pair.x; }
static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 pair) { return pair.y; }

static inline unsigned short __half_as_ushort(__half number) { return number.bits; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 number) { return number.bits; }
static inline __half __ushort_as_half(unsigned short bits) {
    __half number;
    number.bits = bits;
    return number;
}
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 number;
    number.bits = bits;
    return number;
}
static inline unsigned int __float_as_uint(float value) { return ::simulated::bits_of(value); }
static inline int __float_as_int(float value) { return int(::simulated::bits_of(value)); }
static inline float __uint_as_float(unsigned int bits) { return ::simulated::float_of(bits); }
static inline float __int_as_float(int bits) { return ::simulated::float_of(unsigned(bits)); }
