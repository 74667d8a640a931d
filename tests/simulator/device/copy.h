// cp.async: copies from global to shared memory that land no earlier than the
// wait that covers their group.
#pragma once

namespace simulated {

void copy_issue(void* shared, const void* global, bool valid);
void copy_commit();
void copy_wait(unsigned pending_groups);

}  // namespace simulated

// The destination is poisoned now and written by the wait, with zeros if the
// copy is not valid; the source is then not read at all.
static inline void copy_async_16(void* shared, const void* global, bool valid) {
    ::simulated::copy_issue(shared, global, valid);
}
static inline void copy_async_commit() { ::simulated::copy_commit(); }

// Waits until at most N of the thread's latest groups are still under way.
template <int N>
static inline void copy_async_wait() {
    static_assert(N >= 0, "a number of groups");
    ::simulated::copy_wait(unsigned(N));
}
