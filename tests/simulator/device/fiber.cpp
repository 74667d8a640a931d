// The fibers' stacks, and the switch between them: by a few instructions where
// the machine is x86-64, by ucontext (and its system call) elsewhere.
#include "fiber.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

namespace simulated {

static constexpr size_t guard_bytes = 4096;
static constexpr size_t most_fibers = 1024;

// All stacks are of one stretch of addresses, of which only what is touched
// takes memory; so it is quick to tell a stack's address from any other.
static char* arena = nullptr;
static size_t fibers = 0;

Fiber::Fiber() {
    constexpr size_t each = guard_bytes + stack_bytes;
    if (arena == nullptr) {
        void* pages = mmap(nullptr, most_fibers * each, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        arena = pages == MAP_FAILED ? nullptr : static_cast<char*>(pages);
    }
    memory = arena + fibers++ * each;
    if (arena == nullptr || fibers > most_fibers || mprotect(memory, guard_bytes, PROT_NONE) != 0) {
        std::perror("simulator: no memory for a thread's stack");
        std::abort();
    }
}

bool Fiber::is_stack(const void* address) {
    const auto* at = static_cast<const char*>(address);
    return at >= arena && at < arena + most_fibers * (guard_bytes + stack_bytes);
}

#if defined(__x86_64__)

// Saves what a call must keep, exchanges the stacks, and takes up the other.
asm(R"(
    .text
    .type simulated_switch, @function
simulated_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size simulated_switch, . - simulated_switch
)");

extern "C" void simulated_switch(void** save, void* load) __attribute__((visibility("hidden")));

void Fiber::prepare(void (*function)()) {
    auto** top = reinterpret_cast<void**>(memory + guard_bytes + stack_bytes);
    // Below the top: where the function's return address would be, so that the
    // stack is aligned as after a call; the function; six registers.
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(function);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    inside = top;
}

void Fiber::enter() { simulated_switch(&outside, inside); }
void Fiber::leave() { simulated_switch(&inside, outside); }

#else

void Fiber::prepare(void (*function)()) {
    getcontext(&inside);
    inside.uc_stack.ss_sp = memory + guard_bytes;
    inside.uc_stack.ss_size = stack_bytes;
    inside.uc_link = nullptr;
    makecontext(&inside, function, 0);
}

void Fiber::enter() { swapcontext(&outside, &inside); }
void Fiber::leave() { swapcontext(&inside, &outside); }

#endif

}  // namespace simulated
