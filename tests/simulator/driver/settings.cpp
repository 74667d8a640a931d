// Reads the environment.
#include "settings.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace simulated {

static uint64_t number(const char* variable, uint64_t otherwise) {
    const char* text = std::getenv(variable);
    if (text == nullptr || *text == '\0') return otherwise;
    char* end = nullptr;
    const uint64_t value = std::strtoull(text, &end, 10);
    if (*end != '\0') {
        std::fprintf(stderr, "simulator: %s=%s is no number\n", variable, text);
        std::abort();
    }
    return value;
}

static std::string text(const char* variable, const char* otherwise) {
    const char* value = std::getenv(variable);
    return value == nullptr ? otherwise : value;
}

static Settings read() {
    Settings result;
    const std::string schedule = text("SIMULATED_CUDA_SCHEDULE", "lazy");
    result.seed = number("SIMULATED_CUDA_SEED", 1);
    if (schedule == "eager") {
        result.schedule = Schedule::eager;
    } else if (schedule.rfind("seed:", 0) == 0) {
        result.schedule = Schedule::seeded;
        result.seed = std::strtoull(schedule.c_str() + 5, nullptr, 10);
    } else if (schedule != "lazy") {
        std::fprintf(stderr, "simulator: SIMULATED_CUDA_SCHEDULE=%s is none of eager, lazy, seed:N\n", schedule.c_str());
        std::abort();
    }
    result.memory = number("SIMULATED_CUDA_MEMORY", result.memory);
    result.name = text("SIMULATED_CUDA_NAME", result.name.c_str());
    result.trace = text("SIMULATED_CUDA_TRACE", "");
    result.state = text("SIMULATED_CUDA_STATE", "");
    result.failing_allocation = number("SIMULATED_CUDA_FAIL_ALLOC", 0);
    result.devices = int(number("SIMULATED_CUDA_DEVICES", 1));
    const std::string other = text("SIMULATED_NVML_OTHER_PROCESS", "");
    const size_t colon = other.find(':');
    if (colon != std::string::npos) result.taken = std::strtoull(other.c_str() + colon + 1, nullptr, 10);
    return result;
}

const Settings& settings() {
    static const Settings result = read();
    return result;
}

}  // namespace simulated
