/* Added tokens: found in the text before anything else looks at it. Leftmost, longest match. */
#include <stdlib.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

static enum status new_node(struct matcher *matcher, uint32_t *out, unsigned char byte) {
    if (matcher->count == matcher->capacity) {
        size_t capacity = matcher->capacity ? 2 * matcher->capacity : 64;
        void *grown = capacity < NO_TOKEN
                          ? memory_resize(matcher->nodes, capacity, sizeof *matcher->nodes)
                          : NULL;
        if (!grown) return status_fail("out of memory for the added tokens");
        matcher->nodes = grown;
        matcher->capacity = capacity;
    }
    if (matcher->count == 0) matcher->count = 1; /* 0 means none */
    *out = (uint32_t)matcher->count++;
    matcher->nodes[*out] = (struct matcher_node){0, 0, NO_TOKEN, byte};
    return STATUS_OK;
}

static uint32_t find_child(const struct matcher *matcher, uint32_t parent, unsigned char byte) {
    uint32_t node = matcher->nodes[parent].child;
    while (node && matcher->nodes[node].byte != byte) node = matcher->nodes[node].sibling;
    return node;
}

enum status matcher_add(struct matcher *matcher, const char *bytes, size_t length, uint32_t token) {
    if (length == 0) return STATUS_OK;
    uint32_t *root = &matcher->roots[(unsigned char)bytes[0]], node = *root;
    enum status status = STATUS_OK;
    if (!node) status = new_node(matcher, root, (unsigned char)bytes[0]);
    node = *root;
    for (size_t i = 1; !status && i < length; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        uint32_t child = find_child(matcher, node, byte);
        if (!child) {
            status = new_node(matcher, &child, byte);
            if (status) break;
            matcher->nodes[child].sibling = matcher->nodes[node].child;
            matcher->nodes[node].child = child;
        }
        node = child;
    }
    if (!status && matcher->nodes[node].token == NO_TOKEN) matcher->nodes[node].token = token;
    return status;
}

void matcher_free(struct matcher *matcher) {
    free(matcher->nodes);
    *matcher = (struct matcher){0};
}

/* The longest token at `start`: its index, or NO_TOKEN. */
static uint32_t longest_at(const struct matcher *matcher, const struct span *text, size_t start,
                           size_t *end) {
    uint32_t node = matcher->roots[(unsigned char)text->bytes[start]], best = NO_TOKEN;
    for (size_t i = start + 1; node; i++) {
        if (matcher->nodes[node].token != NO_TOKEN) {
            best = matcher->nodes[node].token;
            *end = i;
        }
        node = i < text->length ? find_child(matcher, node, (unsigned char)text->bytes[i]) : 0;
    }
    return best;
}

static bool stands_alone(const struct span *text, size_t start, size_t end) {
    if (start > 0 && utf8_is_word(utf8_decode(text->bytes + utf8_before(text->bytes, start))))
        return false;
    return end == text->length || !utf8_is_word(utf8_decode(text->bytes + end));
}

/* Widens a match over the spaces that the token strips; not over what was used before. */
static void strip_spaces(const struct added_token *token, const struct span *text, size_t *start,
                         size_t *end, size_t done) {
    while (token->strip_left && *start > done) {
        size_t before = utf8_before(text->bytes, *start);
        if (!utf8_is_space(utf8_decode(text->bytes + before))) break;
        *start = before;
    }
    while (token->strip_right && *end < text->length &&
           utf8_is_space(utf8_decode(text->bytes + *end)))
        *end += utf8_length(text->bytes[*end]);
}

enum status matcher_split(const struct matcher *matcher, const struct tokenizer *tokenizer,
                          struct span text, emit_function emit, void *context) {
    size_t done = 0;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < text.length && matcher->count;) {
        size_t start = i, end = i;
        uint32_t index = longest_at(matcher, &text, start, &end);
        if (index == NO_TOKEN) {
            i++;
            continue;
        }
        i = end;
        const struct added_token *token = &tokenizer->added[index];
        if (token->single_word && !stands_alone(&text, start, end)) continue;
        strip_spaces(token, &text, &start, &end, done);
        if (start > done)
            status = emit(context,
                          (struct span){text.bytes + done, start - done, text.first && done == 0},
                          NO_TOKEN);
        if (!status) status = emit(context, text, token->id);
        if (status) return status;
        done = end;
    }
    if (done < text.length)
        status = emit(context,
                      (struct span){text.bytes + done, text.length - done, text.first && done == 0},
                      NO_TOKEN);
    return status;
}
