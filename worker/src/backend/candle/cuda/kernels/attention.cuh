// Attention of sequences to themselves, without their scores ever reaching the device's memory: a block of queries goes
// over all keys, tile by tile, and keeps a running maximum and sum of each row. Sequences lie wherever `starts` says, so
// batches need no padding.
#pragma once

#include "device.cuh"

// What attention reads besides numbers.
struct Attention {
    const uint32_t* starts;
    const uint32_t* lengths;
    int heads;
    // Numbers of one head.
    int size;
    float scale;
    // Keys farther away than this aren't seen; below zero all are.
    int window;
    // What a head adds to a score, by the distance of key and query from 1 - positions on; null where it adds nothing.
    const float* distances;
    int positions;
};

// Keys and queries of distances, a row of all heads for each (DeBERTa's): a query meets the key of its distance to a token, and the
// token's key meets the query of that distance.
template <class T> struct Tables {
    const T* keys;
    const T* queries;
    // The row of each distance of key and query, from 1 - positions on. The later the key, the earlier the row.
    const uint32_t* row_of;
    int positions;

    __device__ __forceinline__ int row(int distance) const {
        return static_cast<int>(row_of[positions - 1 + distance]);
    }
};

// The rows of tables that a tile of queries needs for a tile of keys: no more than there are distances in it, as neighbouring distances
// have the same row or neighbouring ones (network.rs refuses others).
struct Rows {
    int first, end;
};
template <class T> __device__ __forceinline__ Rows met_by(
    const Tables<T>& tables, int first_query, int queries, int first_key, int keys, int length) {
    const int last_query = min(first_query + queries, length) - 1, last_key = min(first_key + keys, length) - 1;
    return Rows{tables.row(last_key - first_query), tables.row(first_key - last_query) + 1};
}

// The keys that a tile of queries sees.
struct Keys {
    int first, end;
};
__device__ __forceinline__ Keys seen_by(const Attention& attention, int query, int queries, int length) {
    if (attention.window < 0) return Keys{0, length};
    const int first = query - attention.window, end = query + queries + attention.window;
    return Keys{first > 0 ? first : 0, end < length ? end : length};
}

constexpr float LOG2_E = 1.44269504f;

// The score of a key for a query, in powers of two; minus infinity where it isn't seen.
__device__ __forceinline__ float scored(
    const Attention& attention, float product, int head, int query, int key, int length) {
    const int distance = key - query;
    const int apart = distance < 0 ? -distance : distance;
    if (key >= length || (attention.window >= 0 && apart > attention.window)) return -INFINITY;
    float score = product * attention.scale;
    // Queries behind the end of the sequence are worked out and thrown away; the table has nothing for them.
    if (attention.distances && query < length) {
        score += attention.distances[
            static_cast<size_t>(head) * (2 * attention.positions - 1) + attention.positions - 1 + distance];
    }
    return score * LOG2_E;
}

// Rows of queries, keys and values of all heads to rows of contexts.
//
// The bias of the product before may be left to this: that of the queries is added here, that of the values to the
// context, whose weights add up to one; and that of the keys adds the same to all scores of a query, which changes none. Where
// distances are met nothing is left.
constexpr int TILE_QUERIES = 64, TILE_KEYS = 64, TILE_THREADS = 128;

#if HAS_TENSOR_CORES
// Rows of tiles in shared memory are apart by 16 bytes more than they are long: reading eight of them meets all banks.
template <int DEPTH> struct Tile {
    static constexpr int STRIDE = DEPTH + 8;
    static constexpr int NUMBERS = TILE_KEYS * STRIDE;
};

// Puts a tile of rows on its way; what isn't there is zeros.
template <class T, int DEPTH, int ROWS = TILE_KEYS> __device__ __forceinline__ void fetch_tile(
    T* tile, const T* from, size_t row_stride, int size, int first, int end) {
    constexpr int CHUNK = 8, CHUNKS = DEPTH / CHUNK;
    for (int chunk = threadIdx.x; chunk < ROWS * CHUNKS; chunk += TILE_THREADS) {
        const int row = chunk / CHUNKS, column = chunk % CHUNKS * CHUNK;
        const bool valid = first + row < end && column < size;
        const T* source = valid ? from + static_cast<size_t>(first + row) * row_stride + column : from;
        copy_async_16(tile + row * Tile<DEPTH>::STRIDE + column, source, valid);
    }
}

// Distances in a tile of queries and a tile of keys, and one more to be even. Rows of what they meet are apart by four more, so that
// eight of them meet other banks.
constexpr int TILE_DISTANCES = TILE_QUERIES + TILE_KEYS, MET_STRIDE = TILE_DISTANCES + 4;

// What sixteen rows of this warp are to the rows of a table: products of a left operand that lies in registers.
template <class T, int DEPTH> __device__ __forceinline__ void meet(
    const uint32_t (&left)[DEPTH / 16][4], const T* table, float* met) {
    const int lane = threadIdx.x % WARP;
    // No further: what would be read ahead doesn't fit into the registers (docs/KERNELS.md).
#pragma unroll 2
    for (int rows_of = 0; rows_of < TILE_DISTANCES / 8; ++rows_of) {
        float products[4] = {};
        for (int steps_of = 0; steps_of < DEPTH / 32; ++steps_of) {
            const T* from = table + (rows_of * 8 + lane % 8) * Tile<DEPTH>::STRIDE + steps_of * 32 + lane / 8 * 8;
            uint32_t right[4];
            ldmatrix_x4(right, from);
            mma_m16n8k16(products, left[2 * steps_of], {right[0], right[1]}, T{});
            mma_m16n8k16(products, left[2 * steps_of + 1], {right[2], right[3]}, T{});
        }
        for (int at = 0; at < 4; ++at) {
            met[(lane / 4 + at / 2 * 8) * MET_STRIDE + rows_of * 8 + lane % 4 * 2 + at % 2] = products[at];
        }
    }
}
#endif

// By tensor cores: four warps, each with 16 queries. DEPTH is `size` or more. DISENTANGLED: there are tables.
template <class T, int DEPTH, bool DISENTANGLED = false> __device__ __forceinline__ void attend(
    const T* __restrict__ qkv, const T* __restrict__ bias, T* __restrict__ context, const Attention attention,
    const Tables<T> tables = {}) {
#if HAS_TENSOR_CORES
    DYNAMIC_SHARED(T, shared);
    constexpr int STEPS = DEPTH / 16, COLUMN_TILES = DEPTH / 8, KEY_TILES = TILE_KEYS / 8;
    constexpr int STRIDE = Tile<DEPTH>::STRIDE;
    const int sequence = blockIdx.z, head = blockIdx.y, first_query = blockIdx.x * TILE_QUERIES;
    const int length = attention.lengths[sequence];
    if (first_query >= length) return;
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int width = attention.heads * attention.size;
    const size_t stride = 3 * static_cast<size_t>(width);
    const T* queries = qkv + attention.starts[sequence] * stride + head * attention.size;
    const T* keys = queries + width;
    const T* values = keys + width;

    const Keys seen = seen_by(attention, first_query, TILE_QUERIES, length);
    const int tiles = (seen.end - seen.first + TILE_KEYS - 1) / TILE_KEYS;
    // Keys and values of two tiles: one is worked on, and one is on its way. With tables there is room for one.
    constexpr int TILES = DISENTANGLED ? 1 : 2;
    const auto key_tile = [&](int tile) { return shared + (tile % TILES) * Tile<DEPTH>::NUMBERS; };
    const auto value_tile = [&](int tile) { return shared + (TILES + tile % TILES) * Tile<DEPTH>::NUMBERS; };
    T* key_table = shared + 2 * TILES * Tile<DEPTH>::NUMBERS;
    T* query_table = key_table + TILE_DISTANCES * STRIDE;
    float* met = reinterpret_cast<float*>(query_table + TILE_DISTANCES * STRIDE);
    const auto fetch = [&](int tile) {
        const int first = seen.first + tile * TILE_KEYS;
        fetch_tile<T, DEPTH>(key_tile(tile), keys, stride, attention.size, first, seen.end);
        fetch_tile<T, DEPTH>(value_tile(tile), values, stride, attention.size, first, seen.end);
        if constexpr (DISENTANGLED) {
            const Rows rows = met_by(tables, first_query, TILE_QUERIES, first, TILE_KEYS, length);
            const auto fetch_table = [&](T* table, const T* from) {
                fetch_tile<T, DEPTH, TILE_DISTANCES>(
                    table, from + head * attention.size, width, attention.size, rows.first, rows.end);
            };
            fetch_table(key_table, tables.keys);
            fetch_table(query_table, tables.queries);
        }
        copy_async_commit();
    };
    fetch(0);

    // This lane's queries: rows `row` and `row + 8` of the warp's sixteen, as the left operand of products.
    const int row = lane / 4, column = lane % 4 * 2;
    const int query = first_query + warp * 16 + row;
    uint32_t left[STEPS][4];
    for (int step = 0; step < STEPS; ++step) {
        for (int part = 0; part < 4; ++part) {
            const int at = query + part % 2 * 8, depth = step * 16 + part / 2 * 8 + column;
            float first = 0.0f, second = 0.0f;
            if (at < length && depth < attention.size) {
                first = to_float(queries[at * stride + depth]);
                second = to_float(queries[at * stride + depth + 1]);
                if (bias) {
                    first += to_float(bias[head * attention.size + depth]);
                    second += to_float(bias[head * attention.size + depth + 1]);
                }
            }
            left[step][part] = pair(first, second, T{});
        }
    }

    float contexts[COLUMN_TILES][4] = {};
    float most[2] = {-INFINITY, -INFINITY}, sums[2] = {0.0f, 0.0f};
    for (int tile = 0; tile < tiles; ++tile) {
        if (!DISENTANGLED && tile + 1 < tiles) {
            fetch(tile + 1);
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        // What this thread has fetched is there; now what all have.
        __syncthreads();

        float scores[KEY_TILES][4] = {};
        for (int keys_of = 0; keys_of < KEY_TILES; ++keys_of) {
            for (int steps_of = 0; steps_of < STEPS / 2; ++steps_of) {
                // Eight keys, over a depth of 32: right operands for two steps.
                const T* from = key_tile(tile) + (keys_of * 8 + lane % 8) * STRIDE + steps_of * 32 + lane / 8 * 8;
                uint32_t right[4];
                ldmatrix_x4(right, from);
                mma_m16n8k16(scores[keys_of], left[2 * steps_of], {right[0], right[1]}, T{});
                mma_m16n8k16(scores[keys_of], left[2 * steps_of + 1], {right[2], right[3]}, T{});
            }
        }

        const int first_key = seen.first + tile * TILE_KEYS;
        if constexpr (DISENTANGLED) {
            const int first_row = met_by(tables, first_query, TILE_QUERIES, first_key, TILE_KEYS, length).first;
            float* own = met + warp * 16 * MET_STRIDE;
            // Adds what the distance of each pair says, in the row of its query or in that of its key.
            const auto add = [&](bool in_rows_of_keys) {
                for (int keys_of = 0; keys_of < KEY_TILES; ++keys_of) {
                    for (int at = 0; at < 4; ++at) {
                        const int key = first_key + keys_of * 8 + column + at % 2, asking = query + at / 2 * 8;
                        if (key >= length || asking >= length) continue;
                        const int place = in_rows_of_keys ? key - first_key : asking - first_query;
                        scores[keys_of][at] += met[place * MET_STRIDE + tables.row(key - asking) - first_row];
                    }
                }
            };
            meet<T, DEPTH>(left, key_table, own);
            __syncwarp();
            add(false);
            __syncwarp();
            uint32_t rows_of_keys[STEPS][4];
            for (int step = 0; step < STEPS; ++step) {
                ldmatrix_x4(rows_of_keys[step],
                            key_tile(tile) + (warp * 16 + lane % 16) * STRIDE + step * 16 + lane / 16 * 8);
            }
            meet<T, DEPTH>(rows_of_keys, query_table, own);
            __syncthreads();
            add(true);
        }
        // Most tiles: every query sees every key of it, and nothing is added.
        const bool plain = first_key + TILE_KEYS <= length && attention.window < 0 && !attention.distances;
        float highest[2] = {most[0], most[1]};
        for (int keys_of = 0; keys_of < KEY_TILES; ++keys_of) {
            for (int at = 0; at < 4; ++at) {
                const int key = first_key + keys_of * 8 + column + at % 2;
                float& score = scores[keys_of][at];
                score = plain ? score * (attention.scale * LOG2_E)
                              : scored(attention, score, head, query + at / 2 * 8, key, length);
                highest[at / 2] = fmaxf(highest[at / 2], score);
            }
        }
        float kept[2];
        for (int side = 0; side < 2; ++side) {
            const float now = quad_max(highest[side]);
            // A row that has seen no key yet has nothing to keep, and no number to take away.
            const float base = now == -INFINITY ? 0.0f : now;
            kept[side] = power_of_two(most[side] - base);
            most[side] = now;
            highest[side] = base;
            sums[side] *= kept[side];
        }
        for (int keys_of = 0; keys_of < KEY_TILES; ++keys_of) {
            for (int at = 0; at < 4; ++at) {
                scores[keys_of][at] = power_of_two(scores[keys_of][at] - highest[at / 2]);
                sums[at / 2] += scores[keys_of][at];
            }
        }
        for (int columns_of = 0; columns_of < COLUMN_TILES; ++columns_of) {
            for (int at = 0; at < 4; ++at) contexts[columns_of][at] *= kept[at / 2];
        }

        for (int step = 0; step < TILE_KEYS / 16; ++step) {
            // Scores of sixteen keys lie in the lanes as a left operand's numbers do.
            const float(&low)[4] = scores[2 * step];
            const float(&high)[4] = scores[2 * step + 1];
            const uint32_t weights[4] = {pair(low[0], low[1], T{}), pair(low[2], low[3], T{}),
                                         pair(high[0], high[1], T{}), pair(high[2], high[3], T{})};
            for (int columns_of = 0; columns_of < COLUMN_TILES; columns_of += 2) {
                // Sixteen keys of sixteen columns, turned: right operands for two tiles of columns.
                const T* from = value_tile(tile) + (step * 16 + lane % 16) * STRIDE + columns_of * 8 + lane / 16 * 8;
                uint32_t right[4];
                ldmatrix_x4_transposed(right, from);
                mma_m16n8k16(contexts[columns_of], weights, {right[0], right[1]}, T{});
                mma_m16n8k16(contexts[columns_of + 1], weights, {right[2], right[3]}, T{});
            }
        }
        // The next round overwrites this tile.
        __syncthreads();
        if (DISENTANGLED && tile + 1 < tiles) fetch(tile + 1);
    }

    for (int side = 0; side < 2; ++side) {
        const int at = query + side * 8;
        // All lanes take part in the sum, also those of queries that aren't there.
        const float share = 1.0f / quad_sum(sums[side]);
        if (at >= length) continue;
        T* output = context + (attention.starts[sequence] + at) * static_cast<size_t>(width) + head * attention.size;
        for (int columns_of = 0; columns_of < COLUMN_TILES; ++columns_of) {
            const int place = columns_of * 8 + column;
            if (place >= attention.size) continue;
            float first = contexts[columns_of][2 * side] * share;
            float second = contexts[columns_of][2 * side + 1] * share;
            if (bias) {
                const T* own = bias + 2 * width + head * attention.size + place;
                first += to_float(own[0]);
                second += to_float(own[1]);
            }
            const uint32_t both = pair(first, second, T{});
            memcpy(output + place, &both, 4);
        }
    }
#endif
}

// Without tensor cores, in fp32: four threads share a query, and eight of the tile's keys are each one's.
constexpr int PLAIN_QUERIES = 32, PLAIN_KEYS = 32, PLAIN_THREADS = 128;
// Rows of weights begin four banks apart, as the threads of a query are four.
constexpr int PLAIN_WEIGHTS = PLAIN_KEYS + 4;

template <class T, int DEPTH, bool DISENTANGLED = false> __device__ __forceinline__ void attend_plainly(
    const T* __restrict__ qkv, const T* __restrict__ bias, T* __restrict__ context, const Attention attention,
    const Tables<T> tables = {}) {
    DYNAMIC_SHARED(float, shared);
    // One more number a row, so that neighbouring rows begin in neighbouring banks.
    constexpr int STRIDE = DEPTH + 1, SHARE = 4, KEYS_EACH = PLAIN_KEYS / SHARE, COLUMNS_EACH = DEPTH / SHARE;
    float* query_tile = shared;
    float* key_tile = query_tile + PLAIN_QUERIES * STRIDE;
    float* value_tile = key_tile + PLAIN_KEYS * STRIDE;
    float* weights = value_tile + PLAIN_KEYS * STRIDE;
    // Of as many rows as there are distances in a tile.
    float* key_table = weights + PLAIN_QUERIES * PLAIN_WEIGHTS;
    float* query_table = key_table + (PLAIN_QUERIES + PLAIN_KEYS) * STRIDE;
    const int sequence = blockIdx.z, head = blockIdx.y, first_query = blockIdx.x * PLAIN_QUERIES;
    const int length = attention.lengths[sequence];
    if (first_query >= length) return;
    const int width = attention.heads * attention.size;
    const size_t stride = 3 * static_cast<size_t>(width);
    const T* queries = qkv + attention.starts[sequence] * stride + head * attention.size;
    const auto fetch_rows = [&](float* tile, int rows, const T* from, size_t apart, const T* added, int first, int end) {
        for (int at = threadIdx.x; at < rows * DEPTH; at += PLAIN_THREADS) {
            const int place = at / DEPTH, column = at % DEPTH;
            float number = 0.0f;
            if (first + place < end && column < attention.size) {
                number = to_float(from[(first + place) * apart + column]);
                if (added) number += to_float(added[column]);
            }
            tile[place * STRIDE + column] = number;
        }
    };
    const auto fetch = [&](float* tile, const T* from, const T* added, int first, int end) {
        fetch_rows(tile, PLAIN_KEYS, from, stride, added, first, end);
    };
    fetch(query_tile, queries, bias ? bias + head * attention.size : nullptr, first_query, length);

    const int row = threadIdx.x / SHARE, share = threadIdx.x % SHARE, query = first_query + row;
    const Keys seen = seen_by(attention, first_query, PLAIN_QUERIES, length);
    float contexts[COLUMNS_EACH] = {}, most = -INFINITY, total = 0.0f;
    for (int first_key = seen.first; first_key < seen.end; first_key += PLAIN_KEYS) {
        __syncthreads();
        fetch(key_tile, queries + width, nullptr, first_key, seen.end);
        fetch(value_tile, queries + 2 * width, nullptr, first_key, seen.end);
        Rows rows{0, 0};
        if constexpr (DISENTANGLED) {
            rows = met_by(tables, first_query, PLAIN_QUERIES, first_key, PLAIN_KEYS, length);
            const auto fetch_table = [&](float* table, const T* from) {
                fetch_rows(table, PLAIN_QUERIES + PLAIN_KEYS, from + head * attention.size, width, nullptr,
                           rows.first, rows.end);
            };
            fetch_table(key_table, tables.keys);
            fetch_table(query_table, tables.queries);
        }
        __syncthreads();
        float scores[KEYS_EACH], highest = most;
#pragma unroll
        for (int at = 0; at < KEYS_EACH; ++at) {
            const int key = at * SHARE + share;
            float product = 0.0f;
            // No further: what would be read ahead for 64 columns doesn't fit into the registers (docs/KERNELS.md).
#pragma unroll 8
            for (int column = 0; column < DEPTH; ++column) {
                product += query_tile[row * STRIDE + column] * key_tile[key * STRIDE + column];
            }
            if (DISENTANGLED && query < length && first_key + key < length) {
                const int met = (tables.row(first_key + key - query) - rows.first) * STRIDE;
#pragma unroll 8
                for (int column = 0; column < DEPTH; ++column) {
                    product += query_tile[row * STRIDE + column] * key_table[met + column];
                    product += key_tile[key * STRIDE + column] * query_table[met + column];
                }
            }
            scores[at] = scored(attention, product, head, query, first_key + key, length);
            highest = fmaxf(highest, scores[at]);
        }
        const float now = quad_max(highest);
        const float base = now == -INFINITY ? 0.0f : now;
        const float kept = power_of_two(most - base);
        most = now;
        total *= kept;
        for (int at = 0; at < KEYS_EACH; ++at) {
            const float weight = power_of_two(scores[at] - base);
            total += weight;
            weights[row * PLAIN_WEIGHTS + at * SHARE + share] = weight;
        }
        // A query's four threads are neighbours in a warp.
        __syncwarp();
        // Unrolled, so that what they add up stays in registers.
#pragma unroll
        for (int at = 0; at < COLUMNS_EACH; ++at) {
            float number = contexts[at] * kept;
            for (int key = 0; key < PLAIN_KEYS; ++key) {
                number += weights[row * PLAIN_WEIGHTS + key] * value_tile[key * STRIDE + at * SHARE + share];
            }
            contexts[at] = number;
        }
    }
    const float part = 1.0f / quad_sum(total);
    if (query >= length) return;
    T* output = context + (attention.starts[sequence] + query) * static_cast<size_t>(width) + head * attention.size;
#pragma unroll
    for (int at = 0; at < COLUMNS_EACH; ++at) {
        const int column = at * SHARE + share;
        if (column >= attention.size) continue;
        float number = contexts[at] * part;
        if (bias) number += to_float(bias[2 * width + head * attention.size + column]);
        output[column] = from_float<T>(number);
    }
}
