// Runs all the cases.
#include "harness.h"

int main() {
    test_kernels();
    test_streams();
    test_memory();
    test_libraries();
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
