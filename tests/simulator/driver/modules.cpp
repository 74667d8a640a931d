// Modules, functions and launches. A module may be any image: the kernels are
// those that were compiled into this library. If the image is PTX, a function
// must be one of its entries as well.
#include <algorithm>
#include <cstring>
#include <map>
#include <string>

#include "../device/grid.h"
#include "contexts.h"
#include "memory.h"
#include "settings.h"
#include "streams.h"
#include "trace.h"

using namespace simulated;

namespace {

constexpr double kernel_time = 20.0;

struct Function {
    const Kernel* kernel;
    size_t dynamic_shared_at_most = shared_bytes_by_default;
};

struct Module {
    // Empty where the image is no text.
    std::string text;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

std::map<CUmodule, std::unique_ptr<Module>>& modules() {
    static auto& instance = *new std::map<CUmodule, std::unique_ptr<Module>>;
    return instance;
}
std::map<CUfunction, Function*>& functions() {
    static auto& instance = *new std::map<CUfunction, Function*>;
    return instance;
}

Function* function_of(CUfunction handle) {
    const auto found = functions().find(handle);
    return found == functions().end() ? nullptr : found->second;
}

bool find_memory(const void* address, size_t bytes, const char*& begin, size_t& length) {
    const Memory memory = standing_memory(address, bytes);
    begin = memory != nullptr ? memory->address : static_cast<const char*>(address);
    length = memory != nullptr ? memory->bytes : bytes;
    return memory != nullptr || is_pinned(address, bytes);
}

std::string text(dim3 size) {
    return std::to_string(size.x) + "," + std::to_string(size.y) + "," + std::to_string(size.z);
}

CUresult launch(CUfunction handle, dim3 grid, dim3 block, size_t shared, CUstream stream_handle, void** parameters,
                void** extra) {
    if (const CUresult missing = needs_context()) return missing;
    const Function* function = function_of(handle);
    const auto stream = stream_of(stream_handle);
    if (function == nullptr || stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const Kernel& kernel = *function->kernel;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535)
        return CUDA_ERROR_INVALID_VALUE;
    if (block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 ||
        uint64_t(block.x) * block.y * block.z > threads_at_most)
        return CUDA_ERROR_INVALID_VALUE;
    if (shared > function->dynamic_shared_at_most) return CUDA_ERROR_INVALID_VALUE;
    if (extra != nullptr || (parameters == nullptr && !kernel.parameter_bytes.empty())) return CUDA_ERROR_INVALID_VALUE;

    // The parameters are the launch's from now on; each gets an alignment that
    // suits any type.
    struct Parameters {
        std::vector<std::vector<std::max_align_t>> values;
        std::vector<void*> addresses;
    };
    const auto own = std::make_shared<Parameters>();
    for (size_t at = 0; at < kernel.parameter_bytes.size(); ++at) {
        const size_t bytes = kernel.parameter_bytes[at];
        own->values.emplace_back((bytes + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
        std::memcpy(own->values.back().data(), parameters[at], bytes);
        own->addresses.push_back(own->values.back().data());
    }
    device_memory = find_memory;
    queue(stream, "kernel name=" + kernel.name + " grid=" + text(grid) + " block=" + text(block) + " shared=" + std::to_string(shared),
          kernel_time, [&kernel, grid, block, shared, own] { run_grid(kernel, grid, block, shared, own->addresses.data()); });
    return CUDA_SUCCESS;
}

}  // namespace

CUDA_API cuModuleLoadData(CUmodule* result, const void* image) {
    Call call;
    if (const CUresult missing = needs_context()) return missing;
    if (image == nullptr) return CUDA_ERROR_INVALID_VALUE;
    static const bool seeded = (seed_grids(settings().seed), true);
    (void)seeded;
    auto module = std::make_unique<Module>();
    // An ELF file and a fat binary each start with their own magic number.
    const auto* bytes = static_cast<const unsigned char*>(image);
    const bool binary = bytes[0] == 0x7f || (bytes[0] == 0x50 && bytes[1] == 0xed);
    if (!binary) module->text = static_cast<const char*>(image);
    *result = reinterpret_cast<CUmodule>(module.get());
    modules()[*result] = std::move(module);
    return CUDA_SUCCESS;
}

CUDA_API cuModuleLoadDataEx(CUmodule* result, const void* image, unsigned, void*, void**) {
    return cuModuleLoadData(result, image);
}

CUDA_API cuModuleLoadFatBinary(CUmodule* result, const void* image) { return cuModuleLoadData(result, image); }

CUDA_API cuModuleLoad(CUmodule* result, const char*) { return cuModuleLoadData(result, "\x7f"); }

CUDA_API cuModuleUnload(CUmodule handle) {
    Call call;
    const auto found = modules().find(handle);
    if (found == modules().end()) return CUDA_ERROR_INVALID_HANDLE;
    for (const auto& [name, function] : found->second->functions)
        functions().erase(reinterpret_cast<CUfunction>(function.get()));
    modules().erase(found);
    return CUDA_SUCCESS;
}

CUDA_API cuModuleGetFunction(CUfunction* result, CUmodule handle, const char* name) {
    Call call;
    const auto found = modules().find(handle);
    if (found == modules().end()) return CUDA_ERROR_INVALID_HANDLE;
    Module& module = *found->second;
    const Kernel* kernel = find_kernel(name);
    if (kernel == nullptr) {
        trace("missing kernel name=" + std::string(name));
        return CUDA_ERROR_NOT_FOUND;
    }
    // nvcc writes an entry as ".visible .entry name(".
    if (module.text.find(".entry ") != std::string::npos &&
        module.text.find(".entry " + std::string(name) + "(") == std::string::npos)
        return CUDA_ERROR_NOT_FOUND;
    auto& function = module.functions[name];
    if (function == nullptr) function = std::make_unique<Function>(Function{kernel});
    *result = reinterpret_cast<CUfunction>(function.get());
    functions()[*result] = function.get();
    return CUDA_SUCCESS;
}

CUDA_API cuModuleGetGlobal_v2(CUdeviceptr*, size_t*, CUmodule, const char*) { return CUDA_ERROR_NOT_FOUND; }

// ONNX Runtime's provider for CUDA is linked with it, for kernels that tests/stand_in doesn't run. No kernel here reads a
// tensor map, so that an empty one will do.
CUDA_API cuTensorMapEncodeTiled(void* map) {
    std::memset(map, 0, 128);
    return CUDA_SUCCESS;
}

CUDA_API cuFuncGetAttribute(int* value, int attribute, CUfunction handle) {
    Call call;
    const Function* function = function_of(handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    switch (attribute) {
        case 0: *value = threads_at_most; break;
        case 4: *value = 64; break;          // registers
        case 5: case 6: *value = compute_capability_major * 10 + compute_capability_minor; break;
        case 8: *value = int(function->dynamic_shared_at_most); break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUDA_API cuFuncSetAttribute(CUfunction handle, int attribute, int value) {
    Call call;
    Function* function = function_of(handle);
    if (function == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (attribute == 8) {
        if (value < 0 || size_t(value) > shared_bytes_at_most) return CUDA_ERROR_INVALID_VALUE;
        function->dynamic_shared_at_most = std::max(size_t(value), shared_bytes_by_default);
    }
    return CUDA_SUCCESS;
}

CUDA_API cuFuncSetCacheConfig(CUfunction, int) { return CUDA_SUCCESS; }

CUDA_API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void** parameters,
                        void** extra) {
    Call call;
    return launch(function, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, stream, parameters, extra);
}

CUDA_API cuLaunchKernelEx(const CUlaunchConfig* how, CUfunction function, void** parameters, void** extra) {
    Call call;
    return launch(function, {how->gridDimX, how->gridDimY, how->gridDimZ},
                  {how->blockDimX, how->blockDimY, how->blockDimZ}, how->sharedMemBytes, how->hStream, parameters, extra);
}

CUDA_API cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction handle, int threads, size_t shared) {
    Call call;
    if (function_of(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (threads <= 0 || threads > int(threads_at_most)) return CUDA_ERROR_INVALID_VALUE;
    const int rounded = (threads + 31) / 32 * 32;
    *blocks = std::min({32, 2048 / rounded, int(228 * 1024 / (shared + 1024))});
    return CUDA_SUCCESS;
}

CUDA_API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction function, int threads,
                                                              size_t shared, unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared);
}

CUDA_API cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction handle, void*, size_t, int limit) {
    Call call;
    if (function_of(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    *block = limit > 0 ? std::min(limit, int(threads_at_most)) : int(threads_at_most);
    *grid = multiprocessors * (2048 / *block);
    return CUDA_SUCCESS;
}

CUDA_API cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block, CUfunction function, void* shared,
                                                   size_t bytes, int limit, unsigned) {
    return cuOccupancyMaxPotentialBlockSize(grid, block, function, shared, bytes, limit);
}
