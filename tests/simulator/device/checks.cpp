// What the compiler calls when -fsanitize=alignment,bounds finds a kernel's
// access at fault. The device stops at a misaligned one and silently misreads
// behind an array's end; here both end the process with the place.
#include <cstddef>
#include <cstdint>

#include "threads.h"

namespace {

// The compiler's description of a place starts with this.
struct Place {
    const char* file;
    uint32_t line;
    uint32_t column;
};

}  // namespace

extern "C" {

[[noreturn]] void __ubsan_handle_type_mismatch_v1_abort(const Place* place, uintptr_t address) {
    simulated::fail("%s:%u: misaligned access to address %#zx", place->file, place->line, size_t(address));
}

[[noreturn]] void __ubsan_handle_out_of_bounds_abort(const Place* place, uintptr_t index) {
    simulated::fail("%s:%u: index %zd is outside of the array", place->file, place->line, ptrdiff_t(index));
}

}
