// What the environment asks of the simulated device, read once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace simulated {

enum class Schedule { eager, lazy, seeded };

struct Settings {
    Schedule schedule = Schedule::lazy;
    uint64_t seed = 1;
    size_t memory = size_t(8) << 30;
    std::string name = "Simulated GPU";
    std::string trace;
    std::string state;
    uint64_t failing_allocation = 0;
    int devices = 1;
    // Bytes of the device that processes outside of the simulation hold.
    size_t taken = 0;
};

const Settings& settings();

// The constants of the device.
constexpr int compute_capability_major = 9;
constexpr int compute_capability_minor = 0;
constexpr int multiprocessors = 132;
constexpr size_t shared_bytes_by_default = 48 * 1024;
constexpr size_t shared_bytes_at_most = 227 * 1024;
constexpr unsigned threads_at_most = 1024;
constexpr size_t context_bytes = size_t(64) << 20;

}  // namespace simulated
