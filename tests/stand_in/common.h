#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void trace(const char *what) {
    if (getenv("STAND_IN_TRACE")) fprintf(stderr, "[stand-in] %s\n", what);
}

// A handle that is good for being handed back.
static int handle(void **place) {
    *place = calloc(1, 64);
    return 0;
}
