// As the real runtime does, this one has memory, streams and events of the driver: what either made, the other takes.
#include <pthread.h>

#include "cuda.h"
#include "driver_types.h"

static CUcontext context;

static void take_context(void) {
    if (!cuInit(0)) cuDevicePrimaryCtxRetain(&context, 0);
}

// The context is the one that all of a process share. It's never given back, and becomes a thread's at its first call.
static void enter(const char *what) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CUcontext current = NULL;
    trace(what);
    pthread_once(&once, take_context);
    if (!cuCtxGetCurrent(&current) && !current) cuCtxSetCurrent(context);
}

// The numbers of the driver's errors are the runtime's, too.
#define DRIVER(call) (enter(__func__), call)

static int capability(void) {
    const char *given = getenv("STAND_IN_CAPABILITY");
    return given ? atoi(given) : 86;
}

#undef cudaGetDeviceProperties
int cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
    struct cudaDeviceProp all = {0};
    DRIVER(cuDeviceGetName(all.name, sizeof all.name, device));
    cuDeviceTotalMem(&all.totalGlobalMem, device);
    all.major = capability() / 10;
    all.minor = capability() % 10;
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

int cudaGetDeviceCount(int *count) { return DRIVER(cuDeviceGetCount(count)); }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaDeviceSynchronize(void) { return DRIVER(cuCtxSynchronize()); }
int cudaDriverGetVersion(int *version) { return cuDriverGetVersion(version); }
int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }

const char *cudaGetErrorName(int error) {
    const char *name = NULL;
    return cuGetErrorName(error, &name) ? "unknown" : name;
}

const char *cudaGetErrorString(int error) {
    const char *text = NULL;
    return cuGetErrorString(error, &text) ? "unknown" : text;
}

int cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                     void *status) {
    *function = NULL;
    return 1;
}

// Memory.

int cudaMemGetInfo(size_t *free, size_t *total) { return DRIVER(cuMemGetInfo(free, total)); }

int cudaMalloc(void **place, size_t bytes) {
    *place = NULL;
    return bytes ? DRIVER(cuMemAlloc((CUdeviceptr *)place, bytes)) : 0;
}

int cudaMallocFromPoolAsync(void **place, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return DRIVER(cuMemAllocFromPoolAsync((CUdeviceptr *)place, bytes, pool, stream));
}

int cudaHostAlloc(void **place, size_t bytes, unsigned flags) { return DRIVER(cuMemHostAlloc(place, bytes, flags)); }
int cudaMallocHost(void **place, size_t bytes) { return cudaHostAlloc(place, bytes, 0); }
int cudaFree(void *place) { return DRIVER(cuMemFree((CUdeviceptr)place)); }
int cudaFreeAsync(void *place, CUstream stream) { return DRIVER(cuMemFreeAsync((CUdeviceptr)place, stream)); }
int cudaFreeHost(void *place) { return place ? DRIVER(cuMemFreeHost(place)) : 0; }
int cudaMemset(void *place, int value, size_t bytes) { return DRIVER(cuMemsetD8((CUdeviceptr)place, value, bytes)); }

int cudaMemsetAsync(void *place, int value, size_t bytes, CUstream stream) {
    return DRIVER(cuMemsetD8Async((CUdeviceptr)place, value, bytes, stream));
}

// Of the host's memory that it didn't make the driver knows nothing, and it's cudaMemoryTypeUnregistered, which is 0.
static unsigned type_of(const void *place) {
    unsigned type = 0;
    enter("cudaPointerGetAttributes");
    return cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)place) ? 0 : type;
}

int cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *place) {
    memset(attributes, 0, sizeof *attributes);
    attributes->type = type_of(place);
    if (attributes->type) attributes->devicePointer = (void *)place;
    if (attributes->type == cudaMemoryTypeHost) attributes->hostPointer = (void *)place;
    return 0;
}

static int copy(void *to, const void *from, size_t bytes, int kind, CUstream stream) {
    if (kind == cudaMemcpyDefault) {
        const int into = type_of(to) == cudaMemoryTypeDevice, out_of = type_of(from) == cudaMemoryTypeDevice;
        kind = into ? out_of ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                    : out_of ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
    }
    switch (kind) {
        case cudaMemcpyHostToDevice: return cuMemcpyHtoDAsync((CUdeviceptr)to, from, bytes, stream);
        case cudaMemcpyDeviceToHost: return cuMemcpyDtoHAsync(to, (CUdeviceptr)from, bytes, stream);
        case cudaMemcpyDeviceToDevice: return cuMemcpyDtoDAsync((CUdeviceptr)to, (CUdeviceptr)from, bytes, stream);
    }
    const int status = cuStreamSynchronize(stream);
    if (!status) memcpy(to, from, bytes);
    return status;
}

int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) {
    enter(__func__);
    switch (kind) {
        case cudaMemcpyHostToDevice: return cuMemcpyHtoD((CUdeviceptr)to, from, bytes);
        case cudaMemcpyDeviceToHost: return cuMemcpyDtoH(to, (CUdeviceptr)from, bytes);
        default: return copy(to, from, bytes, kind, NULL);
    }
}

int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, CUstream stream) {
    enter(kind == cudaMemcpyDeviceToHost ? "copy to the host" : "copy");
    return copy(to, from, bytes, kind, stream);
}

int cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                      int kind, CUstream stream) {
    int status = 0;
    enter(__func__);
    for (size_t row = 0; row < height && !status; row++)
        status = copy((char *)to + row * to_pitch, (const char *)from + row * from_pitch, width, kind, stream);
    return status;
}

// The structure is the driver's by another name, and so are the attributes' numbers.
int cudaMemPoolCreate(CUmemoryPool *place, const void *properties) { return DRIVER(cuMemPoolCreate(place, properties)); }
int cudaMemPoolDestroy(CUmemoryPool pool) { return DRIVER(cuMemPoolDestroy(pool)); }
int cudaMemPoolTrimTo(CUmemoryPool pool, size_t keep) { return DRIVER(cuMemPoolTrimTo(pool, keep)); }

int cudaMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value) {
    return DRIVER(cuMemPoolGetAttribute(pool, attribute, value));
}

int cudaMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value) {
    return DRIVER(cuMemPoolSetAttribute(pool, attribute, value));
}

// Order.

int cudaStreamCreateWithFlags(CUstream *place, unsigned flags) { return DRIVER(cuStreamCreate(place, flags)); }
int cudaStreamCreate(CUstream *place) { return cudaStreamCreateWithFlags(place, 0); }
int cudaStreamDestroy(CUstream stream) { return DRIVER(cuStreamDestroy(stream)); }
int cudaStreamSynchronize(CUstream stream) { return DRIVER(cuStreamSynchronize(stream)); }
int cudaEventCreateWithFlags(CUevent *place, unsigned flags) { return DRIVER(cuEventCreate(place, flags)); }
int cudaEventCreate(CUevent *place) { return cudaEventCreateWithFlags(place, 0); }
int cudaEventDestroy(CUevent event) { return DRIVER(cuEventDestroy(event)); }
int cudaEventRecord(CUevent event, CUstream stream) { return DRIVER(cuEventRecord(event, stream)); }
int cudaEventSynchronize(CUevent event) { return DRIVER(cuEventSynchronize(event)); }

int cudaEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
    return DRIVER(cuEventRecordWithFlags(event, stream, flags));
}

int cudaStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    return DRIVER(cuStreamWaitEvent(stream, event, flags));
}

int cudaEventElapsedTime(float *milliseconds, CUevent from, CUevent to) {
    return DRIVER(cuEventElapsedTime(milliseconds, from, to));
}

int cudaLaunchHostFunc(CUstream stream, CUhostFn function, void *data) {
    return DRIVER(cuLaunchHostFunc(stream, function, data));
}

// Graphs: what is captured is done at once, and a launch does nothing.

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
