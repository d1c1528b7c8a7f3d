#include "data/recall.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"

enum { FEWEST_WORDS = 64, MOST_WORDS = 1024, COPIED = 4 };

const char *recall_kind_name(enum recall_kind kind) {
    static const char *const names[RECALL_KINDS] = {"kv", "needle", "fact", "copy"};
    return names[kind];
}

/* A run of ids from the tokenizer. */
struct piece {
    uint32_t *ids; /* [count] */
    size_t count;
};

static const char *const sentences[] = {
    " The road went over the hills.",      " It rained for most of the day.",
    " A dog slept near the door.",         " The market opened early.",
    " Some people walked to the river.",   " The train was late again.",
    " We had bread and cheese for lunch.", " The old house stood at the corner.",
};

enum { SENTENCES = sizeof sentences / sizeof *sentences };

/* What stands before and after the word of needle and of fact. */
static const char *const needles[2][2] = {
    {" The secret word is", "."},
    {" Tom bought some", " at the store."},
};

struct builder {
    const struct tokenizer *tokenizer;
    const struct recall_options *options;
    uint32_t *words; /* [words_count] */
    size_t words_count;
    struct piece start;               /* what the template puts first */
    struct piece filler[SENTENCES];   /* sentences */
    struct piece before[2], after[2]; /* the sentences of needle and fact, around their word */
    struct piece separator;           /* "," */
    struct random_stream stream;      /* of the cell */
    uint64_t drawn;
    uint32_t *row; /* [count] being written */
    size_t count, capacity;
};

/* ---- words */

/* Whether the text of a token twice is a word twice: "␣word␣word", or "word␣word" where the decoder
 * drops the first blank. */
static bool is_word(const char *text) {
    if (*text == ' ') text++;
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyz");
    return length >= 3 && length <= 10 && text[length] == ' ' && strlen(text) == 2 * length + 1 &&
           memcmp(text, text + length + 1, length) == 0;
}

static bool among(const uint32_t *words, size_t count, uint32_t word) {
    for (size_t i = 0; i < count; i++)
        if (words[i] == word) return true;
    return false;
}

static bool in_piece(const struct piece *piece, uint32_t id) {
    return among(piece->ids, piece->count, id);
}

/* Whether the sentences have this token: it must not be an answer. */
static bool in_pieces(const struct builder *builder, uint32_t id) {
    for (int i = 0; i < SENTENCES; i++)
        if (in_piece(&builder->filler[i], id)) return true;
    for (int i = 0; i < 2; i++)
        if (in_piece(&builder->before[i], id) || in_piece(&builder->after[i], id)) return true;
    return in_piece(&builder->start, id) || in_piece(&builder->separator, id);
}

/* Tokens come in the order of their merges, so that the first words are the frequent ones. */
static enum status find_words(struct builder *builder) {
    uint64_t size = tokenizer_vocab_size(builder->tokenizer);
    builder->words = memory_calloc(MOST_WORDS, sizeof *builder->words);
    if (!builder->words) return STATUS_FAILED;
    for (uint64_t id = 0; id < size && builder->words_count < MOST_WORDS; id++) {
        const uint32_t twice[] = {(uint32_t)id, (uint32_t)id};
        uint32_t *ids = NULL;
        size_t count = 0, length = 0;
        char *text;
        enum status status = tokenizer_decode(builder->tokenizer, twice, 2, true, &text, &length);
        if (status) return status;
        if (length == strlen(text) && is_word(text))
            status =
                tokenizer_encode(builder->tokenizer, text, length, TOKENIZER_PLAIN, &ids, &count);
        if (!status && count == 2 && ids[0] == id && ids[1] == id && !in_pieces(builder, ids[0]))
            builder->words[builder->words_count++] = (uint32_t)id;
        free(ids);
        free(text);
        if (status) return status;
    }
    if (builder->words_count < FEWEST_WORDS)
        return status_fail("the tokenizer has %zu words that are one token: too few for recall",
                           builder->words_count);
    return STATUS_OK;
}

static enum status encode(struct piece *out, const struct builder *builder, const char *text,
                          enum tokenizer_around around) {
    return tokenizer_encode(builder->tokenizer, text, strlen(text), around, &out->ids, &out->count);
}

static enum status encode_pieces(struct builder *builder) {
    enum status status = encode(&builder->start, builder, "", builder->options->around);
    for (int i = 0; !status && i < SENTENCES; i++)
        status = encode(&builder->filler[i], builder, sentences[i], TOKENIZER_PLAIN);
    for (int i = 0; !status && i < 2; i++) {
        status = encode(&builder->before[i], builder, needles[i][0], TOKENIZER_PLAIN);
        if (!status) status = encode(&builder->after[i], builder, needles[i][1], TOKENIZER_PLAIN);
    }
    if (!status) status = encode(&builder->separator, builder, ",", TOKENIZER_PLAIN);
    return status;
}

/* Every kind must fit into the shortest row. */
static enum status check_pieces(const struct builder *builder) {
    for (int i = 0; i < 2; i++) {
        size_t needle = 2 * builder->before[i].count + builder->after[i].count + 1;
        size_t pairs = RECALL_CHOICES * (2 + builder->separator.count) + 1;
        if (builder->start.count + (needle > pairs ? needle : pairs) > RECALL_SHORTEST)
            return status_fail("the tokenizer cuts words too finely for recall");
    }
    return STATUS_OK;
}

/* ---- a row */

static size_t draw(struct builder *builder, size_t below) {
    size_t number = (size_t)(random_uniform(&builder->stream, builder->drawn++) * (double)below);
    return number < below ? number : below - 1;
}

/* The row never grows beyond its capacity: what does not fit is left out. */
static void put(struct builder *builder, uint32_t id) {
    if (builder->count < builder->capacity) builder->row[builder->count++] = id;
}

static void put_piece(struct builder *builder, const struct piece *piece) {
    for (size_t i = 0; i < piece->count; i++) put(builder, piece->ids[i]);
}

/* `count` different words, in random order, at the beginning of builder->words. */
static void shuffle(struct builder *builder, size_t count) {
    for (size_t i = 0; i < count && i < builder->words_count; i++) {
        size_t other = i + draw(builder, builder->words_count - i);
        uint32_t word = builder->words[i];
        builder->words[i] = builder->words[other];
        builder->words[other] = word;
    }
}

/* Sentences of filler, cut to end at `count`. */
static void fill(struct builder *builder, size_t count) {
    size_t capacity = builder->capacity;
    builder->capacity = count;
    while (builder->count < count) put_piece(builder, &builder->filler[draw(builder, SENTENCES)]);
    builder->capacity = capacity;
}

/* Pairs "key value," and then one of the keys. Keys and values are all different; where the row has
 * room for more pairs than there are words, it begins with filler. */
static void write_kv(struct builder *builder, double depth, uint32_t choices[RECALL_CHOICES]) {
    size_t pair = 2 + builder->separator.count, half = builder->words_count / 2;
    size_t pairs = (builder->capacity - builder->count - 1) / pair;
    if (pairs > half) pairs = half;
    shuffle(builder, builder->words_count);
    const uint32_t *keys = builder->words, *values = builder->words + half;
    size_t asked = (size_t)llround(depth * (double)(pairs - 1));
    fill(builder, builder->capacity - 1 - pairs * pair);
    for (size_t i = 0; i < pairs; i++) {
        put(builder, keys[i]);
        put(builder, values[i]);
        put_piece(builder, &builder->separator);
    }
    put(builder, keys[asked]);
    choices[0] = values[asked];
    for (size_t found = 1; found < RECALL_CHOICES;) {
        uint32_t value = values[draw(builder, pairs)];
        if (!among(choices, found, value)) choices[found++] = value;
    }
}

/* `count` tokens of filler that end with a sentence: the first one lacks its beginning. */
static void fill_from_middle(struct builder *builder, size_t count) {
    uint64_t drawn = builder->drawn;
    size_t length = 0;
    while (length < count) length += builder->filler[draw(builder, SENTENCES)].count;
    builder->drawn = drawn;
    for (size_t skip = length - count; length > 0;) {
        const struct piece *piece = &builder->filler[draw(builder, SENTENCES)];
        for (size_t i = skip; i < piece->count; i++) put(builder, piece->ids[i]);
        length -= piece->count;
        skip -= skip < piece->count ? skip : piece->count;
    }
}

static void write_sentence(struct builder *builder, int kind, double depth,
                           uint32_t choices[RECALL_CHOICES]) {
    const struct piece *before = &builder->before[kind], *after = &builder->after[kind];
    shuffle(builder, RECALL_CHOICES);
    memcpy(choices, builder->words, RECALL_CHOICES * sizeof *choices);
    size_t text = builder->capacity - builder->count - 2 * before->count - 1 - after->count;
    fill_from_middle(builder, (size_t)llround(depth * (double)text));
    put_piece(builder, before);
    put(builder, choices[0]);
    put_piece(builder, after);
    fill(builder, builder->capacity - before->count);
    put_piece(builder, before);
}

static void write_needle(struct builder *builder, double depth, uint32_t choices[RECALL_CHOICES]) {
    write_sentence(builder, 0, depth, choices);
}

static void write_fact(struct builder *builder, double depth, uint32_t choices[RECALL_CHOICES]) {
    write_sentence(builder, 1, depth, choices);
}

/* Random words, then COPIED of them again. Words come back only when all have been there. */
static void write_copy(struct builder *builder, double depth, uint32_t choices[RECALL_CHOICES]) {
    size_t first = builder->count, length = builder->capacity - first - COPIED;
    size_t asked = (size_t)llround(depth * (double)(length - COPIED - 1));
    for (size_t i = 0; i < length; i++) {
        if (i % builder->words_count == 0) shuffle(builder, builder->words_count);
        put(builder, builder->words[i % builder->words_count]);
    }
    for (size_t i = 0; i < COPIED; i++) put(builder, builder->row[first + asked + i]);
    choices[0] = builder->row[first + asked + COPIED];
    for (size_t found = 1; found < RECALL_CHOICES;) {
        uint32_t word = builder->row[first + draw(builder, length)];
        if (!among(choices, found, word)) choices[found++] = word;
    }
}

/* ---- items */

static enum status make_source(struct choice_source *out, struct builder *builder,
                               enum recall_kind kind, int length, double depth) {
    static void (*const write[RECALL_KINDS])(struct builder *, double, uint32_t *) = {
        write_kv, write_needle, write_fact, write_copy};
    uint32_t choices[RECALL_CHOICES];
    builder->count = 0;
    builder->capacity = (size_t)length;
    put_piece(builder, &builder->start);
    write[kind](builder, depth, choices);
    /* The right choice stands anywhere: equal scores must not favour it. */
    out->gold = (int)draw(builder, RECALL_CHOICES);
    uint32_t word = choices[0];
    choices[0] = choices[out->gold];
    choices[out->gold] = word;
    out->count = RECALL_CHOICES;
    out->category = text_format("%s/%d/%.2f", recall_kind_name(kind), length, depth);
    out->choices = memory_calloc(RECALL_CHOICES, sizeof *out->choices);
    if (!out->category || !out->choices) return STATUS_FAILED;
    for (int c = 0; c < RECALL_CHOICES; c++) {
        struct choice_ids *choice = &out->choices[c];
        choice->ids = memory_calloc(builder->count + 1, sizeof *choice->ids);
        if (!choice->ids) return STATUS_FAILED;
        memcpy(choice->ids, builder->row, builder->count * sizeof *choice->ids);
        choice->ids[builder->count] = choices[c];
        choice->context = builder->count;
        choice->count = builder->count + 1;
        choice->characters = 1; /* one token each: no length to normalise by */
    }
    return STATUS_OK;
}

static enum status make_cell(struct choice_source *sources, struct builder *builder,
                             enum recall_kind kind, int length, double depth) {
    char name[64];
    enum status status = STATUS_OK;
    snprintf(name, sizeof name, "recall/%s/%d/%.6f", recall_kind_name(kind), length, depth);
    builder->stream = random_stream_for(builder->options->seed, -1, name);
    builder->drawn = 0;
    for (int i = 0; !status && i < builder->options->items; i++)
        status = make_source(&sources[i], builder, kind, length, depth);
    return status;
}

static enum status check(const struct recall_options *options) {
    for (size_t i = 0; i < options->lengths.count; i++) {
        int length = options->lengths.values[i];
        if (length < RECALL_SHORTEST || length > RECALL_LONGEST)
            return status_set(STATUS_USAGE, "recall: a length of %d is outside %d to %d", length,
                              RECALL_SHORTEST, RECALL_LONGEST);
        if (options->max_tokens > 0 && length > options->max_tokens)
            return status_set(STATUS_USAGE,
                              "recall: a length of %d tokens, but the model takes %lld; give "
                              "shorter --lengths",
                              length, (long long)options->max_tokens);
    }
    for (size_t i = 0; i < options->depths_count; i++)
        if (!(options->depths[i] >= 0 && options->depths[i] <= 1))
            return status_set(STATUS_USAGE, "recall: a depth of %g is outside 0 to 1",
                              options->depths[i]);
    return STATUS_OK;
}

static void free_builder(struct builder *builder) {
    for (int i = 0; i < SENTENCES; i++) free(builder->filler[i].ids);
    free(builder->start.ids);
    for (int i = 0; i < 2; i++) {
        free(builder->before[i].ids);
        free(builder->after[i].ids);
    }
    free(builder->separator.ids);
    free(builder->words);
    free(builder->row);
}

/* Every word list starts from the tokenizer's order, so that a cell depends on nothing before it.
 */
static enum status make_all(struct choice_source *sources, struct builder *builder) {
    const struct recall_options *options = builder->options;
    enum status status = STATUS_OK;
    uint32_t *order = memory_calloc(builder->words_count, sizeof *order);
    if (!order) return STATUS_FAILED;
    memcpy(order, builder->words, builder->words_count * sizeof *order);
    for (int kind = 0; kind < RECALL_KINDS; kind++)
        for (size_t l = 0; l < options->lengths.count; l++)
            for (size_t d = 0; !status && d < options->depths_count; d++) {
                memcpy(builder->words, order, builder->words_count * sizeof *order);
                status = make_cell(sources, builder, (enum recall_kind)kind,
                                   options->lengths.values[l], options->depths[d]);
                sources += options->items;
            }
    free(order);
    return status;
}

enum status recall_build(struct choice_set **out, const struct tokenizer *tokenizer,
                         const struct recall_options *options) {
    struct builder builder = {.tokenizer = tokenizer, .options = options};
    struct choice_source *sources = NULL;
    size_t count =
        RECALL_KINDS * options->lengths.count * options->depths_count * (size_t)options->items;
    int longest = 0;
    enum status status = check(options);
    for (size_t i = 0; i < options->lengths.count; i++)
        if (options->lengths.values[i] > longest) longest = options->lengths.values[i];
    if (!status) status = encode_pieces(&builder);
    if (!status) status = find_words(&builder);
    if (!status) status = check_pieces(&builder);
    if (!status) {
        builder.row = memory_calloc((size_t)longest, sizeof *builder.row);
        sources = memory_calloc(count, sizeof *sources);
        status = builder.row && sources ? make_all(sources, &builder) : STATUS_FAILED;
    }
    if (!status) status = choice_set_build(out, sources, count, 0);
    for (size_t i = 0; sources && i < count; i++) choice_source_free(&sources[i]);
    free(sources);
    free_builder(&builder);
    return status;
}
