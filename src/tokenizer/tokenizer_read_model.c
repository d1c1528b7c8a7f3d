/* Reading the BPE model and the added tokens of a tokenizer.json. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

/* Ids index tables, so a file must not ask for tables far larger than itself. */
static enum status check_id(int64_t id, size_t known, const char *token, const char *source) {
    int64_t limit = 4 * (int64_t)known + 1000000;
    if (id >= 0 && id < limit && id < NO_TOKEN) return STATUS_OK;
    return status_fail("\"%s\": token \"%.80s\" has id %" PRId64 ", outside 0 to %" PRId64, source,
                       token, id, limit - 1);
}

static enum status read_vocab(struct bpe *bpe, const struct json *vocab, const char *source) {
    size_t bytes = 0, count = js_count(vocab);
    int64_t largest = -1;
    if (!js_is_object(vocab))
        return status_fail("\"%s\": the model's \"vocab\" must be an object", source);
    for (void *i = js_first(vocab); i; i = js_next(vocab, i)) {
        if (!js_is_integer(js_value(i)))
            return status_fail("\"%s\": the id of token \"%.80s\" must be an integer", source,
                               js_key(i));
        int64_t id = js_integer_or(js_value(i), -1);
        enum status status = check_id(id, count, js_key(i), source);
        if (status) return status;
        if (id > largest) largest = id;
        bytes += strlen(js_key(i));
    }
    enum status status = string_table_begin(&bpe->vocab, count, bytes);
    if (status) return status;
    bpe->id_count = (size_t)(largest + 1);
    bpe->entry_of_id = memory_calloc(bpe->id_count, sizeof *bpe->entry_of_id);
    if (!bpe->entry_of_id) return STATUS_FAILED;
    memset(bpe->entry_of_id, 0xff, bpe->id_count * sizeof *bpe->entry_of_id);
    for (void *i = js_first(vocab); i; i = js_next(vocab, i)) {
        uint32_t id = (uint32_t)js_integer_or(js_value(i), 0);
        uint32_t *entry = &bpe->entry_of_id[id];
        if (*entry != NO_TOKEN)
            return status_fail("\"%s\": tokens \"%.80s\" and \"%.*s\" have the same id %" PRIu32,
                               source, js_key(i), (int)bpe->vocab.entries[*entry].length,
                               string_table_bytes(&bpe->vocab, *entry), id);
        *entry = (uint32_t)bpe->vocab.count;
        status = string_table_add(&bpe->vocab, js_key(i), strlen(js_key(i)), id);
        if (status) return status;
    }
    return STATUS_OK;
}

/* The two halves of a merge, "a b" or ["a", "b"]. */
static bool split_merge(struct span halves[2], const struct json *merge) {
    if (js_is_array(merge)) {
        for (int i = 0; i < 2; i++) {
            const struct json *half = js_element(merge, (size_t)i);
            if (!js_is_string(half)) return false;
            halves[i] = (struct span){js_string_or(half, ""), js_string_length(half), false};
        }
        return js_count(merge) == 2;
    }
    if (!js_is_string(merge)) return false;
    const char *text = js_string_or(merge, "");
    size_t length = js_string_length(merge);
    const char *space = memchr(text, ' ', length);
    if (!space) return false;
    size_t left = (size_t)(space - text);
    halves[0] = (struct span){text, left, false};
    halves[1] = (struct span){space + 1, length - left - 1, false};
    return memchr(space + 1, ' ', length - left - 1) == NULL;
}

static enum status find_half(uint32_t *id, const struct bpe *bpe, struct span half, size_t rank,
                             const char *source) {
    if (string_table_find(&bpe->vocab, half.bytes, half.length, id)) return STATUS_OK;
    return status_fail("\"%s\": merge %zu needs token \"%.*s\", which is not in the vocabulary",
                       source, rank, (int)(half.length > 80 ? 80 : half.length), half.bytes);
}

static enum status read_merge(struct bpe *bpe, const struct json *merge, size_t rank,
                              struct text *whole, const char *source) {
    struct span halves[2];
    uint32_t left, right, token;
    if (!split_merge(halves, merge))
        return status_fail("\"%s\": merge %zu must be two tokens", source, rank);
    text_clear(whole);
    text_append_bytes(whole, halves[0].bytes, halves[0].length);
    text_append_bytes(whole, halves[1].bytes, halves[1].length);
    enum status status = text_check(whole);
    if (!status) status = find_half(&left, bpe, halves[0], rank, source);
    if (!status) status = find_half(&right, bpe, halves[1], rank, source);
    if (!status)
        status =
            find_half(&token, bpe, (struct span){whole->bytes, whole->length, false}, rank, source);
    if (status) return status;
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t at = hash_mix(pair) & (bpe->merge_slots - 1);
    while (bpe->merges[at].token != NO_TOKEN && bpe->merges[at].pair != pair)
        at = (at + 1) & (bpe->merge_slots - 1);
    bpe->merges[at] = (struct merge){pair, (uint32_t)rank, token}; /* the last of equals counts */
    return STATUS_OK;
}

static enum status read_merges(struct bpe *bpe, const struct json *merges, const char *source) {
    if (!js_is_array(merges))
        return status_fail("\"%s\": the model's \"merges\" must be a list", source);
    size_t count = js_count(merges);
    if (count > UINT32_MAX / 8) return status_fail("\"%s\": too many merges", source);
    bpe->merge_slots = 16;
    while (bpe->merge_slots < 2 * count) bpe->merge_slots *= 2;
    bpe->merges = memory_calloc(bpe->merge_slots, sizeof *bpe->merges);
    if (!bpe->merges) return STATUS_FAILED;
    for (size_t i = 0; i < bpe->merge_slots; i++) bpe->merges[i].token = NO_TOKEN;
    struct text whole = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < count; i++) {
        const struct json *merge = js_element(merges, i);
        if (strncmp(js_string_or(merge, ""), "#version", 8) == 0) continue; /* of a merges.txt */
        status = read_merge(bpe, merge, i, &whole, source);
    }
    text_free(&whole);
    return status;
}

/* Members that change what BPE does and that only their empty values are known of. */
static enum status check_unused(const struct json *model, const char *source) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const struct json *affix = js_member(model, affixes[i]);
        if (affix && (!js_is_string(affix) || js_string_length(affix) > 0))
            return status_fail("\"%s\": the model's \"%s\" is not supported", source, affixes[i]);
    }
    const struct json *dropout = js_member(model, "dropout");
    if (dropout && !(js_number_or(dropout, 1) == 0))
        return status_fail("\"%s\": the model's \"dropout\" is not supported", source);
    return part_keys(model,
                     "type dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk "
                     "byte_fallback ignore_merges vocab merges",
                     "the model", source);
}

enum status tokenizer_read_model(struct tokenizer *tokenizer, const struct json *model,
                                 const char *source) {
    struct bpe *bpe = &tokenizer->bpe;
    if (!js_is_object(model)) return status_fail("\"%s\": \"model\" must be an object", source);
    const char *type = js_string_or(js_member(model, "type"), "BPE"); /* older files leave it out */
    if (strcmp(type, "BPE") != 0) return part_refuse(type, "model", source);
    enum status status = check_unused(model, source);
    if (!status)
        status = part_bool(&bpe->fuse_unknown, model, "fuse_unk", false, "the model", source);
    if (!status)
        status = part_bool(&bpe->byte_fallback, model, "byte_fallback", false, "the model", source);
    if (!status)
        status = part_bool(&bpe->ignore_merges, model, "ignore_merges", false, "the model", source);
    if (!status) status = read_vocab(bpe, js_member(model, "vocab"), source);
    if (!status) status = read_merges(bpe, js_member(model, "merges"), source);
    if (status) return status;
    for (unsigned byte = 0; byte < 256; byte++) {
        char name[8];
        int length = snprintf(name, sizeof name, "<0x%02X>", byte);
        if (!string_table_find(&bpe->vocab, name, (size_t)length, &bpe->byte_ids[byte]))
            bpe->byte_ids[byte] = NO_TOKEN;
    }
    bpe->unknown = NO_TOKEN;
    const struct json *unknown = js_member(model, "unk_token");
    if (!unknown) return STATUS_OK;
    if (js_is_string(unknown) && string_table_find(&bpe->vocab, js_string_or(unknown, ""),
                                                   js_string_length(unknown), &bpe->unknown))
        return STATUS_OK;
    return status_fail("\"%s\": the model's \"unk_token\" is not in the vocabulary", source);
}

static enum status check_added(const struct tokenizer *tokenizer, const struct added_token *token,
                               const char *source) {
    const struct bpe *bpe = &tokenizer->bpe;
    uint32_t other;
    if (string_table_find(&tokenizer->added_by_name, token->content, token->length, &other))
        return status_fail("\"%s\": added token \"%.80s\" is there twice", source, token->content);
    if (string_table_find(&bpe->vocab, token->content, token->length, &other)) {
        if (other == token->id) return STATUS_OK;
        return status_fail("\"%s\": added token \"%.80s\" has id %" PRIu32
                           ", but the vocabulary gives it %" PRIu32,
                           source, token->content, token->id, other);
    }
    if (token->id < bpe->id_count && bpe->entry_of_id[token->id] != NO_TOKEN) {
        uint32_t entry = bpe->entry_of_id[token->id];
        return status_fail("\"%s\": added token \"%.80s\" has id %" PRIu32
                           ", which the vocabulary gives to \"%.*s\"",
                           source, token->content, token->id, (int)bpe->vocab.entries[entry].length,
                           string_table_bytes(&bpe->vocab, entry));
    }
    return STATUS_OK;
}

static enum status read_added(struct tokenizer *tokenizer, const struct json *part,
                              const char *source) {
    const char *what = "an added token";
    struct added_token *token =
        part_grow((void **)&tokenizer->added, &tokenizer->added_count, sizeof *token);
    if (!token) return STATUS_FAILED;
    int64_t id;
    enum status status =
        part_keys(part, "id content single_word lstrip rstrip normalized special", what, source);
    if (!status)
        status = part_string(&token->content, &token->length, part, "content", what, source);
    if (!status) status = js_get_integer(&id, part, "id", 0, INT32_MAX, source);
    if (!status)
        status = check_id(id, tokenizer->bpe.vocab.count + tokenizer->added_count, token->content,
                          source);
    if (!status) status = part_bool(&token->single_word, part, "single_word", false, what, source);
    if (!status) status = part_bool(&token->strip_left, part, "lstrip", false, what, source);
    if (!status) status = part_bool(&token->strip_right, part, "rstrip", false, what, source);
    if (!status) status = part_bool(&token->special, part, "special", false, what, source);
    if (!status)
        status = part_bool(&token->normalized, part, "normalized", !token->special, what, source);
    if (status) return status;
    token->id = (uint32_t)id;
    status = check_added(tokenizer, token, source);
    if (status) return status;
    return string_table_add(&tokenizer->added_by_name, token->content, token->length,
                            (uint32_t)(tokenizer->added_count - 1));
}

enum status tokenizer_read_added(struct tokenizer *tokenizer, const struct json *list,
                                 const char *source) {
    enum status status = string_table_begin(&tokenizer->added_by_name, js_count(list), 0);
    if (list && !js_is_array(list))
        return status_fail("\"%s\": \"added_tokens\" must be a list", source);
    for (size_t i = 0; !status && i < js_count(list); i++)
        status = read_added(tokenizer, js_element(list, i), source);
    return status;
}
