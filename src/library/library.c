#include "library/library.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/text.h"
#include "library/mixer_file.h"
#include "mixers/sizes.h"

#define FORMAT "apriel-tool/library"
#define DOCUMENT "library.json"
enum { VERSION_OF_FORMAT = 1 };

/* An entry, and what the document says of it. */
struct owned {
    struct library_entry entry;
    struct json *about;
};

struct library {
    char *directory, *document_path;
    struct checkpoint *model; /* borrowed */
    struct mixer_host host;
    char fingerprint[SHA256_HEX_SIZE];
    struct owned *mixers; /* [count] */
    size_t count;
    int lock; /* descriptor of the directory, while this process writes there; -1: none */
};

static void owned_free(struct owned *owned) {
    free(owned->entry.path);
    js_free(owned->about);
}

void library_close(struct library *library) {
    if (!library) return;
    for (size_t i = 0; i < library->count; i++) owned_free(&library->mixers[i]);
    if (library->lock >= 0) close(library->lock);
    free(library->mixers);
    free(library->directory);
    free(library->document_path);
    free(library);
}

const char *library_directory(const struct library *library) {
    return library->directory;
}

/* ---- the document */

/* By layer, then kind, then what the kind is written with. */
static int compare_owned(const void *a, const void *b) {
    const struct library_entry *x = a, *y = b;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    int left = mixer_kind_index(x->sizes.kind), right = mixer_kind_index(y->sizes.kind);
    if (left != right) return left < right ? -1 : 1;
    int parameter = x->sizes.kind->parameter;
    if (parameter < 0) return 0;
    int64_t p = x->sizes.value[parameter], q = y->sizes.value[parameter];
    return (p > q) - (p < q);
}

static void sort(struct library *library) {
    if (library->count)
        qsort(library->mixers, library->count, sizeof *library->mixers, compare_owned);
}

/* Room for one more, zeroed; it counts once the caller says so. */
static struct owned *grow(struct library *library) {
    struct owned *more = memory_resize(library->mixers, library->count + 1, sizeof *more);
    if (!more) return NULL;
    library->mixers = more;
    more[library->count] = (struct owned){0};
    return &more[library->count];
}

/* "layer-007.window-1024.safetensors"; the caller frees. */
static char *file_name_of(int layer, const struct mixer_sizes *sizes) {
    char text[MIXER_TEXT_SIZE];
    mixer_text(text, sizes);
    for (char *c = text; *c; c++)
        if (*c == ':') *c = '-';
    return text_format("layer-%03d.%s.safetensors", layer, text);
}

/* The name of the file must be the one that this layer and kind have: no path leads out. */
static enum status read_file_name(struct library_entry *entry, const struct library *library,
                                  const struct json *object) {
    const char *name;
    enum status status = js_get_string(&name, object, "file", library->document_path);
    if (status) return status;
    char *right = file_name_of(entry->layer, &entry->sizes);
    if (!right) return STATUS_FAILED;
    if (strcmp(name, right) != 0)
        status = status_fail("\"%s\": \"file\" is \"%s\", and that of layer %d and its kind is "
                             "\"%s\"",
                             library->document_path, name, entry->layer, right);
    if (!status) entry->path = file_join(library->directory, right);
    if (!status && !entry->path) status = STATUS_FAILED;
    free(right);
    return status;
}

static enum status read_digest(struct library_entry *entry, const struct library *library,
                               const struct json *object) {
    const char *digest;
    enum status status = js_get_string(&digest, object, "digest", library->document_path);
    if (status) return status;
    if (strlen(digest) != SHA256_HEX_SIZE - 1 ||
        strspn(digest, "0123456789abcdef") != SHA256_HEX_SIZE - 1)
        return status_fail("\"%s\": \"digest\" of layer %d is no SHA-256", library->document_path,
                           entry->layer);
    memcpy(entry->digest, digest, SHA256_HEX_SIZE);
    return STATUS_OK;
}

static enum status read_mixer(struct library *library, const struct json *object) {
    const char *source = library->document_path, *kind;
    const struct model_config *config = checkpoint_config(library->model);
    struct owned *owned = grow(library);
    struct library_entry *entry = owned ? &owned->entry : NULL;
    struct mixer_sizes named;
    int64_t layer = 0;
    if (!owned) return STATUS_FAILED;
    enum status status = js_get_integer(&layer, object, "layer", 0, config->n_layers - 1, source);
    if (!status) status = js_get_string(&kind, object, "kind", source);
    if (!status && mixer_from_text(&named, kind, "kind"))
        status = status_fail("\"%s\": layer %lld: there is no kind \"%s\" of mixers", source,
                             (long long)layer, kind);
    if (!status && mixer_is_attention(&named))
        status = status_fail("\"%s\": layer %lld: attention is what other mixers replace", source,
                             (long long)layer);
    if (!status)
        status = mixer_sizes_read(&entry->sizes, named.kind, js_member(object, "sizes"), source);
    entry->layer = (int)layer;
    char text[MIXER_TEXT_SIZE];
    if (!status && strcmp(mixer_text(text, &entry->sizes), kind) != 0)
        status = status_fail("\"%s\": layer %d: \"kind\" is \"%s\" and its sizes are those of "
                             "\"%s\"",
                             source, entry->layer, kind, text);
    if (!status && entry->sizes.kind->check)
        status = entry->sizes.kind->check(&entry->sizes, source, entry->layer);
    if (!status) status = read_file_name(entry, library, object);
    if (!status) status = read_digest(entry, library, object);
    if (!status && library_find(library, entry->layer, &entry->sizes))
        status = status_fail("\"%s\": layer %d has \"%s\" twice", source, entry->layer, kind);
    if (!status && !(owned->about = js_copy(object))) status = STATUS_FAILED;
    entry->about = owned->about;
    if (status)
        owned_free(owned);
    else
        library->count++;
    return status;
}

static enum status check_model(const struct library *library, const struct json *document) {
    const struct json *model = js_member(document, "model");
    const char *source = library->document_path, *fingerprint;
    if (!js_is_object(model)) return status_fail("\"%s\": \"model\" is missing", source);
    enum status status = js_get_string(&fingerprint, model, "fingerprint", source);
    if (status || strcmp(fingerprint, library->fingerprint) == 0) return status;
    return status_fail("\"%s\" is a library of another model (\"%s\") than \"%s\": their "
                       "fingerprints differ",
                       library->directory, js_string_or(js_member(model, "path"), ""),
                       checkpoint_directory(library->model));
}

static enum status read_document(struct library *library) {
    struct json *document = NULL;
    const char *source = library->document_path;
    enum status status = js_read_names(&document, source);
    if (!status && strcmp(js_string_or(js_member(document, "format"), ""), FORMAT) != 0)
        status = status_fail(
            "\"%s\" is no library of apriel-tool: \"format\" is not \"" FORMAT "\"", source);
    int64_t version;
    if (!status) status = js_get_integer(&version, document, "version", 1, INT64_MAX, source);
    if (!status && version > VERSION_OF_FORMAT)
        status = status_fail("\"%s\" has version %lld; this release reads up to %d", source,
                             (long long)version, VERSION_OF_FORMAT);
    if (!status) status = check_model(library, document);
    const struct json *mixers = js_member(document, "mixers");
    if (!status && !js_is_array(mixers))
        status = status_fail("\"%s\": \"mixers\" must be an array", source);
    for (size_t i = 0; !status && i < js_count(mixers); i++)
        status = read_mixer(library, js_element(mixers, i));
    sort(library);
    js_free(document);
    return status;
}

enum status library_save(struct library *library) {
    struct json *document = js_new_object(), *model = js_new_object(), *mixers = js_new_array();
    const struct checkpoint *checkpoint = library->model;
    js_set_string(document, "format", FORMAT);
    js_set_integer(document, "version", VERSION_OF_FORMAT);
    js_set_string(model, "path", checkpoint_directory(checkpoint));
    js_set_string(model, "architecture", config_architecture(checkpoint_config(checkpoint)));
    js_set_string(model, "fingerprint", library->fingerprint);
    js_set_integer(model, "fingerprint_kind", CHECKPOINT_FINGERPRINT);
    js_set(document, "model", model);
    for (size_t i = 0; i < library->count; i++)
        js_append(mixers, js_copy(library->mixers[i].about));
    js_set(document, "mixers", mixers);
    enum status status = output_write_json(library->directory, DOCUMENT, document, 1);
    js_free(document);
    return status;
}

/* ---- opening */

static enum status make_directory(const char *path) {
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && file_is_directory(path))) return STATUS_OK;
    return status_fail("cannot make the directory \"%s\": %s", path, strerror(errno));
}

/* Two that write would each leave out of the document what the other adds. Where the disk knows no
 * locks there is none. */
static enum status lock(struct library *library) {
    library->lock = open(library->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (library->lock < 0)
        return status_fail("cannot open \"%s\": %s", library->directory, strerror(errno));
    if (flock(library->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return STATUS_OK;
    return status_fail(
        "\"%s\" is being written by another run: wait for it, or use another library",
        library->directory);
}

enum status library_open(struct library **out, const char *directory, struct checkpoint *model,
                         enum library_mode mode) {
    struct library *library = memory_calloc(1, sizeof *library);
    if (!library) return STATUS_FAILED;
    library->model = model;
    library->lock = -1;
    library->host = config_host(checkpoint_config(model));
    library->directory = memory_copy_string(directory);
    library->document_path = file_join(directory, DOCUMENT);
    enum status status = library->directory && library->document_path ? STATUS_OK : STATUS_FAILED;
    if (!status) status = checkpoint_fingerprint(model, library->fingerprint);
    if (!status && mode == LIBRARY_WRITE) status = make_directory(directory);
    if (!status && mode == LIBRARY_WRITE) status = lock(library);
    if (!status && (mode == LIBRARY_READ || file_exists(library->document_path)))
        status = read_document(library);
    else if (!status)
        status = library_save(library);
    if (status)
        library_close(library);
    else
        *out = library;
    return status;
}

/* ---- what is there */

static struct owned *find(const struct library *library, int layer,
                          const struct mixer_sizes *kind) {
    struct library_entry wanted = {.layer = layer, .sizes = *kind};
    for (size_t i = 0; i < library->count; i++)
        if (compare_owned(&library->mixers[i].entry, &wanted) == 0) return &library->mixers[i];
    return NULL;
}

const struct library_entry *library_find(const struct library *library, int layer,
                                         const struct mixer_sizes *kind) {
    const struct owned *owned = find(library, layer, kind);
    return owned ? &owned->entry : NULL;
}

enum status library_need(const struct library_entry **out, const struct library *library, int layer,
                         const struct mixer_sizes *kind) {
    char text[MIXER_TEXT_SIZE];
    *out = library_find(library, layer, kind);
    if (*out) return STATUS_OK;
    return status_fail("\"%s\" has no %s mixer of layer %d", library->directory,
                       mixer_text(text, kind), layer);
}

bool library_has(const struct library *library, int layer) {
    for (size_t i = 0; i < library->count; i++)
        if (library->mixers[i].entry.layer == layer) return true;
    return false;
}

enum status library_only(const struct library_entry **out, const struct library *library,
                         int layer) {
    char text[2][MIXER_TEXT_SIZE];
    *out = NULL;
    for (size_t i = 0; i < library->count; i++) {
        const struct library_entry *entry = &library->mixers[i].entry;
        if (entry->layer != layer) continue;
        if (*out)
            return status_fail("\"%s\" has several mixers of layer %d (%s, %s): say which with "
                               "--kind",
                               library->directory, layer, mixer_text(text[0], &(*out)->sizes),
                               mixer_text(text[1], &entry->sizes));
        *out = entry;
    }
    if (*out) return STATUS_OK;
    return status_fail("\"%s\" has no mixer of layer %d", library->directory, layer);
}

/* ---- writing */

/* What the document says of a mixer, before what `about` adds. */
static void describe(struct owned *owned, struct json *about) {
    struct library_entry *entry = &owned->entry;
    struct json *object = js_new_object();
    char text[MIXER_TEXT_SIZE];
    js_set_integer(object, "layer", entry->layer);
    js_set_string(object, "kind", mixer_text(text, &entry->sizes));
    js_set_string(object, "file", file_name(entry->path));
    js_set_string(object, "digest", entry->digest);
    js_set(object, "sizes", mixer_sizes_to_json(&entry->sizes));
    for (void *i = js_first(about); i; i = js_next(about, i))
        js_set(object, js_key(i), js_copy(js_value(i)));
    js_free(owned->about);
    owned->about = object;
    entry->about = object;
}

static enum status digest_of(char hex[SHA256_HEX_SIZE], const struct library *library,
                             const struct library_entry *entry) {
    const struct mixer_label label = {library->fingerprint, entry->layer, &entry->sizes};
    struct safetensors *file = NULL;
    enum status status = mixer_file_open(&file, entry->path, &label, &library->host);
    if (!status) status = checkpoint_file_digest(hex, file);
    safetensors_close(file);
    return status;
}

enum status library_put(struct library *library, int layer, const struct mixer *mixer,
                        const struct model *model, struct json *about) {
    const struct mixer_label label = {library->fingerprint, layer, &mixer->sizes};
    struct owned *owned = find(library, layer, &mixer->sizes), *new = owned ? NULL : grow(library);
    struct library_entry entry = {.layer = layer, .sizes = mixer->sizes};
    char *name = file_name_of(layer, &mixer->sizes);
    enum status status = name && (owned || new) ? STATUS_OK : STATUS_FAILED;
    if (!status && !(entry.path = file_join(library->directory, name))) status = STATUS_FAILED;
    if (!status) status = mixer_file_write(entry.path, mixer, model, &label);
    if (!status) status = digest_of(entry.digest, library, &entry);
    if (status) {
        free(entry.path);
        goto done;
    }
    if (new) {
        owned = new;
        library->count++;
    }
    free(owned->entry.path);
    owned->entry = entry;
    describe(owned, about);
    sort(library);
    status = library_save(library);
done:
    js_free(about);
    free(name);
    return status;
}

void library_say(struct library *library, int layer, const struct mixer_sizes *kind,
                 const char *key, struct json *value) {
    struct owned *owned = find(library, layer, kind);
    if (owned)
        js_set(owned->about, key, value);
    else
        js_free(value);
}

/* ---- reading */

/* The file of an entry, with the content that the document says. */
static enum status open_entry(struct safetensors **out, const struct library *library,
                              const struct library_entry *entry) {
    const struct mixer_label label = {library->fingerprint, entry->layer, &entry->sizes};
    char digest[SHA256_HEX_SIZE];
    enum status status = mixer_file_open(out, entry->path, &label, &library->host);
    if (status) return status;
    status = checkpoint_file_digest(digest, *out);
    if (!status && strcmp(digest, entry->digest) != 0)
        status = status_fail("\"%s\" is not what \"%s\" says it is: it was changed or damaged",
                             entry->path, library->document_path);
    if (status) {
        safetensors_close(*out);
        *out = NULL;
    }
    return status;
}

static enum status read_weight(struct mixer *out, const struct safetensors *file,
                               const struct model *model, int weight) {
    struct weight_shape shape = mixer_weight_shape(&out->sizes, &model->host, weight);
    if (!shape.count) return STATUS_OK;
    float *values = memory_calloc((size_t)shape.count, sizeof *values), *to = values;
    enum status status = values ? STATUS_OK : STATUS_FAILED;
    for (int t = 0; !status && t < out->sizes.kind->n_tensors; t++) {
        if (out->sizes.kind->tensors[t].weight != weight) continue;
        struct tensor_shape part = mixer_tensor_shape(&out->sizes, &model->host, t);
        if (part.present) status = mixer_file_read(to, file, &out->sizes, t);
        to += tensor_shape_count(&part);
    }
    if (!status) mixer_set(out, model->backend, &model->host, weight, values);
    free(values);
    return status;
}

enum status library_load(struct mixer *out, const struct library *library,
                         const struct library_entry *entry, const struct model *model) {
    struct safetensors *file = NULL;
    struct mixer mixer = {.sizes = entry->sizes};
    enum status status = open_entry(&file, library, entry);
    if (!status) status = mixer_alloc(&mixer, model->backend, &model->host);
    for (int w = 0; !status && w < mixer.sizes.kind->n_weights; w++)
        status = read_weight(&mixer, file, model, w);
    safetensors_close(file);
    if (status)
        mixer_free(&mixer, model->backend);
    else
        *out = mixer;
    return status;
}

/* ---- several at once */

static enum status choose(const struct library_entry **out, const struct library *library,
                          const struct int_list *layers, const struct mixer_sizes *const *kinds,
                          size_t index) {
    int layer = layers->values[index];
    if (kinds && kinds[index]) return library_need(out, library, layer, kinds[index]);
    return library_only(out, library, layer);
}

enum status library_lay_out(struct library_layout *out, const struct library *library,
                            const struct int_list *layers, const struct mixer_sizes *const *kinds) {
    struct text text = {0};
    *out = (struct library_layout){0};
    out->placed = memory_calloc(layers->count + 1, sizeof *out->placed);
    out->files = memory_calloc(layers->count + 1, sizeof *out->files);
    enum status status = out->placed && out->files ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < layers->count; i++) {
        const struct library_entry *entry;
        status = choose(&entry, library, layers, kinds, i);
        if (!status) status = open_entry(&out->files[i], library, entry);
        if (status) break;
        out->placed[i] = (struct checkpoint_placed){
            .layer = entry->layer, .sizes = entry->sizes, .file = out->files[i]};
        text_append(&text, "%d %s\n", entry->layer, entry->digest);
        out->count++;
    }
    text_append(&text, "%zu\n", out->count);
    char *all = text_finish(&text);
    if (!status && !all) status = STATUS_FAILED;
    if (!status) status = sha256_bytes(out->digest, all, strlen(all));
    free(all);
    if (status) library_layout_free(out);
    return status;
}

void library_layout_free(struct library_layout *layout) {
    for (size_t i = 0; layout->files && i < layout->count; i++) safetensors_close(layout->files[i]);
    free(layout->files);
    free(layout->placed);
    *layout = (struct library_layout){0};
}

const struct checkpoint_placed *library_layout_find(const struct library_layout *layout,
                                                    int layer) {
    for (size_t i = 0; i < layout->count; i++)
        if (layout->placed[i].layer == layer) return &layout->placed[i];
    return NULL;
}

enum status library_layout_read(float *out, const struct library_layout *layout, int layer,
                                int tensor) {
    const struct checkpoint_placed *placed = library_layout_find(layout, layer);
    return mixer_file_read(out, placed->file, &placed->sizes, tensor);
}
