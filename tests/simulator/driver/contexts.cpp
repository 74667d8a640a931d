// The driver's functions of the device and of its primary context.
#include "contexts.h"

#include <cstdio>
#include <cstring>
#include <map>

#include "memory.h"
#include "settings.h"
#include "trace.h"

using namespace simulated;

namespace {

bool initialised = false;
unsigned retained = 0;
unsigned flags = 0;
char context_itself;
thread_local CUcontext current = nullptr;

std::map<int, size_t>& limits() {
    // Stack, printf buffer, heap: as a device has them.
    static auto& instance = *new std::map<int, size_t>{{0, 1024}, {1, 1 << 20}, {2, 8 << 20}};
    return instance;
}

bool is_device(CUdevice device) { return device >= 0 && device < settings().devices; }

// The same 16 bytes as in the UUID that the NVML stand-in tells.
const unsigned char identity[16] = {0x53, 0x69, 0x6d, 0x75, 0x6c, 0x61, 0x74, 0x65,
                                    0x64, 0x2d, 0x47, 0x50, 0x55, 0x2d, 0x30, 0x31};

}  // namespace

CUcontext simulated::primary_context() { return reinterpret_cast<CUcontext>(&context_itself); }

CUresult simulated::needs_context() {
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    if (current == nullptr || retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    return CUDA_SUCCESS;
}

CUDA_API cuInit(unsigned) {
    Call call;
    if (settings().devices == 0) return CUDA_ERROR_NO_DEVICE;
    initialised = true;
    return CUDA_SUCCESS;
}

CUDA_API cuDriverGetVersion(int* version) {
    *version = 13000;
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGetCount(int* count) {
    Call call;
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    *count = settings().devices;
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGet(CUdevice* device, int ordinal) {
    Call call;
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    if (!is_device(ordinal)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGetName(char* name, int length, CUdevice device) {
    Call call;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    std::snprintf(name, size_t(length), "%s", settings().name.c_str());
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
    Call call;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    std::memcpy(uuid->bytes, identity, sizeof identity);
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGetUuid(CUuuid* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

CUDA_API cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
    Call call;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    std::snprintf(id, size_t(length), "0000:01:00.0");
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
    Call call;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *bytes = settings().memory;
    return CUDA_SUCCESS;
}

CUDA_API cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
    Call call;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    switch (attribute) {
        case 1: *value = threads_at_most; break;
        case 2: case 3: *value = 1024; break;
        case 4: *value = 64; break;
        case 5: *value = 2147483647; break;
        case 6: case 7: *value = 65535; break;
        case 8: *value = int(shared_bytes_by_default); break;
        case 9: *value = 65536; break;                 // constant memory
        case 10: *value = 32; break;                   // warp
        case 11: *value = 2147483647; break;           // pitch
        case 12: case 82: *value = 65536; break;       // registers of a block, of a multiprocessor
        case 13: *value = 1980000; break;              // clock, kHz
        case 14: *value = 512; break;                  // texture alignment
        case 15: *value = 1; break;                    // copies beside kernels
        case 16: *value = multiprocessors; break;
        case 19: *value = 1; break;                    // maps host memory
        case 31: *value = 1; break;                    // concurrent kernels
        case 33: *value = 1; break;                    // PCI bus
        case 36: *value = 2619000; break;              // memory clock, kHz
        case 37: *value = 5120; break;                 // memory bus, bits
        case 38: *value = 50 << 20; break;             // level 2 cache
        case 39: *value = 2048; break;                 // threads of a multiprocessor
        case 40: *value = 3; break;                    // copy engines
        case 41: *value = 1; break;                    // unified addressing
        case 75: *value = compute_capability_major; break;
        case 76: *value = compute_capability_minor; break;
        case 78: *value = 1; break;                    // stream priorities
        case 79: case 80: *value = 1; break;           // level 1 caches
        case 81: *value = 228 * 1024; break;           // shared memory of a multiprocessor
        case 97: *value = int(shared_bytes_at_most); break;
        case 99: *value = 1; break;                    // registers host memory
        case 106: *value = 32; break;                  // blocks of a multiprocessor
        case 111: *value = 1024; break;                // shared memory that the system takes of a block
        case 115: *value = 1; break;                   // memory pools
        default:
            if (attribute < 1 || attribute > 150) return CUDA_ERROR_INVALID_VALUE;
            *value = 0;
    }
    return CUDA_SUCCESS;
}

CUDA_API cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    Call call;
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (retained == 0 && device_bytes_taken() + context_bytes > settings().memory) return CUDA_ERROR_OUT_OF_MEMORY;
    if (++retained == 1) set_context(true);
    *context = primary_context();
    return CUDA_SUCCESS;
}

CUDA_API cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    Call call;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    if (retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
    if (--retained != 0) return CUDA_SUCCESS;
    // The context's end is the end of all its work and memory.
    force_all();
    check_memory();
    free_everything();
    release_above_thresholds();
    set_context(false);
    return CUDA_SUCCESS;
}

CUDA_API cuDevicePrimaryCtxGetState(CUdevice device, unsigned* state_flags, int* active) {
    Call call;
    if (!is_device(device)) return CUDA_ERROR_INVALID_DEVICE;
    *state_flags = flags;
    *active = retained != 0;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxSetCurrent(CUcontext context) {
    Call call;
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    if (context != nullptr && context != primary_context()) return CUDA_ERROR_INVALID_CONTEXT;
    current = context;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxGetCurrent(CUcontext* context) {
    Call call;
    if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
    *context = current;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxGetDevice(CUdevice* device) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    *device = 0;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxSynchronize() {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    trace("synchronize context");
    force_all();
    synchronised();
    return CUDA_SUCCESS;
}

CUDA_API cuCtxSetFlags(unsigned value) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    flags = value;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxGetFlags(unsigned* value) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    *value = flags;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxGetLimit(size_t* value, int limit) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    const auto found = limits().find(limit);
    if (found == limits().end()) return CUDA_ERROR_UNSUPPORTED_LIMIT;
    *value = found->second;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxSetLimit(int limit, size_t value) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    if (limits().count(limit) == 0) return CUDA_ERROR_UNSUPPORTED_LIMIT;
    limits()[limit] = value;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    *least = 0;
    *greatest = -5;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxGetCacheConfig(int* configuration) {
    *configuration = 0;
    return CUDA_SUCCESS;
}

CUDA_API cuCtxSetCacheConfig(int) { return CUDA_SUCCESS; }

CUDA_API cuStreamGetCtx(CUstream stream, CUcontext* context) {
    Call call;
    if (stream_of(stream) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    *context = primary_context();
    return CUDA_SUCCESS;
}
