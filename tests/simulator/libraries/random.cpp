// Stands in for libcurand as far as a device is created: generators exist, but
// none of their numbers do; what would make some is a stub that aborts.
#include <cstdint>

#define RANDOM_API extern "C" __attribute__((visibility("default"))) int

struct Generator {
    unsigned long long seed = 0;
    unsigned long long offset = 0;
    void* stream = nullptr;
};

RANDOM_API curandCreateGenerator(Generator** generator, int) {
    *generator = new Generator;
    return 0;
}

RANDOM_API curandDestroyGenerator(Generator* generator) {
    delete generator;
    return 0;
}

RANDOM_API curandSetPseudoRandomGeneratorSeed(Generator* generator, unsigned long long seed) {
    generator->seed = seed;
    return 0;
}

RANDOM_API curandSetGeneratorOffset(Generator* generator, unsigned long long offset) {
    generator->offset = offset;
    return 0;
}

RANDOM_API curandSetStream(Generator* generator, void* stream) {
    generator->stream = stream;
    return 0;
}
