/* A safetensors file. What opens must be safe to read in full. */
#include "checkpoint/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct safetensors *file = NULL;
    volatile unsigned sum = 0;
    if (safetensors_open(&file, fuzz_file(bytes, size))) return 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_entry *entry = safetensors_at(file, i);
        const unsigned char *data = entry->data;
        for (size_t k = 0; k < entry->bytes; k++) sum += data[k];
        if (safetensors_find(file, entry->name) != entry) __builtin_trap();
        if (entry->dtype != DTYPE_COUNT &&
            (size_t)entry->count * dtype_size(entry->dtype) != entry->bytes)
            __builtin_trap();
    }
    (void)sum;
    safetensors_close(file);
    return 0;
}
