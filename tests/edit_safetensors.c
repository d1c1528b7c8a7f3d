/* edit_safetensors FILE COMMAND..: a safetensors file changed in place, for the tests of files that
 * other programs write:
 *
 *   rename OLD NEW        one tensor's name
 *   prefix OLD NEW        what stands before the names that begin with OLD ("" is any)
 *   copy OLD NEW          the tensor once more, under another name
 *   drop NAME             without the tensor
 *   metadata KEY VALUE    an entry of __metadata__
 *   sum -                 prints the bytes of all tensors */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/text.h"
#include "checkpoint/safetensors.h"

enum { MOST = 256 };

struct edited {
    char *names[MOST];
    const struct safetensors_entry *entries[MOST];
    size_t count;
    struct json *metadata;
};

static enum status add(struct edited *out, const char *name,
                       const struct safetensors_entry *entry) {
    if (out->count == MOST) return status_fail("more than %d tensors", MOST);
    out->names[out->count] = memory_copy_string(name);
    out->entries[out->count++] = entry;
    return STATUS_OK;
}

static void set_name(struct edited *out, size_t i, char *name) {
    free(out->names[i]);
    out->names[i] = name;
}

static void drop(struct edited *out, size_t i) {
    free(out->names[i]);
    out->count--;
    memmove(out->names + i, out->names + i + 1, (out->count - i) * sizeof *out->names);
    memmove(out->entries + i, out->entries + i + 1, (out->count - i) * sizeof *out->entries);
}

/* Takes one command off the arguments; its length. */
static int edit(struct edited *out, char **words) {
    const char *what = words[0], *name = words[1];
    bool all = strcmp(what, "prefix") == 0;
    if (strcmp(what, "metadata") == 0) {
        js_set_string(out->metadata, name, words[2]);
        return 3;
    }
    if (strcmp(what, "sum") == 0) {
        size_t sum = 0;
        for (size_t i = 0; i < out->count; i++) sum += out->entries[i]->bytes;
        printf("%zu\n", sum);
        return 2;
    }
    for (size_t i = 0; i < out->count; i++) {
        size_t length = strlen(name);
        if (all && strncmp(out->names[i], name, length) == 0)
            set_name(out, i, text_format("%s%s", words[2], out->names[i] + length));
        if (all || strcmp(out->names[i], name) != 0) continue;
        if (strcmp(what, "drop") == 0) {
            drop(out, i);
            return 2;
        }
        if (strcmp(what, "copy") == 0 && add(out, words[2], out->entries[i])) return 0;
        if (strcmp(what, "rename") == 0) set_name(out, i, memory_copy_string(words[2]));
        return 3;
    }
    return all ? 3 : 0;
}

static enum status write_edited(const char *path, const struct edited *out) {
    struct json *header = js_new_object();
    int64_t offset = 0;
    js_set(header, "__metadata__", js_copy(out->metadata));
    for (size_t i = 0; i < out->count; i++) {
        const struct safetensors_entry *entry = out->entries[i];
        struct json *value = js_new_object(), *shape = js_new_array(), *range = js_new_array();
        for (int k = 0; k < entry->rank; k++) js_append(shape, js_new_integer(entry->shape[k]));
        js_append(range, js_new_integer(offset));
        offset += (int64_t)entry->bytes;
        js_append(range, js_new_integer(offset));
        js_set_string(value, "dtype", entry->dtype_name);
        js_set(value, "shape", shape);
        js_set(value, "data_offsets", range);
        js_set(header, out->names[i], value);
    }
    struct text file = {0};
    char *text = js_print(header, 0);
    js_free(header);
    if (!text) return STATUS_FAILED;
    uint64_t length = strlen(text);
    text_append_bytes(&file, (const char *)&length, sizeof length);
    text_append(&file, "%s", text);
    for (size_t i = 0; i < out->count; i++)
        text_append_bytes(&file, out->entries[i]->data, out->entries[i]->bytes);
    free(text);
    size_t size = file.length;
    char *bytes = text_finish(&file);
    enum status status = bytes ? output_write(path, bytes, size, OUTPUT_REPLACE) : STATUS_FAILED;
    free(bytes);
    return status;
}

int main(int argc, char **argv) {
    struct safetensors *file = NULL;
    struct edited out = {.metadata = js_new_object()};
    enum status status = argc > 3 ? safetensors_open(&file, argv[1])
                                  : status_fail("usage: edit_safetensors FILE COMMAND..");
    for (size_t i = 0; !status && i < safetensors_count(file); i++)
        status = add(&out, safetensors_at(file, i)->name, safetensors_at(file, i));
    for (int i = 2, length; !status && i < argc; i += length) {
        length = i + 1 < argc ? edit(&out, argv + i) : 0;
        if (!length) status = status_fail("cannot %s", argv[i]);
    }
    if (!status) status = write_edited(argv[1], &out);
    if (status) fprintf(stderr, "edit_safetensors: %s\n", status_message());
    while (out.count) drop(&out, out.count - 1);
    js_free(out.metadata);
    safetensors_close(file);
    return (int)status;
}
