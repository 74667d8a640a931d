#include "driver_types.h"

#define OUT_OF_MEMORY 2

static int capability(void) {
    const char *given = getenv("STAND_IN_CAPABILITY");
    return given ? atoi(given) : 86;
}

#undef cudaGetDeviceProperties
int cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    struct cudaDeviceProp all = {0};
    strcpy(all.name, "Stand-in");
    all.major = capability() / 10;
    all.minor = capability() % 10;
    all.totalGlobalMem = (size_t)24 << 30;
    all.multiProcessorCount = 82;
    all.warpSize = 32;
    all.maxThreadsPerBlock = all.maxThreadsDim[0] = all.maxThreadsDim[1] = 1024;
    all.maxThreadsDim[2] = 64;
    all.maxThreadsPerMultiProcessor = 1536;
    all.maxGridSize[0] = 2147483647;
    all.maxGridSize[1] = all.maxGridSize[2] = 65535;
    all.sharedMemPerBlock = 49152;
    all.sharedMemPerBlockOptin = 101376;
    all.sharedMemPerMultiprocessor = 102400;
    all.regsPerBlock = all.regsPerMultiprocessor = 65536;
    all.l2CacheSize = 6 << 20;
    all.unifiedAddressing = all.concurrentKernels = all.memoryPoolsSupported = 1;
    *properties = all;
    return 0;
}

// As CUDA 12 calls it.
int cudaGetDeviceProperties_v2(struct cudaDeviceProp *properties, int device) { return cudaGetDeviceProperties(properties, device); }

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
    struct cudaDeviceProp all;
    cudaGetDeviceProperties(&all, device);
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = all.maxThreadsPerBlock; break;
        case cudaDevAttrMultiProcessorCount: *value = all.multiProcessorCount; break;
        case cudaDevAttrComputeCapabilityMajor: *value = all.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = all.minor; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = all.sharedMemPerBlockOptin; break;
        case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
        default: *value = 0;
    }
    return 0;
}

int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }
const char *cudaGetErrorName(int error) { return "stand-in"; }
const char *cudaGetErrorString(int error) { return "stand-in"; }

int cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                     void *status) {
    *function = NULL;
    return 1;
}

// Memory.

int cudaMemGetInfo(size_t *free, size_t *total) { *total = (size_t)24 << 30; *free = (size_t)20 << 30; return 0; }

int cudaMalloc(void **place, size_t bytes) {
    if (posix_memalign(place, 256, bytes ? bytes : 1)) return OUT_OF_MEMORY;
    memset(*place, 0, bytes);
    return 0;
}

int cudaMallocFromPoolAsync(void **place, size_t bytes, void *pool, void *stream) { return cudaMalloc(place, bytes); }
int cudaMallocHost(void **place, size_t bytes) { return cudaMalloc(place, bytes); }
int cudaHostAlloc(void **place, size_t bytes, unsigned flags) { return cudaMalloc(place, bytes); }
int cudaFree(void *place) { free(place); return 0; }
int cudaFreeAsync(void *place, void *stream) { free(place); return 0; }
int cudaFreeHost(void *place) { free(place); return 0; }
int cudaMemset(void *place, int value, size_t bytes) { memset(place, value, bytes); return 0; }
int cudaMemsetAsync(void *place, int value, size_t bytes, void *stream) { memset(place, value, bytes); return 0; }
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) { memcpy(to, from, bytes); return 0; }

int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
    trace(kind == cudaMemcpyDeviceToHost ? "copy to the host" : "copy");
    memcpy(to, from, bytes);
    return 0;
}

int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                      int kind, void *stream) {
    for (size_t row = 0; row < height; row++)
        memcpy((char *)to + row * to_pitch, (const char *)from + row * from_pitch, width);
    return 0;
}

int cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *place) {
    memset(attributes, 0, sizeof *attributes);
    attributes->type = cudaMemoryTypeDevice;
    attributes->devicePointer = (void *)place;
    return 0;
}

int cudaMemPoolCreate(void **place, const void *properties) { return handle(place); }
int cudaMemPoolGetAttribute(void *pool, int attribute, void *value) { *(uint64_t *)value = 0; return 0; }

// Order: everything is done at once.

int cudaStreamCreate(void **place) { return handle(place); }
int cudaStreamCreateWithFlags(void **place, unsigned flags) { return handle(place); }
int cudaEventCreate(void **place) { return handle(place); }
int cudaEventCreateWithFlags(void **place, unsigned flags) { return handle(place); }
int cudaEventElapsedTime(float *milliseconds, void *from, void *to) { *milliseconds = 1; return 0; }
int cudaStreamIsCapturing(void *stream, int *capturing) { *capturing = 0; return 0; }
int cudaStreamEndCapture(void *stream, void **place) { trace("cudaStreamEndCapture"); return handle(place); }
int cudaGraphInstantiate(void **place, void *graph, unsigned long long flags) { return handle(place); }

// Kernels: only their names are of interest.

static struct { const void *function; const char *name; } kernels[1 << 18];
static int count;

void **__cudaRegisterFatBinary(void *binary) { static void *place[4]; return place; }
void __cudaRegisterFatBinaryEnd(void **binary) {}
void __cudaUnregisterFatBinary(void **binary) {}
void __cudaRegisterVar() {}

void __cudaRegisterFunction(void **binary, const char *function, char *device_function, const char *name) {
    if (count == 1 << 18) return;
    kernels[count].function = function;
    kernels[count++].name = name;
}

int cudaLaunchKernel(const void *function, ...) {
    if (!getenv("STAND_IN_TRACE")) return 0;
    for (int place = 0; place < count; place++)
        if (kernels[place].function == function) trace(kernels[place].name);
    return 0;
}

int __cudaLaunchKernel(const void *function, ...) { return cudaLaunchKernel(function); }
int __cudaGetKernel(void **kernel, const void *function) { *kernel = (void *)function; return 0; }
int cudaLibraryLoadData(void **place) { return handle(place); }
int cudaLibraryGetKernel(void **place) { return handle(place); }

int cudaFuncGetAttributes(struct cudaFuncAttributes *attributes, const void *function) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->binaryVersion = attributes->ptxVersion = capability();
    return 0;
}

int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int threads,
                                                           size_t shared, unsigned flags) {
    *blocks = 1;
    return 0;
}
