// One thread of a block as a fiber of the OS thread that runs the block: a
// stack with a guard page, entered and left by hand.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simulated {

class Fiber {
public:
    static constexpr size_t stack_bytes = 64 * 1024;

    // Its stack is never given back: the fibers of a block are kept for the next.
    Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // The next enter() calls the function on an empty stack. The function must
    // end with leave(), never by returning.
    void prepare(void (*function)());

    // Runs the fiber until it calls leave(); to be called outside of fibers.
    void enter();

    // Whether the address is on the stack of any fiber.
    static bool is_stack(const void* address);

    // Goes back to where the fiber was entered; to be called inside of it.
    void leave();

private:
    char* memory;
#if defined(__x86_64__)
    void* inside = nullptr;
    void* outside = nullptr;
#else
    ucontext_t inside;
    ucontext_t outside;
#endif
};

}  // namespace simulated
