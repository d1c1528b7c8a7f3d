/* Byte-pair encoding of one word (Sennrich et al. 2016): the pair with the lowest rank is merged
 * first, the leftmost of equals. A heap of candidates keeps a word of n characters at n log n. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

enum { CACHED_WORD = 256, CACHED_WORDS = 1 << 16, CACHED_IDS = 1 << 20 };

const struct merge *bpe_find_merge(const struct bpe *bpe, uint32_t left, uint32_t right) {
    if (!bpe->merge_slots) return NULL;
    uint64_t pair = (uint64_t)left << 32 | right;
    size_t at = hash_mix(pair) & (bpe->merge_slots - 1);
    while (bpe->merges[at].token != NO_TOKEN) {
        if (bpe->merges[at].pair == pair) return &bpe->merges[at];
        at = (at + 1) & (bpe->merge_slots - 1);
    }
    return NULL;
}

void bpe_free(struct bpe *bpe) {
    string_table_free(&bpe->vocab);
    free(bpe->entry_of_id);
    free(bpe->merges);
    *bpe = (struct bpe){0};
}

static bool comes_before(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->position < b->position;
}

static enum status heap_push(struct worker *worker, struct candidate candidate) {
    if (worker->heap_count == worker->heap_capacity) {
        size_t capacity = worker->heap_capacity ? 2 * worker->heap_capacity : 64;
        void *grown = memory_resize(worker->heap, capacity, sizeof *worker->heap);
        if (!grown) return STATUS_FAILED;
        worker->heap = grown;
        worker->heap_capacity = capacity;
    }
    struct candidate *heap = worker->heap;
    size_t at = worker->heap_count++;
    for (; at > 0 && comes_before(&candidate, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = candidate;
    return STATUS_OK;
}

static struct candidate heap_pop(struct worker *worker) {
    struct candidate *heap = worker->heap, top = heap[0], last = heap[--worker->heap_count];
    size_t at = 0, child;
    for (; (child = 2 * at + 1) < worker->heap_count; at = child) {
        if (child + 1 < worker->heap_count && comes_before(&heap[child + 1], &heap[child])) child++;
        if (!comes_before(&heap[child], &last)) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

/* The candidate that merges the symbol at `position` with its right neighbour, if there is one. */
static enum status consider(const struct bpe *bpe, struct worker *worker, int32_t position) {
    const struct symbol *symbols = worker->symbols;
    if (position < 0 || symbols[position].next < 0) return STATUS_OK;
    const struct merge *merge =
        bpe_find_merge(bpe, symbols[position].token, symbols[symbols[position].next].token);
    if (!merge) return STATUS_OK;
    return heap_push(worker, (struct candidate){merge->rank, position, merge->token});
}

static enum status merge_symbols(const struct bpe *bpe, struct worker *worker, size_t count) {
    struct symbol *symbols = worker->symbols;
    enum status status = STATUS_OK;
    worker->heap_count = 0;
    for (size_t i = 0; !status && i + 1 < count; i++) status = consider(bpe, worker, (int32_t)i);
    while (!status && worker->heap_count) {
        struct candidate top = heap_pop(worker);
        struct symbol *left = &symbols[top.position];
        if (left->gone || left->next < 0) continue;
        struct symbol *right = &symbols[left->next];
        /* Candidates stay in the heap when a neighbour changes; this one may be out of date. */
        const struct merge *merge = bpe_find_merge(bpe, left->token, right->token);
        if (!merge || merge->token != top.token) continue;
        left->token = top.token;
        left->next = right->next;
        right->gone = true;
        if (left->next >= 0) symbols[left->next].previous = top.position;
        status = consider(bpe, worker, left->previous);
        if (!status) status = consider(bpe, worker, top.position);
    }
    return status;
}

/* The word's characters as symbols: tokens, byte tokens, or the unknown token. */
static size_t begin_symbols(const struct bpe *bpe, struct symbol *symbols, const char *word,
                            size_t length) {
    size_t count = 0;
    bool unknown = false; /* one unknown token is due, which may cover several characters */
    for (size_t i = 0; i < length;) {
        size_t size = utf8_length(word[i]);
        uint32_t token;
        if (string_table_find(&bpe->vocab, word + i, size, &token)) {
            if (unknown) symbols[count++].token = bpe->unknown;
            unknown = false;
            symbols[count++].token = token;
        } else {
            bool bytes = bpe->byte_fallback;
            for (size_t j = 0; bytes && j < size; j++)
                bytes = bpe->byte_ids[(unsigned char)word[i + j]] != NO_TOKEN;
            for (size_t j = 0; bytes && j < size; j++)
                symbols[count++].token = bpe->byte_ids[(unsigned char)word[i + j]];
            if (!bytes && bpe->unknown != NO_TOKEN) {
                if (unknown && !bpe->fuse_unknown) symbols[count++].token = bpe->unknown;
                unknown = true;
            }
        }
        i += size;
    }
    if (unknown) symbols[count++].token = bpe->unknown;
    for (size_t i = 0; i < count; i++) {
        symbols[i].previous = (int32_t)i - 1;
        symbols[i].next = i + 1 < count ? (int32_t)i + 1 : -1;
        symbols[i].gone = false;
    }
    return count;
}

static enum status encode_new_word(const struct bpe *bpe, struct worker *worker, const char *word,
                                   size_t length) {
    if (length > INT32_MAX / 2)
        return status_fail("a word of %zu bytes is too long for the tokenizer", length);
    if (length > worker->symbol_capacity) {
        void *grown = memory_resize(worker->symbols, 2 * length, sizeof *worker->symbols);
        if (!grown) return STATUS_FAILED;
        worker->symbols = grown;
        worker->symbol_capacity = 2 * length;
    }
    size_t count = begin_symbols(bpe, worker->symbols, word, length);
    enum status status = merge_symbols(bpe, worker, count);
    for (int32_t at = count ? 0 : -1; !status && at >= 0; at = worker->symbols[at].next)
        status = id_list_append(&worker->ids, worker->symbols[at].token);
    return status;
}

static enum status remember(struct worker *worker, const char *word, size_t length, size_t from) {
    size_t count = worker->ids.count - from;
    if (worker->cache.count >= CACHED_WORDS || worker->cache_ids.count + count >= CACHED_IDS) {
        string_table_clear(&worker->cache);
        worker->cache_ids.count = 0;
    }
    size_t at = worker->cache_ids.count;
    enum status status = id_list_append(&worker->cache_ids, (uint32_t)count);
    if (!status && count)
        status = id_list_extend(&worker->cache_ids, worker->ids.values + from, count);
    if (!status) status = string_table_add(&worker->cache, word, length, (uint32_t)at);
    return status;
}

enum status bpe_encode_word(const struct bpe *bpe, struct worker *worker, const char *word,
                            size_t length) {
    uint32_t token, at;
    if (bpe->ignore_merges && string_table_find(&bpe->vocab, word, length, &token))
        return id_list_append(&worker->ids, token);
    if (length > CACHED_WORD) return encode_new_word(bpe, worker, word, length);
    if (string_table_find(&worker->cache, word, length, &at)) {
        const uint32_t *known = worker->cache_ids.values + at;
        return id_list_extend(&worker->ids, known + 1, known[0]);
    }
    size_t from = worker->ids.count;
    enum status status = encode_new_word(bpe, worker, word, length);
    return status ? status : remember(worker, word, length, from);
}
