/* JSON text, as config.json, plan.json and token-set records bring it. */
#include <stdlib.h>

#include "base/json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct json *value = NULL;
    if (js_parse(&value, (const char *)bytes, size, "fuzz") == STATUS_OK) {
        char *text = js_print_sorted(value);
        struct json *again = NULL;
        /* What was read and printed can be read again. */
        if (text && js_parse(&again, text, strlen(text), "fuzz") != STATUS_OK) abort();
        js_free(again);
        free(text);
    }
    js_free(value);
    return 0;
}
