// Stands in for libnvidia-ml: one device with steady readings, whose memory is
// what the simulated drivers say in the shared state. The environment makes any
// function fail, and names throttling and another process.
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../driver/settings.h"
#include "../driver/shared_state.h"

using namespace simulated;

#define NVML_API extern "C" __attribute__((visibility("default"))) int

// Each function starts with this; a test can ask for any error of any of them.
#define MAY_FAIL                                         \
    if (const int error = fault(__func__)) return error; \
    if (!initialised) return uninitialized

namespace {

enum Return { success = 0, uninitialized = 1, invalid_argument = 2, not_supported = 3, not_found = 6, insufficient_size = 7 };

using Device = struct DeviceItself*;
char device_itself;
unsigned initialised = 0;

constexpr unsigned long long milliwatts = 150000;
constexpr unsigned long long milliwatts_at_most = 700000;
const char* const uuid = "GPU-53696d75-6c61-7465-642d-4750552d3031";

int fault(const char* function) {
    const char* list = std::getenv("SIMULATED_NVML_FAIL");
    if (list == nullptr) return 0;
    const std::string all = std::string(",") + list + ",";
    const std::string wanted = std::string(",") + function + ":";
    const size_t found = all.find(wanted);
    return found == std::string::npos ? 0 : std::atoi(all.c_str() + found + wanted.size());
}

unsigned long long number(const char* variable) {
    const char* text = std::getenv(variable);
    return text == nullptr ? 0 : std::strtoull(text, nullptr, 0);
}

bool is_device(Device device) { return device == reinterpret_cast<Device>(&device_itself) && settings().devices > 0; }

struct Process {
    unsigned id;
    unsigned long long bytes;
};

std::vector<Process> processes() {
    std::vector<Process> result;
    static SharedState* const state = open_shared_state(settings().state);
    if (state != nullptr)
        for (const auto& slot : state->processes)
            if (lives(slot.id)) result.push_back({unsigned(slot.id), slot.bytes});
    const char* other = std::getenv("SIMULATED_NVML_OTHER_PROCESS");
    if (other != nullptr && *other != '\0') result.push_back({unsigned(std::atoi(other)), settings().taken});
    return result;
}

unsigned long long used_bytes() {
    unsigned long long bytes = 0;
    for (const Process& process : processes()) bytes += process.bytes;
    return bytes;
}

int give(char* to, unsigned length, const std::string& text) {
    if (to == nullptr) return invalid_argument;
    if (text.size() + 1 > length) return insufficient_size;
    std::memcpy(to, text.c_str(), text.size() + 1);
    return success;
}

}  // namespace

NVML_API nvmlInit_v2() {
    if (const int error = fault(__func__)) return error;
    ++initialised;
    return success;
}

NVML_API nvmlInitWithFlags(unsigned) {
    if (const int error = fault(__func__)) return error;
    ++initialised;
    return success;
}

NVML_API nvmlShutdown() {
    MAY_FAIL;
    --initialised;
    return success;
}

extern "C" __attribute__((visibility("default"))) const char* nvmlErrorString(int code) {
    switch (code) {
        case success: return "The operation was successful";
        case uninitialized: return "NVML was not first initialized with nvmlInit()";
        case invalid_argument: return "A supplied argument is invalid";
        case not_supported: return "The requested operation is not available on target device";
        case not_found: return "A query to find an object was unsuccessful";
        default: return "An error that a test asked for";
    }
}

NVML_API nvmlSystemGetDriverVersion(char* to, unsigned length) {
    MAY_FAIL;
    return give(to, length, "580.00.00");
}

NVML_API nvmlSystemGetNVMLVersion(char* to, unsigned length) {
    MAY_FAIL;
    return give(to, length, "13.580.00.00");
}

NVML_API nvmlSystemGetCudaDriverVersion_v2(int* version) {
    MAY_FAIL;
    *version = 13000;
    return success;
}

NVML_API nvmlSystemGetProcessName(unsigned process, char* to, unsigned length) {
    MAY_FAIL;
    return give(to, length, "process " + std::to_string(process));
}

NVML_API nvmlDeviceGetCount_v2(unsigned* count) {
    MAY_FAIL;
    *count = unsigned(settings().devices);
    return success;
}

NVML_API nvmlDeviceGetHandleByIndex_v2(unsigned index, Device* device) {
    MAY_FAIL;
    if (index >= unsigned(settings().devices)) return invalid_argument;
    *device = reinterpret_cast<Device>(&device_itself);
    return success;
}

NVML_API nvmlDeviceGetHandleByUUID(const char* text, Device* device) {
    MAY_FAIL;
    if (std::strcmp(text, uuid) != 0) return not_found;
    *device = reinterpret_cast<Device>(&device_itself);
    return success;
}

NVML_API nvmlDeviceGetHandleByPciBusId_v2(const char* text, Device* device) {
    MAY_FAIL;
    if (std::strstr(text, "0000:01:00.0") == nullptr) return not_found;
    *device = reinterpret_cast<Device>(&device_itself);
    return success;
}

NVML_API nvmlDeviceGetIndex(Device device, unsigned* index) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *index = 0;
    return success;
}

NVML_API nvmlDeviceGetName(Device device, char* to, unsigned length) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    return give(to, length, settings().name);
}

NVML_API nvmlDeviceGetUUID(Device device, char* to, unsigned length) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    return give(to, length, uuid);
}

struct MemoryInfo {
    unsigned long long total, free, used;
};

NVML_API nvmlDeviceGetMemoryInfo(Device device, MemoryInfo* memory) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    const unsigned long long used = used_bytes();
    *memory = {settings().memory, settings().memory - used, used};
    return success;
}

struct MemoryInfo2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

NVML_API nvmlDeviceGetMemoryInfo_v2(Device device, MemoryInfo2* memory) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    const unsigned long long used = used_bytes();
    *memory = {memory->version, settings().memory, 0, settings().memory - used, used};
    return success;
}

struct Utilization {
    unsigned gpu, memory;
};

NVML_API nvmlDeviceGetUtilizationRates(Device device, Utilization* utilization) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    // A card that nobody is on does nothing.
    if (used_bytes() > 0) {
        *utilization = {50, 25};
    } else {
        *utilization = {0, 0};
    }
    return success;
}

NVML_API nvmlDeviceGetTemperature(Device device, int, unsigned* degrees) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *degrees = 45;
    return success;
}

NVML_API nvmlDeviceGetTemperatureThreshold(Device device, int, unsigned* degrees) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *degrees = 90;
    return success;
}

NVML_API nvmlDeviceGetClockInfo(Device device, int clock, unsigned* megahertz) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *megahertz = clock == 2 ? 2619 : 1980;
    return success;
}

NVML_API nvmlDeviceGetMaxClockInfo(Device device, int clock, unsigned* megahertz) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *megahertz = clock == 2 ? 2619 : 1980;
    return success;
}

NVML_API nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long* reasons) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *reasons = number("SIMULATED_NVML_THROTTLE");
    return success;
}

NVML_API nvmlDeviceGetCurrentClocksEventReasons(Device device, unsigned long long* reasons) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *reasons = number("SIMULATED_NVML_THROTTLE");
    return success;
}

NVML_API nvmlDeviceGetSupportedClocksThrottleReasons(Device device, unsigned long long* reasons) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *reasons = 0x1ff;
    return success;
}

NVML_API nvmlDeviceGetPowerUsage(Device device, unsigned* power) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *power = unsigned(milliwatts);
    return success;
}

NVML_API nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long* millijoules) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    // The power that is told, over the machine's time.
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const unsigned long long microseconds = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
    *millijoules = microseconds / 1000 * milliwatts / 1000;
    return success;
}

NVML_API nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned* power) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *power = unsigned(milliwatts_at_most);
    return success;
}

NVML_API nvmlDeviceGetPowerManagementLimit(Device device, unsigned* power) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *power = unsigned(milliwatts_at_most);
    return success;
}

NVML_API nvmlDeviceGetPowerManagementDefaultLimit(Device device, unsigned* power) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *power = unsigned(milliwatts_at_most);
    return success;
}

NVML_API nvmlDeviceGetPerformanceState(Device device, int* state) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *state = 0;
    return success;
}

NVML_API nvmlDeviceGetPersistenceMode(Device device, int* mode) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *mode = 1;
    return success;
}

NVML_API nvmlDeviceGetComputeMode(Device device, int* mode) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *mode = 0;
    return success;
}

NVML_API nvmlDeviceGetEccMode(Device device, int* now, int* later) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *now = *later = 0;
    return success;
}

NVML_API nvmlDeviceGetMigMode(Device device, unsigned* now, unsigned* later) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *now = *later = 0;
    return success;
}

struct ProcessInfo {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId;
    unsigned computeInstanceId;
};

NVML_API nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned* count, ProcessInfo* to) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    const std::vector<Process> all = processes();
    const unsigned room = *count;
    *count = unsigned(all.size());
    if (all.empty()) return success;
    if (to == nullptr || room < all.size()) return insufficient_size;
    for (const Process& process : all) *to++ = {process.id, process.bytes, ~0u, ~0u};
    return success;
}

NVML_API nvmlDeviceGetComputeRunningProcesses_v2(Device device, unsigned* count, ProcessInfo* to) {
    MAY_FAIL;
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, to);
}

NVML_API nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned* count, ProcessInfo*) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *count = 0;
    return success;
}

struct PciInfo {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
};

NVML_API nvmlDeviceGetPciInfo_v3(Device device, PciInfo* pci) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    std::memset(pci, 0, sizeof *pci);
    std::snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:01:00.0");
    std::snprintf(pci->busId, sizeof pci->busId, "00000000:01:00.0");
    pci->bus = 1;
    pci->pciDeviceId = 0x233010de;
    return success;
}

NVML_API nvmlDeviceGetCudaComputeCapability(Device device, int* major, int* minor) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *major = compute_capability_major;
    *minor = compute_capability_minor;
    return success;
}

NVML_API nvmlDeviceGetBrand(Device device, int* brand) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *brand = 0;
    return success;
}

NVML_API nvmlDeviceGetArchitecture(Device device, unsigned* architecture) {
    MAY_FAIL;
    if (!is_device(device)) return invalid_argument;
    *architecture = 9;
    return success;
}
