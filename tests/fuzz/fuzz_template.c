/* Chat templates: hostile text, rendered with a conversation. What comes out is UTF-8, and the
 * spans of {% generation %} lie in it, in order. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "fuzz.h"
#include "template/template.h"

static const char variables_text[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \" Be brief.\\n\"}, {\"role\": \"user\", "
    "\"content\": \"na\xc3\xafve \xf0\x9f\x99\x82 a,b\", \"n\": 3, \"f\": 2.5, \"z\": null}, "
    "{\"role\": \"assistant\", \"content\": \"<think>a</think>b\", \"tool_calls\": [{\"name\": "
    "\"f\", \"arguments\": {\"x\": [1, true, null]}}]}, {\"role\": \"user\", \"content\": "
    "[{\"type\": \"text\", \"text\": \"c\"}]}], \"tools\": null, \"add_generation_prompt\": true, "
    "\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";

static void check(const struct template_output *out) {
    size_t wrong, last = 0;
    if (!utf8_valid(out->text, out->length, &wrong)) abort();
    for (size_t i = 0; i < out->span_count; i++) {
        const struct template_span *span = &out->spans[i];
        if (span->start < last || span->end < span->start || span->end > out->length) abort();
        last = span->end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static struct json *variables;
    struct template *parsed;
    struct template_output out;
    if (!variables && js_parse(&variables, variables_text, strlen(variables_text), "fuzz")) abort();
    if (template_parse(&parsed, (const char *)bytes, size, "fuzz")) {
        if (strchr(status_message(), '\n')) abort();
        return 0;
    }
    if (template_render(&out, parsed, variables) == STATUS_OK) check(&out);
    template_output_free(&out);
    template_free(parsed);
    return 0;
}
