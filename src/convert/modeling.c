#include "convert/modeling.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/output.h"
#include "base/text.h"

#define MODULE "modeling_apriel_hybrid"

static const unsigned char text[] = {
#include "modeling_apriel_hybrid.inc"
};

/* The classes in the file. */
static const struct {
    const char *config, *model, *causal;
} classes[FAMILY_COUNT] = {
    [FAMILY_APRIEL_H1] = {MODULE ".AprielHybridSSMConfig", MODULE ".AprielHybridSSMModel",
                          MODULE ".AprielHybridSSMForCausalLM"},
    [FAMILY_APRIEL2] = {MODULE ".Apriel2TextConfig", MODULE ".Apriel2TextModel",
                        MODULE ".Apriel2ForCausalLM"},
};

bool modeling_needed(enum config_family format) {
    return classes[format].config != NULL;
}

struct json *modeling_auto_map(enum config_family format) {
    struct json *map = js_new_object();
    js_set_string(map, "AutoConfig", classes[format].config);
    js_set_string(map, "AutoModel", classes[format].model);
    js_set_string(map, "AutoModelForCausalLM", classes[format].causal);
    return map;
}

enum status modeling_write(const char *directory) {
    char *path = file_join(directory, MODULE ".py");
    enum status status =
        path ? output_write(path, (const char *)text, sizeof text, OUTPUT_REPLACE) : STATUS_FAILED;
    free(path);
    return status;
}
