// What the project's kernels include in place of the CUDA headers when g++
// compiles them for the processor. It owns the keywords of the language; the
// types and functions are in device/.
#pragma once

// Everything of the standard library that a kernel may ask for comes first: the
// kernels are compiled inside an unnamed namespace (see list_kernels.py), where
// a standard header that was not yet read would end up too.
#include <algorithm>
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <tuple>
#include <type_traits>
#include <utility>

#include "device/vectors.h"

#include "device/threads.h"

#include "device/numbers.h"

#include "device/mathematics.h"

#include "device/warp.h"

#include "device/tensor_core.h"

#include "device/copy.h"

#include "device/registry.h"

#ifdef SIMULATED_LIST_KERNELS
// list_kernels.py reads the preprocessed text and looks for this word.
#define __global__ simulated_global_marker
#else
#define __global__
#endif
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__

// One block runs at a time, so a block's static array can be a static of the
// program. build.sh moves the statics of the kernels into a section of their
// own, which the runtime poisons for each block; an attribute could not, since
// g++ ignores it inside of templates.
#define __shared__ static

// A block's dynamic shared memory, exactly as large as the launch asked for.
#define DYNAMIC_SHARED(type, name) \
    type* const name = reinterpret_cast<type*>(::simulated::dynamic_shared())

// A full barrier, a fence or a hint has nothing to do on one OS thread.
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __threadfence_system() {}
static inline void __trap() { ::simulated::fail("__trap() was called"); }
