#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/locate.h"
#include "base/memory.h"
#include "base/path_hint.h"
#include "tokenizer/tokenizer_internal.h"

/* Tokens that are matched after normalization are themselves normalized. */
static enum status add_to_matchers(struct tokenizer *tokenizer) {
    struct worker *worker;
    enum status status = tokenizer_take_worker(&worker, tokenizer);
    if (status) return status;
    for (size_t i = 0; !status && i < tokenizer->added_count; i++) {
        const struct added_token *token = &tokenizer->added[i];
        struct span content = {token->content, token->length, true};
        struct matcher *matcher = token->normalized ? &tokenizer->normalized : &tokenizer->raw;
        if (token->normalized) status = tokenizer_normalize(&content, tokenizer, worker, content);
        if (!status) status = matcher_add(matcher, content.bytes, content.length, (uint32_t)i);
    }
    tokenizer_give_worker(tokenizer, worker);
    return status;
}

static enum status index_ids(struct tokenizer *tokenizer, const char *path) {
    tokenizer->vocab_size = tokenizer->bpe.id_count;
    for (size_t i = 0; i < tokenizer->added_count; i++)
        if (tokenizer->added[i].id >= tokenizer->vocab_size)
            tokenizer->vocab_size = (uint64_t)tokenizer->added[i].id + 1;
    size_t bytes = tokenizer->vocab_size * sizeof *tokenizer->added_of_id;
    tokenizer->added_of_id = memory_calloc(bytes, 1);
    if (!tokenizer->added_of_id) return STATUS_FAILED;
    memset(tokenizer->added_of_id, 0xff, bytes);
    for (size_t i = 0; i < tokenizer->added_count; i++) {
        uint32_t *index = &tokenizer->added_of_id[tokenizer->added[i].id];
        if (*index != NO_TOKEN)
            return status_fail("\"%s\": added tokens \"%.80s\" and \"%.80s\" have the same id",
                               path, tokenizer->added[*index].content, tokenizer->added[i].content);
        *index = (uint32_t)i;
    }
    return STATUS_OK;
}

static enum status check_template(const struct tokenizer *tokenizer, const char *path) {
    const struct id_list *lists[] = {&tokenizer->before, &tokenizer->after};
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < lists[l]->count; i++)
            if (lists[l]->values[i] >= tokenizer->vocab_size)
                return status_fail("\"%s\": the template adds id %u, which no token has", path,
                                   lists[l]->values[i]);
    return STATUS_OK;
}

/* A JSON file beside tokenizer.json; `*out` is NULL when there is none. */
static enum status read_sibling(struct json **out, const char *directory, const char *name) {
    *out = NULL;
    char *path = file_join(directory, name);
    enum status status = path ? STATUS_OK : STATUS_FAILED;
    if (!status && file_exists(path)) status = js_read(out, path);
    free(path);
    return status;
}

/* Once each. */
static enum status add_end_id(struct tokenizer *tokenizer, uint32_t id) {
    for (size_t i = 0; i < tokenizer->end_ids.count; i++)
        if (tokenizer->end_ids.values[i] == id) return STATUS_OK;
    return id_list_append(&tokenizer->end_ids, id);
}

/* "eos_token_id" of a model's file: a number or a list. The first one serves as the end of a text
 * where the tokenizer has none; the model may have more tokens than the tokenizer. */
static enum status read_end_ids(struct tokenizer *tokenizer, const struct json *config) {
    const struct json *ids = js_member(config, "eos_token_id");
    size_t count = js_is_array(ids) ? js_count(ids) : 1;
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < count; i++) {
        int64_t id = js_integer_or(js_is_array(ids) ? js_element(ids, i) : ids, -1);
        if (id < 0 || id > INT32_MAX) continue;
        if (tokenizer->end_id == NO_TOKEN && (uint64_t)id < tokenizer->vocab_size)
            tokenizer->end_id = (uint32_t)id;
        status = add_end_id(tokenizer, (uint32_t)id);
    }
    return status;
}

/* What the files beside it say. They have another purpose: one that cannot be read says nothing. */
static enum status read_siblings(struct tokenizer *tokenizer, const char *directory) {
    tokenizer->end_id = NO_TOKEN;
    struct json *config;
    enum status status = read_sibling(&config, directory, "tokenizer_config.json");
    if (status) return status;
    const struct json *token = js_member(config, "eos_token");
    const char *name =
        js_string_or(js_is_object(token) ? js_member(token, "content") : token, NULL);
    if (name && tokenizer_token_id(tokenizer, name, &tokenizer->end_id))
        status = add_end_id(tokenizer, tokenizer->end_id);
    js_free(config);
    static const char *const others[] = {"generation_config.json", "config.json"};
    for (int i = 0; i < 2 && !status; i++) {
        status = read_sibling(&config, directory, others[i]);
        if (status) break;
        status = read_end_ids(tokenizer, config);
        int64_t context = js_integer_or(js_member(config, "max_position_embeddings"), 0);
        if (context > 0) tokenizer->context = (uint64_t)context;
        js_free(config);
    }
    return status;
}

static enum status read_everything(struct tokenizer *tokenizer, const struct json *file,
                                   const char *path) {
    if (!js_is_object(file)) return status_fail("\"%s\": must hold a JSON object", path);
    const char *version = js_string_or(js_member(file, "version"), "1.0");
    if (strcmp(version, "1.0") != 0)
        return status_fail("\"%s\": version \"%.80s\" is not supported", path, version);
    enum status status = part_keys(file,
                                   "version truncation padding added_tokens normalizer "
                                   "pre_tokenizer post_processor decoder model",
                                   "the file", path);
    if (!status) status = tokenizer_read_model(tokenizer, js_member(file, "model"), path);
    if (!status) status = tokenizer_read_added(tokenizer, js_member(file, "added_tokens"), path);
    if (!status) status = tokenizer_read_normalizer(tokenizer, js_member(file, "normalizer"), path);
    if (!status) status = tokenizer_read_steps(tokenizer, js_member(file, "pre_tokenizer"), path);
    if (!status)
        status = tokenizer_read_template(tokenizer, js_member(file, "post_processor"), path);
    if (!status) status = tokenizer_read_decoder(tokenizer, js_member(file, "decoder"), path);
    if (status) return status;
    status = index_ids(tokenizer, path);
    tokenizer->plain_id = status ? NO_TOKEN : tokenizer_find_plain_id(tokenizer);
    if (!status) status = check_template(tokenizer, path);
    return status ? status : add_to_matchers(tokenizer);
}

enum status tokenizer_parse(struct tokenizer **out, const char *text, size_t length,
                            const char *path) {
    struct json *file = NULL;
    struct tokenizer *tokenizer = memory_calloc(1, sizeof *tokenizer);
    enum status status = STATUS_FAILED;
    if (!tokenizer) return status;
    tokenizer->end_id = NO_TOKEN;
    tokenizer->workers = memory_calloc(1, sizeof *tokenizer->workers);
    if (!tokenizer->workers) goto done;
    pthread_mutex_init(&tokenizer->workers->lock, NULL);
    status = sha256_bytes(tokenizer->sha256, text, length);
    if (!status) status = js_parse(&file, text, length, path);
    if (!status) status = read_everything(tokenizer, file, path);
    if (status) goto done;
    *out = tokenizer;
    tokenizer = NULL;
done:
    js_free(file);
    tokenizer_free(tokenizer);
    return status;
}

/* A directory without the file, which may hold it in another form. */
static enum status check_there(const char *file, const char *directory) {
    char *other = file_join(directory, "tokenizer.model");
    bool sentencepiece = other && !file_exists(file) && file_exists(other);
    enum status status = other ? STATUS_OK : STATUS_FAILED;
    if (sentencepiece)
        status = status_fail("\"%s\" has tokenizer.model only, which is not read: write a "
                             "tokenizer.json (AutoTokenizer.from_pretrained, then save_pretrained)",
                             directory);
    free(other);
    return status;
}

enum status tokenizer_read(struct tokenizer **out, const char *path) {
    char *file = NULL, *directory = NULL, *text = NULL;
    size_t length;
    enum status status = STATUS_OK;
    bool is_file = file_exists(path) && !file_is_directory(path);
    *out = NULL;
    if (is_file)
        directory = file_parent(path);
    else
        status = locate_directory(&directory, path);
    if (!status && directory)
        file = is_file ? memory_copy_string(path) : file_join(directory, "tokenizer.json");
    if (!status && !file) status = STATUS_FAILED;
    if (!status && !is_file) status = check_there(file, directory);
    if (!status) status = file_read(&text, &length, file);
    if (!status && path_is_lfs_pointer(text, length)) status = path_fail_lfs(file);
    if (!status) status = tokenizer_parse(out, text, length, file);
    if (!status) status = read_siblings(*out, directory);
    if (status && *out) {
        tokenizer_free(*out);
        *out = NULL;
    }
    free(text);
    free(directory);
    free(file);
    return status;
}
