// What worker/src/backend/gpu/nvidia.rs asks of the driver, and the one function that the provider does.
#include "common.h"

#define TOTAL ((size_t)24 << 30)
#define OUT_OF_MEMORY 2
#define NO_SUCH_DEVICE 101

int cuInit(unsigned flags) { return 0; }
int cuGetErrorString(int status, const char **text) { *text = "stand-in"; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return number ? NO_SUCH_DEVICE : 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    // Major and minor of the compute capability, and memory pools.
    *value = attribute == 75 ? 8 : attribute == 76 ? 6 : attribute == 115;
    return 0;
}
int cuDeviceTotalMem_v2(size_t *total, int device) { *total = TOTAL; return 0; }
int cuDeviceGetPCIBusId(char *text, int room, int device) { strcpy(text, "0000:01:00.0"); return 0; }
int cuDevicePrimaryCtxRetain(void **place, int device) { return handle(place); }
int cuDevicePrimaryCtxRelease_v2(int device) { return 0; }
int cuCtxSetCurrent(void *context) { return 0; }
int cuCtxSynchronize(void) { return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *total = TOTAL; *free = TOTAL - (400 << 20); return 0; }

int cuMemAllocAsync(uint64_t *address, size_t bytes, void *stream) {
    void *place;
    if (posix_memalign(&place, 256, bytes)) return OUT_OF_MEMORY;
    memset(place, 0xff, bytes);
    *address = (uint64_t)place;
    return 0;
}
int cuMemFreeAsync(uint64_t address, void *stream) { free((void *)address); return 0; }
int cuMemHostAlloc(void **place, size_t bytes, unsigned flags) { return posix_memalign(place, 4096, bytes) ? OUT_OF_MEMORY : 0; }
int cuMemFreeHost(void *place) { free(place); return 0; }
int cuMemPoolCreate(void **place, const void *properties) { return handle(place); }
int cuMemPoolDestroy(void *pool) { free(pool); return 0; }
int cuMemPoolSetAttribute(void *pool, int attribute, void *value) { return 0; }
int cuMemPoolGetAttribute(void *pool, int attribute, void *value) { *(uint64_t *)value = 0; return 0; }
int cuMemPoolTrimTo(void *pool, size_t bytes) { return 0; }
int cuDeviceSetMemPool(int device, void *pool) { return 0; }
int cuDeviceGetDefaultMemPool(void **place, int device) { *place = NULL; return 0; }

int cuStreamCreate(void **place, unsigned flags) { return handle(place); }
int cuStreamDestroy_v2(void *stream) { free(stream); return 0; }
int cuStreamSynchronize(void *stream) { return 0; }
int cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return 0; }
int cuEventCreate(void **place, unsigned flags) { return handle(place); }
int cuEventDestroy_v2(void *event) { free(event); return 0; }
int cuEventRecord(void *event, void *stream) { return 0; }
int cuEventSynchronize(void *event) { return 0; }
int cuEventElapsedTime(float *milliseconds, void *from, void *to) { *milliseconds = 0.5; return 0; }

int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) { memcpy((void *)to, from, bytes); return 0; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) { memcpy(to, (void *)from, bytes); return 0; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) { return cuMemcpyHtoD_v2(to, from, bytes); }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) { return cuMemcpyDtoH_v2(to, from, bytes); }

int cuTensorMapEncodeTiled() { return 0; }
