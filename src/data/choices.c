#include "data/choices.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* ---- text to ids */

enum status choice_ids_encode(struct choice_ids *out, const struct tokenizer *tokenizer,
                              const char *context, const char *continuation,
                              enum tokenizer_around around) {
    size_t context_length = strlen(context), continuation_length = strlen(continuation);
    size_t length = context_length + continuation_length, kept = context_length;
    uint32_t *context_ids = NULL, *ids = NULL;
    *out = (struct choice_ids){0};
    while (kept && strchr(" \t\r\n", context[kept - 1])) kept--;
    char *whole = memory_calloc(length + 1, 1);
    if (!whole) return STATUS_FAILED;
    memcpy(whole, context, context_length);
    memcpy(whole + context_length, continuation, continuation_length);
    enum status status =
        tokenizer_encode(tokenizer, whole, kept, around, &context_ids, &out->context);
    if (!status) status = tokenizer_encode(tokenizer, whole, length, around, &ids, &out->count);
    out->ids = ids;
    if (!status && out->context == 0) status = status_fail("a choice has no context");
    if (!status && out->count <= out->context) status = status_fail("a choice is empty");
    free(context_ids);
    free(whole);
    if (!status) return STATUS_OK;
    free(out->ids);
    *out = (struct choice_ids){0};
    return status;
}

/* ---- layout */

/* The part of a choice's ids that the model is given. */
struct input {
    const uint32_t *ids;
    size_t count, cut;
};

static struct input input_of(const struct choice_ids *choice, int64_t max_tokens) {
    struct input input = {choice->ids, choice->count - 1, 0};
    if (max_tokens > 0 && input.count > (size_t)max_tokens)
        input.cut = input.count - (size_t)max_tokens;
    /* The token before the first scored one must stay. */
    if (input.cut >= choice->context) input.cut = choice->context - 1;
    input.ids += input.cut;
    input.count -= input.cut;
    return input;
}

static bool begins(const struct input *whole, const struct input *part) {
    return part->count <= whole->count &&
           memcmp(part->ids, whole->ids, part->count * sizeof *part->ids) == 0;
}

/* The choice whose row serves choice `index`: the first of the longest inputs that begin as its
 * own does. */
static int row_owner(const struct choice_source *source, int index, int64_t max_tokens) {
    struct input own = input_of(&source->choices[index], max_tokens), best = own;
    int owner = index;
    for (int i = 0; i < source->count; i++) {
        struct input other = input_of(&source->choices[i], max_tokens);
        if (!begins(&other, &own)) continue;
        if (other.count > best.count || (other.count == best.count && i < owner)) {
            owner = i;
            best = other;
        }
    }
    return owner;
}

/* What an item needs; kept for the order of the layout. */
struct plan {
    size_t source;
    size_t tokens, rows, targets;
};

static struct plan plan_item(const struct choice_source *source, size_t index, int64_t max_tokens) {
    struct plan plan = {.source = index};
    for (int i = 0; i < source->count; i++) {
        const struct choice_ids *choice = &source->choices[i];
        plan.targets += choice->count - choice->context;
        if (row_owner(source, i, max_tokens) != i) continue;
        plan.tokens += input_of(choice, max_tokens).count;
        plan.rows++;
    }
    return plan;
}

static int longest_first(const void *left, const void *right) {
    const struct plan *a = left, *b = right;
    if (a->tokens != b->tokens) return a->tokens > b->tokens ? -1 : 1;
    return (a->source > b->source) - (a->source < b->source);
}

static enum status find_category(int *out, struct choice_set *set, const char *name) {
    *out = -1;
    if (!name) return STATUS_OK;
    for (size_t i = 0; i < set->categories_count; i++)
        if (strcmp(set->categories[i], name) == 0) {
            *out = (int)i;
            return STATUS_OK;
        }
    char **more = memory_resize(set->categories, set->categories_count + 1, sizeof *more);
    if (!more) return STATUS_FAILED;
    set->categories = more;
    more[set->categories_count] = memory_copy_string(name);
    if (!more[set->categories_count]) return STATUS_FAILED;
    *out = (int)set->categories_count++;
    return STATUS_OK;
}

/* Rows first, so that a choice finds its owner's wherever that stands. */
static enum status add_item(struct choice_set *set, const struct choice_source *source,
                            size_t number, int64_t max_tokens) {
    struct tokenset *rows = &set->set;
    struct choice_item *item = &set->items[set->items_count];
    *item = (struct choice_item){.number = (int64_t)number,
                                 .first = set->choices_count,
                                 .choices = source->count,
                                 .gold = source->gold,
                                 .first_row = (int64_t)rows->rows};
    enum status status = find_category(&item->category, set, source->category);
    if (status) return status;
    for (int i = 0; i < source->count; i++) {
        const struct input input = input_of(&source->choices[i], max_tokens);
        if (row_owner(source, i, max_tokens) != i) continue;
        memcpy(rows->ids + rows->tokens, input.ids, input.count * sizeof *input.ids);
        set->choices[item->first + (size_t)i].row = (int64_t)rows->rows;
        rows->tokens += input.count;
        rows->row_offsets[++rows->rows] = rows->tokens;
        item->rows++;
    }
    for (int i = 0; i < source->count; i++) {
        const struct choice_ids *from = &source->choices[i];
        const struct input input = input_of(from, max_tokens);
        struct choice *choice = &set->choices[item->first + (size_t)i];
        int owner = row_owner(source, i, max_tokens);
        choice->row = set->choices[item->first + (size_t)owner].row;
        choice->token = (int64_t)(rows->row_offsets[choice->row] + from->context - input.cut - 1);
        choice->targets = set->targets_count;
        choice->count = (int64_t)(from->count - from->context);
        choice->characters = from->characters;
        memcpy(set->targets + set->targets_count, from->ids + from->context,
               (size_t)choice->count * sizeof *from->ids);
        set->targets_count += (size_t)choice->count;
        set->cut += input.cut > 0;
    }
    set->choices_count += (size_t)source->count;
    set->items_count++;
    return STATUS_OK;
}

static enum status allocate(struct choice_set *set, const struct choice_source *sources,
                            const struct plan *plans, size_t count) {
    size_t tokens = 0, rows = 0, targets = 0, choices = 0;
    for (size_t i = 0; i < count; i++) {
        tokens += plans[i].tokens;
        rows += plans[i].rows;
        targets += plans[i].targets;
        choices += (size_t)sources[i].count;
    }
    set->items = memory_calloc(count, sizeof *set->items);
    set->choices = memory_calloc(choices, sizeof *set->choices);
    set->targets = memory_calloc(targets, sizeof *set->targets);
    set->set.ids = memory_calloc(tokens, sizeof *set->set.ids);
    set->set.row_offsets = memory_calloc(rows + 1, sizeof *set->set.row_offsets);
    bool all = set->items && set->choices && set->targets && set->set.ids && set->set.row_offsets;
    return all ? STATUS_OK : STATUS_FAILED;
}

/* Over the rows, and what is asked of them. */
static enum status set_fingerprint(struct choice_set *set) {
    struct sha256 *sha = NULL;
    char rows[SHA256_HEX_SIZE];
    enum status status = tokenset_fingerprint(rows, &set->set);
    if (!status) status = sha256_begin(&sha);
    if (status) return status;
    sha256_update(sha, rows, strlen(rows));
    for (size_t i = 0; i < set->items_count; i++) {
        const struct choice_item *item = &set->items[i];
        int64_t words[] = {item->number, item->choices, item->gold, item->rows};
        sha256_update(sha, words, sizeof words);
        const char *category = item->category < 0 ? "" : set->categories[item->category];
        sha256_update(sha, category, strlen(category) + 1);
        for (int c = 0; c < item->choices; c++) {
            const struct choice *choice = &set->choices[item->first + (size_t)c];
            int64_t about[] = {choice->row, choice->token, choice->count, choice->characters};
            sha256_update(sha, about, sizeof about);
        }
    }
    sha256_update(sha, set->targets, set->targets_count * sizeof *set->targets);
    sha256_finish(sha, set->set.fingerprint);
    return STATUS_OK;
}

enum status choice_set_build(struct choice_set **out, const struct choice_source *sources,
                             size_t count, int64_t max_tokens) {
    if (count == 0) return status_fail("no items");
    struct choice_set *set = memory_calloc(1, sizeof *set);
    struct plan *plans = memory_calloc(count, sizeof *plans);
    enum status status = set && plans ? STATUS_OK : STATUS_FAILED;
    for (size_t i = 0; !status && i < count; i++) {
        plans[i] = plan_item(&sources[i], i, max_tokens);
        /* Categories keep the task's order, whatever the layout's. */
        int category;
        status = find_category(&category, set, sources[i].category);
    }
    if (!status) status = allocate(set, sources, plans, count);
    if (!status) qsort(plans, count, sizeof *plans, longest_first);
    for (size_t i = 0; !status && i < count; i++)
        status = add_item(set, &sources[plans[i].source], plans[i].source, max_tokens);
    if (!status) {
        uint32_t largest = 0;
        for (size_t i = 0; i < set->targets_count; i++)
            if (set->targets[i] > largest) largest = set->targets[i];
        for (uint64_t i = 0; i < set->set.tokens; i++)
            if (set->set.ids[i] > largest) largest = set->set.ids[i];
        set->set.vocab_size = (uint64_t)largest + 1;
        status = set_fingerprint(set);
    }
    free(plans);
    if (status)
        choice_set_free(set);
    else
        *out = set;
    return status;
}

void choice_set_free(struct choice_set *set) {
    if (!set) return;
    for (size_t i = 0; i < set->categories_count; i++) free(set->categories[i]);
    free(set->categories);
    free(set->items);
    free(set->choices);
    free(set->targets);
    free(set->set.ids);
    free(set->set.row_offsets);
    free(set);
}

void choice_source_free(struct choice_source *source) {
    for (int i = 0; source->choices && i < source->count; i++) free(source->choices[i].ids);
    free(source->choices);
    free(source->category);
    *source = (struct choice_source){0};
}

/* ---- groups */

int64_t choice_set_tokens(const struct choice_set *set, size_t first, size_t end) {
    if (first >= end) return 0;
    const struct choice_item *last = &set->items[end - 1];
    const uint64_t *offsets = set->set.row_offsets;
    return (int64_t)(offsets[last->first_row + last->rows] - offsets[set->items[first].first_row]);
}

size_t choice_set_group(const struct choice_set *set, size_t first, int64_t group_tokens) {
    size_t end = first + 1;
    while (end < set->items_count && choice_set_tokens(set, first, end + 1) <= group_tokens) end++;
    return end;
}

void choice_set_measure_groups(int64_t *rows, int64_t *tokens, const struct choice_set *set,
                               int64_t group_tokens) {
    *rows = *tokens = 0;
    for (size_t first = 0, end; first < set->items_count; first = end) {
        end = choice_set_group(set, first, group_tokens);
        const struct choice_item *last = &set->items[end - 1];
        int64_t group_rows = last->first_row + last->rows - set->items[first].first_row;
        int64_t size = choice_set_tokens(set, first, end);
        if (group_rows > *rows) *rows = group_rows;
        if (size > *tokens) *tokens = size;
    }
}
