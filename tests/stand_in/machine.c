// NVIDIA's driver as programs see it before they compute: libnvidia-ml.so.1 (compiled with -DNVML) and libcuda.so.1 of a
// machine that the environment describes. README.md has the variables.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 16

// A card, or an instance of MIG, which belongs to the card before it in the list.
struct device { char name[96], uuid[64], capability[8]; uint64_t mebibytes; int instance, divided, card; };
static struct device devices[MOST];
static int count;

static const char *setting(const char *name, const char *otherwise) {
    const char *given = getenv(name);
    return given && *given ? given : otherwise;
}

// NAME,UUID,MIB,CAPABILITY; and the next.
static void read_devices(void) {
    char all[4096], *rest, *entry;
    if (count) return;
    snprintf(all, sizeof all, "%s", setting("STAND_IN_CARDS", ""));
    for (entry = strtok_r(all, ";", &rest); entry && count < MOST; entry = strtok_r(NULL, ";", &rest)) {
        struct device *device = &devices[count];
        unsigned long long mebibytes = 0;
        if (sscanf(entry, "%95[^,],%63[^,],%llu,%7s", device->name, device->uuid, &mebibytes, device->capability) != 4) abort();
        device->mebibytes = mebibytes;
        device->instance = !strncmp(device->uuid, "MIG-", 4);
        device->card = device->instance ? devices[count - 1].card : count;
        if (device->instance) devices[device->card].divided = 1;
        count++;
    }
}

// A call that never returns.
static void hang(const char *function) {
    if (!strcmp(setting("STAND_IN_HANGS", ""), function))
        for (;;) pause();
}

static int fails(const char *function) { return !strcmp(setting("STAND_IN_FAILS", ""), function); }

static int driver(void) { return atoi(setting("STAND_IN_DRIVER", "580.65.06")); }

static int cuda_version(void) {
    const int version = driver();
    return version >= 580 ? 13000 : version >= 550 ? 12040 : version >= 535 ? 12020 : version >= 525 ? 12000 : 11040;
}

static void bus(char *text, size_t room, const char *domain, int card) { snprintf(text, room, "%s:%02X:00.0", domain, card + 1); }

#ifdef NVML

#define OK 0
#define INVALID 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define NO_FUNCTION 13
#define UNKNOWN 999

static int number_of(void *handle) { return (int)(intptr_t)handle - 1; }
static void *handle_of(int number) { return (void *)(intptr_t)(number + 1); }

int nvmlInit_v2(void) {
    hang("nvmlInit_v2");
    read_devices();
    return fails("nvmlInit_v2") ? UNKNOWN : OK;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return "an error of the stand-in"; }
int nvmlSystemGetDriverVersion(char *to, unsigned room) {
    snprintf(to, room, "%s", setting("STAND_IN_DRIVER", "580.65.06"));
    return OK;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = cuda_version(); return OK; }
int nvmlDeviceGetCount_v2(unsigned *cards) {
    *cards = 0;
    for (int place = 0; place < count; place++) *cards += !devices[place].instance;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    for (int place = 0; place < count; place++)
        if (!devices[place].instance && index-- == 0) { *handle = handle_of(place); return OK; }
    return INVALID;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    for (int place = 0; place < count; place++)
        if (!strcmp(devices[place].uuid, uuid)) { *handle = handle_of(place); return OK; }
    return NOT_FOUND;
}
int nvmlDeviceGetName(void *handle, char *to, unsigned room) { snprintf(to, room, "%s", devices[number_of(handle)].name); return OK; }
int nvmlDeviceGetUUID(void *handle, char *to, unsigned room) { snprintf(to, room, "%s", devices[number_of(handle)].uuid); return OK; }
struct memory { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory *memory) {
    // Drivers before 510 don't have it.
    if (driver() < 510) return NO_FUNCTION;
    memory->total = memory->free = devices[number_of(handle)].mebibytes << 20;
    memory->reserved = memory->used = 0;
    return OK;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    const struct device *device = &devices[number_of(handle)];
    if (device->instance) return NOT_SUPPORTED;
    return sscanf(device->capability, "%d.%d", major, minor) == 2 ? OK : UNKNOWN;
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char text[32]; };
int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *pci) {
    if (devices[number_of(handle)].instance) return NOT_SUPPORTED;
    memset(pci, 0, sizeof *pci);
    bus(pci->text, sizeof pci->text, "00000000", devices[number_of(handle)].card);
    return OK;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    if (strcmp(devices[number_of(handle)].capability, "8.0") < 0) return NOT_SUPPORTED;
    *current = *pending = devices[number_of(handle)].divided;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *most) { *most = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *card, unsigned index, void **handle) {
    for (int place = 0; place < count; place++)
        if (devices[place].instance && devices[place].card == number_of(card) && index-- == 0) {
            *handle = handle_of(place);
            return OK;
        }
    return NOT_FOUND;
}

#else

#define OK 0
#define NO_DEVICE 100
#define INVALID_DEVICE 101

static int shown[MOST], shown_count;

// What CUDA_VISIBLE_DEVICES leaves, in its order: numbers, or how UUIDs begin. Without it every card, and of cards that are
// divided the first instance alone.
static void show(void) {
    const char *given = getenv("CUDA_VISIBLE_DEVICES");
    char all[4096], *rest, *entry;
    int usable[MOST], usable_count = 0;
    for (int place = 0; place < count; place++)
        if (devices[place].instance ? !devices[place - 1].instance : !devices[place].divided) usable[usable_count++] = place;
    shown_count = 0;
    if (!given) {
        for (int place = 0; place < usable_count; place++) shown[shown_count++] = usable[place];
        return;
    }
    snprintf(all, sizeof all, "%s", given);
    for (entry = strtok_r(all, ",", &rest); entry; entry = strtok_r(NULL, ",", &rest)) {
        char *end;
        const long number = strtol(entry, &end, 10);
        int found = -1;
        if (*end == 0 && number >= 0 && number < usable_count) found = usable[number];
        for (int place = 0; *end && place < count; place++)
            if (!strncmp(devices[place].uuid, entry, strlen(entry))) { found = place; break; }
        if (found < 0) return;
        shown[shown_count++] = found;
    }
}

int cuInit(unsigned flags) {
    hang("cuInit");
    read_devices();
    show();
    return fails("cuInit") ? 999 : shown_count ? OK : NO_DEVICE;
}
int cuGetErrorString(int status, const char **text) { *text = "an error of the stand-in"; return OK; }
int cuDriverGetVersion(int *version) { *version = cuda_version(); return OK; }
int cuDeviceGetCount(int *number) { *number = shown_count; return OK; }
int cuDeviceGet(int *device, int number) {
    if (number < 0 || number >= shown_count) return INVALID_DEVICE;
    *device = shown[number];
    return OK;
}
int cuDeviceGetName(char *to, int room, int device) { snprintf(to, room, "%s", devices[device].name); return OK; }
// The first version tells of an instance the UUID of its card.
int cuDeviceGetUuid_v2(unsigned char *to, int device) {
    const char *text = strchr(devices[device].uuid, '-');
    unsigned byte;
    for (int place = 0; place < 16; place++) {
        while (*text == '-') text++;
        to[place] = sscanf(text, "%2x", &byte) == 1 ? byte : 0;
        if (*text) text += 2;
    }
    return OK;
}
int cuDeviceGetUuid(unsigned char *to, int device) { return cuDeviceGetUuid_v2(to, devices[device].card); }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int capability[2] = {0, 0};
    sscanf(devices[device].capability, "%d.%d", &capability[0], &capability[1]);
    *value = attribute == 75 ? capability[0] : attribute == 76 ? capability[1] : 0;
    return OK;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = devices[device].mebibytes << 20; return OK; }
int cuDeviceGetPCIBusId(char *to, int room, int device) { bus(to, room, "0000", devices[device].card); return OK; }

#endif
