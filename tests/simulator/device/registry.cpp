// The table of kernels; each compiled .cu file adds its own when the library
// is loaded.
#include "registry.h"

#include <cstdio>
#include <cstdlib>
#include <map>

namespace simulated {

// A function's static, so that it exists before the first kernel is added.
static std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> table;
    return table;
}

void add_kernel(Kernel kernel) {
    const std::string name = kernel.name;
    if (!kernels().emplace(name, std::move(kernel)).second) {
        std::fprintf(stderr, "simulator: two kernels are called %s\n", name.c_str());
        std::abort();
    }
}

const Kernel* find_kernel(const std::string& name) {
    const auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

}  // namespace simulated
