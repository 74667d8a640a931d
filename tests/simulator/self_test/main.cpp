// Runs all the cases; with CHECKED in the environment, those of kernels.
#include "harness.h"

int main() {
    test_kernels();
    if (std::getenv("CHECKED") == nullptr) {
        test_streams();
        test_memory();
        test_libraries();
    }
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
