/* Records of benchmark files, as eval --task reads them; the first byte chooses the task. */
#include <stdlib.h>
#include <string.h>

#include "data/task_record.h"
#include "fuzz.h"

static void check(const struct task_record *record) {
    if (record->count < 2 || record->gold < 0 || record->gold >= record->count) abort();
    for (int i = 0; i < record->count; i++)
        if (!record->contexts[i] || !record->continuations[i]) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const names[] = {"arc", "piqa", "hellaswag", "winogrande", "mmlu", "choice"};
    if (!size) return 0;
    struct json *object;
    struct task_record record;
    if (js_parse(&object, (const char *)bytes + 1, size - 1, "fuzz")) return 0;
    if (task_record_parse(&record, names[bytes[0] % 6], object) == STATUS_OK) {
        check(&record);
        task_record_free(&record);
    }
    js_free(object);
    return 0;
}
