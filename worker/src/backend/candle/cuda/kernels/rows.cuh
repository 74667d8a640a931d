// What is done to each row by itself. Rows are tokens or sequences; sums are in fp32 whatever the numbers are.
#pragma once

#include "device.cuh"

// Calls `body(first column, numbers to take)` for this lane's share of a row: 16 bytes at a time where rows begin at
// multiples of that, or else number by number.
template <class T, class Body> __device__ __forceinline__ void for_columns(int columns, int lane, int lanes, Body body) {
    constexpr int SIZE = Vector<T>::SIZE;
    if (columns % SIZE == 0) {
        for (int column = lane * SIZE; column < columns; column += lanes * SIZE) body(column, SIZE);
    } else {
        for (int column = lane; column < columns; column += lanes) body(column, 1);
    }
}

// Reads one number or a vector of them; the others are zeros.
template <class T> __device__ __forceinline__ void load(const T* from, int count, float (&to)[Vector<T>::SIZE]) {
    if (count == 1) {
        to[0] = to_float(*from);
        return;
    }
    const Vector<T> vector = *reinterpret_cast<const Vector<T>*>(from);
    for (int place = 0; place < Vector<T>::SIZE; ++place) to[place] = to_float(vector.numbers[place]);
}

// The fp32 numbers that stand beside as many of another kind.
template <class T> __device__ __forceinline__ void load_floats(
    const float* from, int count, float (&to)[Vector<T>::SIZE]) {
    if (count == 1) {
        to[0] = *from;
        return;
    }
    for (int place = 0; place < Vector<T>::SIZE; place += 4) {
        const float4 four = *reinterpret_cast<const float4*>(from + place);
        to[place] = four.x;
        to[place + 1] = four.y;
        to[place + 2] = four.z;
        to[place + 3] = four.w;
    }
}

template <class T> __device__ __forceinline__ void add(const T* from, int count, float (&to)[Vector<T>::SIZE]) {
    float numbers[Vector<T>::SIZE];
    load(from, count, numbers);
    for (int place = 0; place < count; ++place) to[place] += numbers[place];
}

template <class T> __device__ __forceinline__ void store(const float (&from)[Vector<T>::SIZE], int count, T* to) {
    if (count == 1) {
        *to = from_float<T>(from[0]);
        return;
    }
    Vector<T> vector;
    for (int place = 0; place < Vector<T>::SIZE; ++place) vector.numbers[place] = from_float<T>(from[place]);
    *reinterpret_cast<Vector<T>*>(to) = vector;
}

// The row that this warp works on, and its lane in it.
struct Place {
    size_t row;
    int lane;
};
__device__ __forceinline__ Place place_of_warp() {
    const size_t warps = blockDim.x / WARP;
    return Place{blockIdx.x * warps + threadIdx.x / WARP, static_cast<int>(threadIdx.x % WARP)};
}

// The sum of what tables say of each token. Tables that there aren't are null.
template <class T> __device__ __forceinline__ void embed(
    const uint32_t* __restrict__ ids, const uint32_t* __restrict__ types, const uint32_t* __restrict__ positions,
    const T* __restrict__ word_table, const T* __restrict__ type_table, const T* __restrict__ position_table,
    int first_position, T* __restrict__ output, int rows, int columns) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    const T* word = word_table + static_cast<size_t>(ids[place.row]) * columns;
    const T* type = type_table ? type_table + static_cast<size_t>(types[place.row]) * columns : nullptr;
    const T* position = position_table
        ? position_table + (static_cast<size_t>(positions[place.row]) + first_position) * columns : nullptr;
    for_columns<T>(columns, place.lane, WARP, [&](int column, int count) {
        float sum[Vector<T>::SIZE];
        load(word + column, count, sum);
        if (position) add(position + column, count, sum);
        if (type) add(type + column, count, sum);
        store(sum, count, output + place.row * columns + column);
    });
}

// Norm of input + bias + residual, the last two of which may be null. Rows are read again for each sum: by then they are
// in the cache.
template <class T> __device__ __forceinline__ void layer_norm(
    const T* __restrict__ input, const T* __restrict__ bias, const T* __restrict__ residual,
    const float* __restrict__ weight, const float* __restrict__ shift, float epsilon,
    T* __restrict__ output, int rows, int columns) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    const size_t start = place.row * columns;
    const auto sum_of = [&](int column, int count, float (&sum)[Vector<T>::SIZE]) {
        load(input + start + column, count, sum);
        if (bias) add(bias + column, count, sum);
        if (residual) add(residual + start + column, count, sum);
    };
    float total = 0.0f;
    for_columns<T>(columns, place.lane, WARP, [&](int column, int count) {
        float sum[Vector<T>::SIZE];
        sum_of(column, count, sum);
        for (int at = 0; at < count; ++at) total += sum[at];
    });
    const float mean = warp_sum(total) / columns;
    float squares = 0.0f;
    for_columns<T>(columns, place.lane, WARP, [&](int column, int count) {
        float sum[Vector<T>::SIZE];
        sum_of(column, count, sum);
        for (int at = 0; at < count; ++at) squares += (sum[at] - mean) * (sum[at] - mean);
    });
    const float scale = rsqrtf(warp_sum(squares) / columns + epsilon);
    for_columns<T>(columns, place.lane, WARP, [&](int column, int count) {
        float sum[Vector<T>::SIZE];
        sum_of(column, count, sum);
        float weights[Vector<T>::SIZE], shifts[Vector<T>::SIZE] = {};
        load_floats<T>(weight + column, count, weights);
        if (shift) load_floats<T>(shift + column, count, shifts);
        for (int at = 0; at < count; ++at) sum[at] = (sum[at] - mean) * scale * weights[at] + shifts[at];
        store(sum, count, output + start + column);
    });
}

// The numbers are those of `Activation` in the host's code.
enum Activation { NONE = 0, GELU = 1, GELU_TANH = 2, RELU = 3, SILU = 4, TANH = 5 };

__device__ __forceinline__ float activate(float x, int activation) {
    switch (activation) {
        case GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
        // sqrt(2 / pi), and a coefficient of the approximation's authors.
        case GELU_TANH: return x / (1.0f + __expf(-2.0f * 0.79788456f * x * (1.0f + 0.044715f * x * x)));
        // Not fmaxf, which takes what isn't a number for zero.
        case RELU: return x < 0.0f ? 0.0f : x;
        case SILU: return x / (1.0f + __expf(-x));
        case TANH: return tanhf(x);
        default: return x;
    }
}

// numbers = activation(numbers + bias), where they lie; the bias may be null.
template <class T> __device__ __forceinline__ void bias_activation(
    T* __restrict__ numbers, const T* __restrict__ bias, int activation, int rows, int columns) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    T* row = numbers + place.row * columns;
    for_columns<T>(columns, place.lane, WARP, [&](int column, int count) {
        float values[Vector<T>::SIZE];
        load(row + column, count, values);
        if (bias) add(bias + column, count, values);
        for (int at = 0; at < count; ++at) values[at] = activate(values[at], activation);
        store(values, count, row + column);
    });
}

// output = activation(left half of each row) * right half; `columns` are those of the output.
template <class T> __device__ __forceinline__ void gate(
    const T* __restrict__ input, int activation, T* __restrict__ output, int rows, int columns) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    const T* left = input + place.row * 2 * columns;
    for_columns<T>(columns, place.lane, WARP, [&](int column, int count) {
        float values[Vector<T>::SIZE], gates[Vector<T>::SIZE];
        load(left + column, count, values);
        load(left + columns + column, count, gates);
        for (int at = 0; at < count; ++at) values[at] = activate(values[at], activation) * gates[at];
        store(values, count, output + place.row * columns + column);
    });
}

template <class T> __device__ __forceinline__ void sum(
    const T* __restrict__ left, const T* __restrict__ right, T* __restrict__ output, int rows, int columns) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    const size_t start = place.row * columns;
    for_columns<T>(columns, place.lane, WARP, [&](int column, int count) {
        float values[Vector<T>::SIZE];
        load(left + start + column, count, values);
        add(right + start + column, count, values);
        store(values, count, output + start + column);
    });
}

// Rows as fp32, for what is worked out with every digit.
template <class T> __device__ __forceinline__ void widen(
    const T* __restrict__ input, float* __restrict__ output, int rows, int columns) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    const size_t start = place.row * columns;
    for (int column = place.lane; column < columns; column += WARP) output[start + column] = to_float(input[start + column]);
}

// Queries and keys turned by their positions, where they lie. `turns` has for each position the cosines of half a head and
// then the sines.
template <class T> __device__ __forceinline__ void rotate(
    T* __restrict__ qkv, const uint32_t* __restrict__ positions, const float* __restrict__ turns,
    int rows, int heads, int size) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    const int half_size = size / 2;
    const float* cosines = turns + static_cast<size_t>(positions[place.row]) * size;
    const float* sines = cosines + half_size;
    T* row = qkv + place.row * 3 * heads * size;
    for (int at = place.lane; at < 2 * heads * half_size; at += WARP) {
        const int turn = at % half_size;
        T* first = row + (at / half_size) * size + turn;
        const float left = to_float(first[0]), right = to_float(first[half_size]);
        first[0] = from_float<T>(left * cosines[turn] - right * sines[turn]);
        first[half_size] = from_float<T>(right * cosines[turn] + left * sines[turn]);
    }
}

// A row for each sequence: the mean of its tokens from `skip` on, at most `most` of them. `last` takes those at the end.
constexpr int POOL_GROUPS = 8;
template <class T> __device__ __forceinline__ void pool(
    const T* __restrict__ input, const uint32_t* __restrict__ starts, const uint32_t* __restrict__ lengths,
    int most, int last, float* __restrict__ output, int columns) {
    __shared__ float sums[POOL_GROUPS][WARP];
    const int sequence = blockIdx.x, lane = threadIdx.x % WARP, group = threadIdx.x / WARP;
    const int column = blockIdx.y * WARP + lane;
    const int length = lengths[sequence], count = length < most ? length : most;
    const size_t first = starts[sequence] + (last ? length - count : 0);
    float total = 0.0f;
    if (column < columns) {
        for (int token = group; token < count; token += POOL_GROUPS) {
            total += to_float(input[(first + token) * columns + column]);
        }
    }
    sums[group][lane] = total;
    __syncthreads();
    if (group > 0 || column >= columns) return;
    for (int other = 1; other < POOL_GROUPS; ++other) total += sums[other][lane];
    // A sequence without tokens has zeros.
    output[static_cast<size_t>(sequence) * columns + column] = count > 0 ? total / count : 0.0f;
}

// Rows of length one.
__device__ __forceinline__ void unit_rows(
    const float* __restrict__ input, float* __restrict__ output, int rows, int columns) {
    const Place place = place_of_warp();
    if (place.row >= rows) return;
    const float* row = input + place.row * columns;
    float squares = 0.0f;
    for (int column = place.lane; column < columns; column += WARP) squares += row[column] * row[column];
    // PyTorch's bound, below which a vector is as good as none.
    const float length = fmaxf(sqrtf(warp_sum(squares)), 1e-12f);
    for (int column = place.lane; column < columns; column += WARP) {
        output[place.row * columns + column] = row[column] / length;
    }
}

// Weights of 8 bits as numbers that tensor cores take. Each block of a row has a scale of its own; as `BLOCK` in
// kernel/quantised.rs.
constexpr int BLOCK = 32;
template <class T> __device__ __forceinline__ void widen_weights(
    const int8_t* __restrict__ numbers, const half* __restrict__ scales, T* __restrict__ output, size_t count) {
    constexpr int SIZE = 16;
    const size_t first = (static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x) * SIZE;
    if (first >= count) return;
    // Rows are whole blocks, so a block's numbers and scale have one place in both arrays.
    const float scale = to_float(scales[first / BLOCK]);
    const Vector<int8_t> eights = *reinterpret_cast<const Vector<int8_t>*>(numbers + first);
    for (int part = 0; part < SIZE; part += Vector<T>::SIZE) {
        float values[Vector<T>::SIZE];
        for (int at = 0; at < Vector<T>::SIZE; ++at) values[at] = eights.numbers[part + at] * scale;
        store(values, Vector<T>::SIZE, output + first + part);
    }
}
