// The kernels by name, and how the parameters of a launch get to them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace simulated {

struct Kernel {
    std::string name;
    std::vector<size_t> parameter_bytes;
    // Calls the function with the parameters that the pointers show.
    void (*call)(void (*function)(), void* const* parameters);
    void (*function)();
};

// The parameters are not the kernel's memory, so their reading goes unchecked.
#define SIMULATED_UNCHECKED __attribute__((no_sanitize("thread")))

template <typename... Parameters>
struct Caller {
    template <size_t... at>
    SIMULATED_UNCHECKED static void spread(void (*function)(Parameters...), void* const* parameters, std::index_sequence<at...>) {
        (void)parameters;
        function(*static_cast<std::remove_cv_t<Parameters>*>(parameters[at])...);
    }
    SIMULATED_UNCHECKED static void call(void (*function)(), void* const* parameters) {
        spread(reinterpret_cast<void (*)(Parameters...)>(function), parameters,
               std::index_sequence_for<Parameters...>());
    }
};

void add_kernel(Kernel kernel);
const Kernel* find_kernel(const std::string& name);

template <typename... Parameters>
bool register_kernel(const char* name, void (*function)(Parameters...)) {
    add_kernel({name, {sizeof(Parameters)...}, Caller<Parameters...>::call,
                reinterpret_cast<void (*)()>(function)});
    return true;
}

}  // namespace simulated

#define SIMULATED_KERNEL(name) \
    [[maybe_unused]] static const bool simulated_registered_##name = ::simulated::register_kernel(#name, name);
