#include "tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

enum status id_list_extend(struct id_list *list, const uint32_t *ids, size_t count) {
    if (count > list->capacity - list->count) {
        size_t capacity = list->capacity ? list->capacity : 64;
        while (capacity - list->count < count) capacity *= 2;
        void *grown = memory_resize(list->values, capacity, sizeof *list->values);
        if (!grown) return STATUS_FAILED;
        list->values = grown;
        list->capacity = capacity;
    }
    if (count) memcpy(list->values + list->count, ids, count * sizeof *ids);
    list->count += count;
    return STATUS_OK;
}

enum status id_list_append(struct id_list *list, uint32_t id) {
    return id_list_extend(list, &id, 1);
}

enum status text_check(const struct text *text) {
    return text->failed ? status_fail("out of memory while tokenizing") : STATUS_OK;
}

uint32_t tokenizer_character_of(unsigned char byte) {
    if (byte <= 32) return 256u + byte;
    if (byte >= 127 && byte <= 160) return 289u + (byte - 127u);
    return byte == 173 ? 323u : byte;
}

int tokenizer_byte_of(uint32_t character) {
    if (character >= 324) return -1;
    if (character == 323) return 173;
    if (character >= 289) return (int)(character - 289 + 127);
    if (character >= 256) return (int)(character - 256);
    return tokenizer_character_of((unsigned char)character) == character ? (int)character : -1;
}

static void worker_free(struct worker *worker, size_t step_count) {
    if (!worker) return;
    regex_scratch_free(worker->regex);
    for (size_t i = 0; worker->step_text && i < step_count; i++) text_free(&worker->step_text[i]);
    free(worker->step_text);
    text_free(&worker->normal[0]);
    text_free(&worker->normal[1]);
    string_table_free(&worker->cache);
    free(worker->cache_ids.values);
    free(worker->symbols);
    free(worker->heap);
    free(worker->ids.values);
    free(worker);
}

enum status tokenizer_take_worker(struct worker **out, const struct tokenizer *tokenizer) {
    pthread_mutex_lock(&tokenizer->workers->lock);
    struct worker *worker = tokenizer->workers->idle;
    if (worker) tokenizer->workers->idle = worker->next_idle;
    pthread_mutex_unlock(&tokenizer->workers->lock);
    *out = worker;
    if (worker) return STATUS_OK;
    worker = memory_calloc(1, sizeof *worker);
    if (!worker) return STATUS_FAILED;
    enum status status = STATUS_FAILED;
    worker->step_text = memory_calloc(tokenizer->step_count, sizeof *worker->step_text);
    if (worker->step_text) status = regex_scratch_begin(&worker->regex);
    if (!status) status = string_table_begin(&worker->cache, 1 << 12, 1 << 15);
    if (status)
        worker_free(worker, tokenizer->step_count);
    else
        *out = worker;
    return status;
}

void tokenizer_give_worker(const struct tokenizer *tokenizer, struct worker *worker) {
    pthread_mutex_lock(&tokenizer->workers->lock);
    worker->next_idle = tokenizer->workers->idle;
    tokenizer->workers->idle = worker;
    pthread_mutex_unlock(&tokenizer->workers->lock);
}

struct encoding {
    const struct tokenizer *tokenizer;
    struct worker *worker;
};

static enum status emit_normalized(void *context, struct span span, uint32_t id) {
    struct encoding *encoding = context;
    if (id != NO_TOKEN) return id_list_append(&encoding->worker->ids, id);
    return tokenizer_run_steps(encoding->tokenizer, encoding->worker, 0, span);
}

static enum status emit_raw(void *context, struct span span, uint32_t id) {
    struct encoding *encoding = context;
    if (id != NO_TOKEN) return id_list_append(&encoding->worker->ids, id);
    enum status status = tokenizer_normalize(&span, encoding->tokenizer, encoding->worker, span);
    if (status) return status;
    return matcher_split(&encoding->tokenizer->normalized, encoding->tokenizer, span,
                         emit_normalized, context);
}

static bool begins_with(const uint32_t *ids, size_t count, const struct id_list *list) {
    return count >= list->count && memcmp(ids, list->values, list->count * sizeof *ids) == 0;
}

/* The template's tokens around the ids of the text, unless it has them itself. */
static enum status add_around(struct id_list *result, const struct tokenizer *tokenizer,
                              enum tokenizer_around around) {
    const struct id_list *before = &tokenizer->before, *after = &tokenizer->after;
    size_t count = result->count;
    bool repeat = around & TOKENIZER_REPEAT;
    bool begins = !repeat && before->count && begins_with(result->values, count, before);
    bool ends = !repeat && after->count && count >= after->count &&
                begins_with(result->values + count - after->count, after->count, after);
    enum status status = STATUS_OK;
    if (around & TOKENIZER_END && !ends)
        status = id_list_extend(result, after->values, after->count);
    if (status || begins || !(around & TOKENIZER_BEGIN) || !before->count) return status;
    count = result->count;
    status = id_list_extend(result, before->values, before->count); /* room for them */
    if (status) return status;
    memmove(result->values + before->count, result->values, count * sizeof *result->values);
    memcpy(result->values, before->values, before->count * sizeof *result->values);
    return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                             enum tokenizer_around around, uint32_t **ids, size_t *count) {
    size_t where;
    if (!utf8_valid(text, length, &where))
        return status_fail("the text is not UTF-8 at byte %zu", where);
    struct encoding encoding = {tokenizer, NULL};
    enum status status = tokenizer_take_worker(&encoding.worker, tokenizer);
    if (status) return status;
    struct id_list *result = &encoding.worker->ids;
    result->count = 0;
    status = matcher_split(&tokenizer->raw, tokenizer, (struct span){text, length, true}, emit_raw,
                           &encoding);
    if (!status) status = add_around(result, tokenizer, around);
    if (!status) {
        *ids = memory_calloc(result->count, sizeof **ids);
        if (!*ids) status = STATUS_FAILED;
    }
    if (!status) {
        if (result->count) memcpy(*ids, result->values, result->count * sizeof **ids);
        *count = result->count;
    }
    tokenizer_give_worker(tokenizer, encoding.worker);
    return status;
}

bool tokenizer_adds(const struct tokenizer *tokenizer, enum tokenizer_around around) {
    return (around & TOKENIZER_BEGIN && tokenizer->before.count) ||
           (around & TOKENIZER_END && tokenizer->after.count);
}

uint64_t tokenizer_vocab_size(const struct tokenizer *tokenizer) {
    return tokenizer->vocab_size;
}

bool tokenizer_token_id(const struct tokenizer *tokenizer, const char *name, uint32_t *id) {
    uint32_t index;
    if (string_table_find(&tokenizer->added_by_name, name, strlen(name), &index)) {
        *id = tokenizer->added[index].id;
        return true;
    }
    return string_table_find(&tokenizer->bpe.vocab, name, strlen(name), id);
}

bool tokenizer_end_id(const struct tokenizer *tokenizer, uint32_t *id) {
    *id = tokenizer->end_id;
    return tokenizer->end_id != NO_TOKEN;
}

bool tokenizer_plain_id(const struct tokenizer *tokenizer, uint32_t *id) {
    *id = tokenizer->plain_id;
    return tokenizer->plain_id != NO_TOKEN;
}

const uint32_t *tokenizer_end_ids(const struct tokenizer *tokenizer, size_t *count) {
    *count = tokenizer->end_ids.count;
    return tokenizer->end_ids.values;
}

uint64_t tokenizer_context(const struct tokenizer *tokenizer) {
    return tokenizer->context;
}

const char *tokenizer_sha256(const struct tokenizer *tokenizer) {
    return tokenizer->sha256;
}

void tokenizer_free(struct tokenizer *tokenizer) {
    if (!tokenizer) return;
    struct worker *worker = tokenizer->workers ? tokenizer->workers->idle : NULL;
    while (worker) {
        struct worker *next = worker->next_idle;
        worker_free(worker, tokenizer->step_count);
        worker = next;
    }
    if (tokenizer->workers) pthread_mutex_destroy(&tokenizer->workers->lock);
    free(tokenizer->workers);
    for (size_t i = 0; i < tokenizer->normalizer_count; i++) {
        pattern_free(&tokenizer->normalizers[i].pattern);
        free(tokenizer->normalizers[i].content);
    }
    for (size_t i = 0; i < tokenizer->step_count; i++) {
        pattern_free(&tokenizer->steps[i].pattern);
        free(tokenizer->steps[i].replacement);
    }
    for (size_t i = 0; i < tokenizer->decoder_count; i++) {
        pattern_free(&tokenizer->decoders[i].pattern);
        free(tokenizer->decoders[i].content);
    }
    for (size_t i = 0; i < tokenizer->added_count; i++) free(tokenizer->added[i].content);
    free(tokenizer->normalizers);
    free(tokenizer->steps);
    free(tokenizer->decoders);
    free(tokenizer->added);
    free(tokenizer->added_of_id);
    string_table_free(&tokenizer->added_by_name);
    matcher_free(&tokenizer->raw);
    matcher_free(&tokenizer->normalized);
    free(tokenizer->before.values);
    free(tokenizer->after.values);
    free(tokenizer->end_ids.values);
    bpe_free(&tokenizer->bpe);
    free(tokenizer);
}
