/* Ids to text. Decoders work on the list of the tokens' texts; what is left at the end is joined.
 */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

struct token_list {
    struct text bytes; /* one after another */
    size_t *ends;      /* [count], where each ends */
    size_t count, capacity;
};

static void list_free(struct token_list *list) {
    text_free(&list->bytes);
    free(list->ends);
    *list = (struct token_list){0};
}

/* Ends the token whose bytes were appended. */
static enum status end_token(struct token_list *list) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        void *grown = memory_resize(list->ends, capacity, sizeof *list->ends);
        if (!grown) return STATUS_FAILED;
        list->ends = grown;
        list->capacity = capacity;
    }
    list->ends[list->count++] = list->bytes.length;
    return text_check(&list->bytes);
}

static struct span token_at(const struct token_list *list, size_t index) {
    size_t start = index ? list->ends[index - 1] : 0;
    return (struct span){list->bytes.bytes ? list->bytes.bytes + start : "",
                         list->ends[index] - start, index == 0};
}

/* A token of byte-level characters is the bytes that they stand for; any other is itself. */
static void append_token_bytes(struct text *out, struct span token) {
    bool mapped = true;
    for (size_t i = 0; mapped && i < token.length; i += utf8_length(token.bytes[i]))
        mapped = tokenizer_byte_of(utf8_decode(token.bytes + i)) >= 0;
    if (!mapped) {
        text_append_bytes(out, token.bytes, token.length);
        return;
    }
    for (size_t i = 0; i < token.length; i += utf8_length(token.bytes[i])) {
        char byte = (char)tokenizer_byte_of(utf8_decode(token.bytes + i));
        text_append_bytes(out, &byte, 1);
    }
}

static enum status decode_bytes(struct token_list *out, const struct token_list *in) {
    struct text bytes = {0};
    for (size_t i = 0; i < in->count; i++) append_token_bytes(&bytes, token_at(in, i));
    enum status status = text_check(&bytes);
    if (!status && bytes.length) utf8_append_lossy(&out->bytes, bytes.bytes, bytes.length);
    text_free(&bytes);
    return status ? status : end_token(out);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte of "<0x0A>", or -1. */
static int fallback_byte(struct span token) {
    if (token.length != 6 || memcmp(token.bytes, "<0x", 3) != 0 || token.bytes[5] != '>') return -1;
    int high = hex_digit(token.bytes[3]), low = hex_digit(token.bytes[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* A run of byte tokens is UTF-8 as a whole, or one U+FFFD for each byte. */
static enum status decode_fallback(struct token_list *out, const struct token_list *in) {
    struct text run = {0};
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i <= in->count; i++) {
        struct span token = i < in->count ? token_at(in, i) : (struct span){"", 0, false};
        int byte = fallback_byte(token);
        if (byte >= 0) {
            char value = (char)byte;
            text_append_bytes(&run, &value, 1);
            continue;
        }
        size_t where;
        if (run.length && utf8_valid(run.bytes, run.length, &where))
            text_append_bytes(&out->bytes, run.bytes, run.length);
        else
            for (size_t j = 0; j < run.length; j++)
                text_append_bytes(&out->bytes, "\xef\xbf\xbd", 3);
        if (run.length) status = end_token(out);
        text_clear(&run);
        if (status || i == in->count) break;
        text_append_bytes(&out->bytes, token.bytes, token.length);
        status = end_token(out);
    }
    if (!status) status = text_check(&run);
    text_free(&run);
    return status;
}

static struct span strip(struct span token, const struct decoder *decoder) {
    size_t width = strlen(decoder->content);
    for (size_t i = 0; i < decoder->left && token.length >= width &&
                       memcmp(token.bytes, decoder->content, width) == 0;
         i++) {
        token.bytes += width;
        token.length -= width;
    }
    for (size_t i = 0; i < decoder->right && token.length >= width &&
                       memcmp(token.bytes + token.length - width, decoder->content, width) == 0;
         i++)
        token.length -= width;
    return token;
}

static void append_spaces(struct text *out, struct span token, const struct decoder *decoder) {
    size_t width = strlen(decoder->content);
    for (size_t i = 0; i < token.length;) {
        if (token.length - i >= width && memcmp(token.bytes + i, decoder->content, width) == 0) {
            if (!(token.first && decoder->drop_first)) text_append_bytes(out, " ", 1);
            i += width;
        } else {
            size_t size = utf8_length(token.bytes[i]);
            text_append_bytes(out, token.bytes + i, size);
            i += size;
        }
    }
}

static enum status decode_each(struct token_list *out, const struct token_list *in,
                               const struct decoder *decoder, struct worker *worker) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < in->count; i++) {
        struct span token = token_at(in, i);
        if (decoder->kind == DECODE_STRIP) {
            token = strip(token, decoder);
            text_append_bytes(&out->bytes, token.bytes, token.length);
        } else if (decoder->kind == DECODE_METASPACE) {
            append_spaces(&out->bytes, token, decoder);
        } else {
            status = pattern_replace(&out->bytes, &decoder->pattern, worker, token.bytes,
                                     token.length, decoder->content, decoder->content_length);
        }
        if (!status) status = end_token(out);
    }
    return status;
}

static enum status run_decoder(struct token_list *out, const struct token_list *in,
                               const struct decoder *decoder, struct worker *worker) {
    switch (decoder->kind) {
    case DECODE_BYTES:
        return decode_bytes(out, in);
    case DECODE_BYTE_FALLBACK:
        return decode_fallback(out, in);
    case DECODE_FUSE:
        if (in->bytes.length) text_append_bytes(&out->bytes, in->bytes.bytes, in->bytes.length);
        return end_token(out);
    default:
        return decode_each(out, in, decoder, worker);
    }
}

static enum status append_token(struct token_list *list, const struct tokenizer *tokenizer,
                                uint32_t id, bool skip_special) {
    const struct bpe *bpe = &tokenizer->bpe;
    uint32_t added = id < tokenizer->vocab_size ? tokenizer->added_of_id[id] : NO_TOKEN;
    if (added != NO_TOKEN) {
        const struct added_token *token = &tokenizer->added[added];
        if (skip_special && token->special) return STATUS_OK;
        text_append_bytes(&list->bytes, token->content, token->length);
    } else if (id < bpe->id_count && bpe->entry_of_id[id] != NO_TOKEN) {
        uint32_t entry = bpe->entry_of_id[id];
        text_append_bytes(&list->bytes, string_table_bytes(&bpe->vocab, entry),
                          bpe->vocab.entries[entry].length);
    } else {
        return STATUS_OK;
    }
    return end_token(list);
}

bool tokenizer_shows(const struct tokenizer *tokenizer, uint32_t id) {
    const struct bpe *bpe = &tokenizer->bpe;
    uint32_t added = id < tokenizer->vocab_size ? tokenizer->added_of_id[id] : NO_TOKEN;
    if (added != NO_TOKEN) return !tokenizer->added[added].special;
    return id < bpe->id_count && bpe->entry_of_id[id] != NO_TOKEN;
}

static bool is_plain(const struct tokenizer *tokenizer, uint32_t id) {
    const struct bpe *bpe = &tokenizer->bpe;
    if (tokenizer->added_of_id[id] != NO_TOKEN || bpe->entry_of_id[id] == NO_TOKEN) return false;
    const char *bytes = string_table_bytes(&bpe->vocab, bpe->entry_of_id[id]);
    size_t length = bpe->vocab.entries[bpe->entry_of_id[id]].length;
    for (size_t i = 0; i < length; i++)
        if (!((bytes[i] >= 'a' && bytes[i] <= 'z') || (bytes[i] >= 'A' && bytes[i] <= 'Z')))
            return false;
    return length > 0;
}

uint32_t tokenizer_find_plain_id(const struct tokenizer *tokenizer) {
    for (uint32_t id = 0; id < tokenizer->bpe.id_count; id++)
        if (is_plain(tokenizer, id)) return id;
    return NO_TOKEN;
}

static enum status join(struct text *out, const struct token_list *list, bool spaces) {
    for (size_t i = 0; i < list->count; i++) {
        struct span token = token_at(list, i);
        if (spaces && i) text_append_bytes(out, " ", 1);
        text_append_bytes(out, token.bytes, token.length);
    }
    return text_check(out);
}

enum status tokenizer_decode(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                             bool skip_special, char **text, size_t *length) {
    struct token_list lists[2] = {{{0}, NULL, 0, 0}, {{0}, NULL, 0, 0}};
    struct text joined = {0};
    struct worker *worker;
    enum status status = tokenizer_take_worker(&worker, tokenizer);
    if (status) return status;
    for (size_t i = 0; !status && i < count; i++)
        status = append_token(&lists[0], tokenizer, ids[i], skip_special);
    int from = 0;
    for (size_t i = 0; !status && i < tokenizer->decoder_count; i++) {
        struct token_list *out = &lists[1 - from];
        out->count = 0;
        text_clear(&out->bytes);
        status = run_decoder(out, &lists[from], &tokenizer->decoders[i], worker);
        from = 1 - from;
    }
    if (!status) status = join(&joined, &lists[from], tokenizer->decoder_count == 0);
    size_t joined_length = joined.length;
    char *result = status ? NULL : text_finish(&joined);
    if (!status && !result) status = STATUS_FAILED;
    if (!status) {
        *text = result;
        if (length) *length = joined_length;
    }
    text_free(&joined);
    list_free(&lists[0]);
    list_free(&lists[1]);
    tokenizer_give_worker(tokenizer, worker);
    return status;
}
