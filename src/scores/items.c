/* Items of tasks, their choices and answers. */
#include <math.h>
#include <stdlib.h>

#include "scores/reader.h"

enum status store_put_item(struct store *store, int64_t run, const struct store_item *item) {
    return connection_run(store,
                          "INSERT OR REPLACE INTO item (run, row, category, gold)"
                          " VALUES (?, ?, ?, ?)",
                          "iitt", run, item->row, item->category, item->gold);
}

enum status store_put_choice(struct store *store, int64_t run, const struct store_choice *choice) {
    if (!isfinite(choice->loglikelihood))
        return status_fail("item %lld: the log-likelihood of choice %lld is not finite; not stored "
                           "in \"%s\"",
                           (long long)choice->row, (long long)choice->choice, store->path);
    return connection_run(store,
                          "INSERT OR REPLACE INTO choice (run, row, choice, loglikelihood, tokens,"
                          " characters, greedy) VALUES (?, ?, ?, ?, ?, ?, ?)",
                          "iiidiii", run, choice->row, choice->choice, choice->loglikelihood,
                          choice->tokens, choice->characters, choice->greedy);
}

enum status store_put_answer(struct store *store, int64_t run, const struct store_answer *answer) {
    return connection_run(store,
                          "INSERT OR REPLACE INTO answer (run, row, sample, text, answer, correct,"
                          " tokens) VALUES (?, ?, ?, ?, ?, ?, ?)",
                          "iiittii", run, answer->row, answer->sample, answer->text, answer->answer,
                          (int64_t)answer->correct, answer->tokens);
}

static enum status append_item(void *into, struct reader *reader) {
    struct store_item_list *list = into;
    void *items = list->items;
    enum status status = connection_grow(&items, list->count, sizeof *list->items);
    list->items = items;
    if (status) return status;
    struct store_item *item = &list->items[list->count++];
    *item = (struct store_item){.row = reader_integer(reader, 1, 0, INT64_MAX)};
    item->category = reader_text(reader, 2, READER_NULL | READER_BYTES);
    item->gold = reader_text(reader, 3, READER_BYTES);
    return reader->status;
}

static enum status append_choice(void *into, struct reader *reader) {
    struct store_choice_list *list = into;
    void *choices = list->choices;
    enum status status = connection_grow(&choices, list->count, sizeof *list->choices);
    list->choices = choices;
    if (status) return status;
    list->choices[list->count++] =
        (struct store_choice){.row = reader_integer(reader, 1, 0, INT64_MAX),
                              .choice = reader_integer(reader, 2, 0, INT32_MAX),
                              .loglikelihood = reader_number(reader, 3, -INFINITY, false),
                              .tokens = reader_integer(reader, 4, 0, INT64_MAX),
                              .characters = reader_integer(reader, 5, 0, INT64_MAX),
                              .greedy = reader_integer(reader, 6, 0, INT64_MAX)};
    return reader->status;
}

static enum status append_answer(void *into, struct reader *reader) {
    struct store_answer_list *list = into;
    void *answers = list->answers;
    enum status status = connection_grow(&answers, list->count, sizeof *list->answers);
    list->answers = answers;
    if (status) return status;
    struct store_answer *answer = &list->answers[list->count++];
    *answer = (struct store_answer){.row = reader_integer(reader, 1, 0, INT64_MAX),
                                    .sample = reader_integer(reader, 2, 0, INT32_MAX),
                                    .correct = reader_integer(reader, 5, 0, 1) != 0,
                                    .tokens = reader_integer(reader, 6, 0, INT64_MAX)};
    answer->text = reader_text(reader, 3, READER_BYTES);
    answer->answer = reader_text(reader, 4, READER_NULL | READER_BYTES);
    return reader->status;
}

enum status store_get_items(struct store_item_list *out, struct store *store, int64_t run) {
    *out = (struct store_item_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(
        &statement, store, "SELECT run, row, category, gold FROM item WHERE run = ? ORDER BY row",
        "i", run);
    if (!status) status = reader_run(store, statement, "item", 2, out, append_item);
    if (!status) status = whole_check(store, run);
    if (status) store_item_list_free(out);
    return status;
}

enum status store_get_choices(struct store_choice_list *out, struct store *store, int64_t run) {
    *out = (struct store_choice_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status =
        connection_prepare(&statement, store,
                           "SELECT run, row, choice, loglikelihood, tokens, characters, greedy"
                           " FROM choice WHERE run = ? ORDER BY row, choice",
                           "i", run);
    if (!status) status = reader_run(store, statement, "choice", 3, out, append_choice);
    if (!status) status = whole_check(store, run);
    if (status) store_choice_list_free(out);
    return status;
}

enum status store_get_answers(struct store_answer_list *out, struct store *store, int64_t run) {
    *out = (struct store_answer_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status =
        connection_prepare(&statement, store,
                           "SELECT run, row, sample, text, answer, correct, tokens FROM answer"
                           " WHERE run = ? ORDER BY row, sample",
                           "i", run);
    if (!status) status = reader_run(store, statement, "answer", 3, out, append_answer);
    if (!status) status = whole_check(store, run);
    if (status) store_answer_list_free(out);
    return status;
}

void store_item_list_free(struct store_item_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].category);
        free(list->items[i].gold);
    }
    free(list->items);
    *list = (struct store_item_list){0};
}

void store_choice_list_free(struct store_choice_list *list) {
    free(list->choices);
    *list = (struct store_choice_list){0};
}

void store_answer_list_free(struct store_answer_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->answers[i].text);
        free(list->answers[i].answer);
    }
    free(list->answers);
    *list = (struct store_answer_list){0};
}
