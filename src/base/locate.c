#include "base/locate.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/path_hint.h"
#include "base/text.h"

static bool ends_with(const char *text, const char *suffix) {
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* ---- what a directory holds */

static bool has_file(const char *directory, const char *name) {
    char *path = file_join(directory, name);
    bool found = path && file_exists(path);
    free(path);
    return found;
}

/* The first name, in the alphabet's order, that begins and ends so; the caller frees. */
static char *find_entry(const char *directory, const char *prefix, const char *suffix) {
    DIR *stream = opendir(directory);
    char *found = NULL;
    if (!stream) return NULL;
    for (struct dirent *entry; (entry = readdir(stream));) {
        const char *name = entry->d_name;
        if (strncmp(name, prefix, strlen(prefix)) != 0 || !ends_with(name, suffix)) continue;
        if (found && strcmp(name, found) >= 0) continue;
        free(found);
        found = memory_copy_string(name);
    }
    closedir(stream);
    return found;
}

/* The first directory below with a model in it; the caller frees. */
static char *find_model_below(const char *directory) {
    DIR *stream = opendir(directory);
    char *found = NULL;
    if (!stream) return NULL;
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (entry->d_name[0] == '.') continue;
        char *path = file_join(directory, entry->d_name);
        bool model = path && (has_file(path, "config.json") || has_file(path, "snapshots"));
        if (model && (!found || strcmp(path, found) < 0)) {
            free(found);
            found = path;
            path = NULL;
        }
        free(path);
    }
    closedir(stream);
    return found;
}

/* ---- the cache of the Hugging Face hub: models--ORG--NAME/{blobs,refs,snapshots/COMMIT} */

/* The commit that `main` stands for, or the only other snapshot, as a directory; the caller frees.
 */
static char *find_snapshot(const char *cache) {
    char *snapshots = file_join(cache, "snapshots"), *reference = file_join(cache, "refs/main");
    char *commit = NULL, *found = NULL;
    size_t length = 0;
    if (!snapshots || !reference || !file_is_directory(snapshots)) goto done;
    if (file_exists(reference) && !file_read(&commit, &length, reference)) {
        commit[strspn(commit, "0123456789abcdefABCDEF")] = '\0';
        if (*commit) found = file_join(snapshots, commit);
    }
    if (found && !file_is_directory(found)) {
        free(found);
        found = NULL;
    }
    if (!found) found = find_model_below(snapshots);
done:
    free(snapshots);
    free(reference);
    free(commit);
    return found;
}

char *locate_quietly(const char *path) {
    char *snapshot = has_file(path, "config.json") ? NULL : find_snapshot(path);
    return snapshot ? snapshot : memory_copy_string(path);
}

/* ---- paths that are no directories */

/* "org/name", as the hub calls its models, where no directory "org" is. */
static bool is_hub_name(const char *path) {
    const char *slash = strchr(path, '/');
    if (!slash || slash == path || !slash[1] || strchr(slash + 1, '/')) return false;
    char *parent = file_parent(path);
    bool local = parent && file_is_directory(parent);
    free(parent);
    if (local) return false;
    for (const char *c = path; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_./", *c)) return false;
    return *path != '.' && slash[1] != '.';
}

/* Where huggingface_hub keeps a model of this name, when it has it; the caller frees. */
static char *find_in_cache(const char *name) {
    const char *cache = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"), *own = getenv("HOME");
    const char *slash = strchr(name, '/');
    char *root = NULL, *found = NULL;
    if (cache && *cache)
        root = memory_copy_string(cache);
    else if (home && *home)
        root = text_format("%s/hub", home);
    else if (own && *own)
        root = text_format("%s/.cache/huggingface/hub", own);
    if (root)
        found = text_format("%s/models--%.*s--%s", root, (int)(slash - name), name, slash + 1);
    if (found && !file_is_directory(found)) {
        free(found);
        found = NULL;
    }
    free(root);
    return found;
}

static enum status fail_hub_name(const char *path) {
    char *cached = find_in_cache(path);
    enum status status;
    if (cached)
        status = status_fail("\"%s\" does not exist; the model of this name on the Hugging Face "
                             "hub is in \"%s\": give that directory",
                             path, cached);
    else
        status = status_fail("\"%s\" does not exist; if it is a name on the Hugging Face hub, "
                             "download it (hf download %s --local-dir DIR) and give the directory",
                             path, path);
    free(cached);
    return status;
}

static enum status fail_absent(const char *path, int reason) {
    if (reason != ENOENT && reason != ENOTDIR) return path_fail(path, reason);
    char *meant = path_of_tilde(path);
    enum status status;
    if (meant)
        status = status_fail("\"%s\" does not exist; a shell replaces ~ outside quotes only (it is "
                             "\"%s\", which %s there)",
                             path, meant, file_exists(meant) ? "is" : "is not");
    else if (is_hub_name(path))
        status = fail_hub_name(path);
    else
        status = status_fail("\"%s\" does not exist", path);
    free(meant);
    return status;
}

static enum status fail_file(const char *path) {
    if (ends_with(path, ".gguf"))
        return status_fail("\"%s\" is GGUF, which is not read: give the directory with config.json "
                           "and safetensors that it was made from",
                           path);
    char *parent = file_parent(path);
    enum status status = STATUS_FAILED;
    if (parent && has_file(parent, "config.json"))
        status = status_fail("\"%s\" is a file: give the model's directory, \"%s\"", path, parent);
    else if (parent)
        status = status_fail("\"%s\" is not a directory with a model in it", path);
    free(parent);
    return status;
}

/* Models are opened more than once; one note is enough. */
static bool is_news(const char *path) {
    static char said[4096];
    if (strcmp(said, path) == 0) return false;
    strncpy(said, path, sizeof said - 1);
    return true;
}

enum status locate_directory(char **out, const char *path) {
    struct stat about;
    *out = NULL;
    if (stat(path, &about) != 0) return fail_absent(path, errno);
    if (!S_ISDIR(about.st_mode)) return fail_file(path);
    *out = locate_quietly(path);
    if (!*out) return STATUS_FAILED;
    if (strcmp(*out, path) != 0 && is_news(path))
        log_note("\"%s\" is a model in the cache of the Hugging Face hub: taking \"%s\"", path,
                 *out);
    return STATUS_OK;
}

/* ---- directories with something else in them */

/* An adapter that is to be added to a model: its configuration names the model. */
static enum status fail_adapter(const char *directory) {
    char *path = file_join(directory, "adapter_config.json");
    struct json *config = NULL;
    if (path && js_read(&config, path)) config = NULL;
    free(path);
    const char *base = js_string_or(js_member(config, "base_model_name_or_path"), NULL);
    enum status status =
        status_fail("\"%s\" is an adapter (LoRA), not a model: merge it into its base model%s%s%s "
                    "first (PEFT's merge_and_unload)",
                    directory, base ? ", \"" : "", base ? base : "", base ? "\"," : "");
    js_free(config);
    return status;
}

/* Weights of a kind that is not read. */
static const struct {
    const char *prefix, *suffix, *kind;
} others[] = {
    {"", ".gguf", "GGUF"},
    {"pytorch_model", ".bin", "PyTorch's format"},
    {"pytorch_model", ".bin.index.json", "PyTorch's format"},
    {"consolidated", ".safetensors", "Mistral's own layout"},
    {"consolidated", ".pth", "Meta's own layout"},
    {"", ".pth", "PyTorch's format"},
    {"", ".pt", "PyTorch's format"},
    {"", ".bin", "PyTorch's format"},
    {"tf_model", ".h5", "TensorFlow's format"},
    {"flax_model", ".msgpack", "Flax's format"},
};

/* STATUS_OK: nothing is known of it. */
static enum status fail_other_weights(const char *directory) {
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *name = find_entry(directory, others[i].prefix, others[i].suffix);
        if (!name) continue;
        enum status status = status_fail(
            "\"%s\" has its weights as \"%s\", in %s, which is not read: save the model "
            "as safetensors (from_pretrained, then save_pretrained)",
            directory, name, others[i].kind);
        free(name);
        return status;
    }
    return STATUS_OK;
}

static enum status explain_config(const char *directory) {
    if (has_file(directory, "adapter_config.json")) return fail_adapter(directory);
    char *below = find_model_below(directory);
    enum status status = STATUS_OK;
    if (below)
        status = status_fail("\"%s\" has no config.json; \"%s\" has a model", directory, below);
    else
        status = fail_other_weights(directory);
    free(below);
    return status ? status : status_fail("\"%s\" has no config.json", directory);
}

bool locate_is_link(const char *path) {
    struct stat about;
    return lstat(path, &about) == 0 && S_ISLNK(about.st_mode);
}

enum status locate_config(char **out, const char *directory) {
    struct stat about;
    *out = file_join(directory, "config.json");
    if (!*out) return STATUS_FAILED;
    if (stat(*out, &about) == 0) return STATUS_OK;
    enum status status = errno == ENOENT && !locate_is_link(*out) ? explain_config(directory)
                                                                  : path_fail(*out, errno);
    free(*out);
    *out = NULL;
    return status;
}

/* A link to weights that are not there, as in a cache that was cleaned. */
static enum status check_links(const char *directory) {
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    enum status status = STATUS_OK;
    for (int i = 0; i < 2 && !status; i++) {
        char *path = file_join(directory, names[i]);
        if (!path) return STATUS_FAILED;
        if (locate_is_link(path)) status = path_fail(path, ENOENT);
        free(path);
    }
    return status;
}

enum status locate_explain_weights(const char *directory) {
    if (has_file(directory, "adapter_config.json")) return fail_adapter(directory);
    enum status status = check_links(directory);
    if (!status) status = fail_other_weights(directory);
    if (status) return status;
    char *shard = find_entry(directory, "model-", ".safetensors");
    if (shard)
        status =
            status_fail("\"%s\" has \"%s\", but no model.safetensors.index.json that lists the "
                        "shards",
                        directory, shard);
    free(shard);
    if (status) return status;
    return status_fail("\"%s\" has neither model.safetensors nor model.safetensors.index.json "
                       "(--random-weights SEED makes weights up from config.json)",
                       directory);
}
