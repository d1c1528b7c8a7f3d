/* What the user changes in a database: notes, and runs that go away. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "scores/reader.h"

static enum status fill_id(void *into, struct reader *reader) {
    *(int64_t *)into = reader_integer(reader, 0, 1, INT64_MAX);
    return reader->status;
}

enum status store_find_last_run(int64_t *id, struct store *store) {
    sqlite3_stmt *statement = NULL;
    *id = 0;
    enum status status =
        connection_prepare(&statement, store, "SELECT id FROM run ORDER BY id DESC LIMIT 1", "");
    if (!status) status = reader_run(store, statement, "run", 1, id, fill_id);
    if (!status && !*id) status = status_fail("\"%s\" has no run", store->path);
    return status;
}

/* What `what` is called, when the last statement has changed nothing. */
static enum status fail_unless_changed(const struct store *store, const char *what, int64_t id) {
    if (sqlite3_changes(store->db) > 0) return STATUS_OK;
    return status_fail("\"%s\" has no %s %lld", store->path, what, (long long)id);
}

enum status store_set_note(struct store *store, int64_t run, const char *note) {
    enum status status = connection_run(store, "UPDATE run SET note = ? WHERE id = ?", "ti",
                                        *note ? note : NULL, run);
    return status ? status : fail_unless_changed(store, "run", run);
}

/* ---- plans */

static enum status append_plan(void *into, struct reader *reader) {
    struct store_plan_list *list = into;
    void *plans = list->plans;
    enum status status = connection_grow(&plans, list->count, sizeof *list->plans);
    list->plans = plans;
    if (status) return status;
    struct store_plan *plan = &list->plans[list->count++];
    *plan = (struct store_plan){.id = reader_integer(reader, 0, 1, INT64_MAX)};
    plan->created = reader_text(reader, 1, 0);
    plan->document = reader_object(reader, 2);
    return reader->status;
}

enum status store_list_plans(struct store_plan_list *out, struct store *store) {
    *out = (struct store_plan_list){0};
    sqlite3_stmt *statement = NULL;
    enum status status = connection_prepare(
        &statement, store, "SELECT id, created, document FROM plan ORDER BY id", "");
    if (!status) status = reader_run(store, statement, "plan", 1, out, append_plan);
    if (status) store_plan_list_free(out);
    return status;
}

void store_plan_list_free(struct store_plan_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->plans[i].created);
        free(list->plans[i].document);
    }
    free(list->plans);
    *list = (struct store_plan_list){0};
}

static bool is_made_from(const struct store_plan *plan, int64_t run) {
    struct json *document = NULL;
    bool found = false;
    if (js_parse(&document, plan->document, strlen(plan->document), "plan")) return false;
    const struct json *runs = js_member(document, "runs");
    for (size_t i = 0; i < js_count(runs); i++)
        found = found || js_integer_or(js_member(js_element(runs, i), "run"), 0) == run;
    js_free(document);
    return found;
}

static enum status check_unused(struct store *store, int64_t run) {
    struct store_plan_list list;
    enum status status = store_list_plans(&list, store);
    for (size_t i = 0; !status && i < list.count; i++)
        if (is_made_from(&list.plans[i], run))
            status = status_fail("plan %lld of %s was made from run %lld, which therefore stays; "
                                 "scores --delete plan:%lld deletes the plan's record",
                                 (long long)list.plans[i].id, list.plans[i].created, (long long)run,
                                 (long long)list.plans[i].id);
    store_plan_list_free(&list);
    return status;
}

/* ---- deleting */

static enum status end(struct store *store, enum status status) {
    if (!status) return store_commit(store);
    store_rollback(store);
    return status;
}

enum status store_delete_run(struct store *store, int64_t run) {
    /* Foreign keys would do the same, where a database has them. */
    static const char *const values[] = {
        "DELETE FROM score WHERE run = ?",      "DELETE FROM sequence_score WHERE run = ?",
        "DELETE FROM probe_step WHERE run = ?", "DELETE FROM probe_state WHERE run = ?",
        "DELETE FROM item WHERE run = ?",       "DELETE FROM choice WHERE run = ?",
        "DELETE FROM answer WHERE run = ?",
    };
    enum status status = store_begin(store);
    if (status) return status;
    status = check_unused(store, run);
    for (size_t i = 0; !status && i < sizeof values / sizeof *values; i++)
        status = connection_run(store, values[i], "i", run);
    if (!status) status = connection_run(store, "DELETE FROM run WHERE id = ?", "i", run);
    if (!status) status = fail_unless_changed(store, "run", run);
    return end(store, status);
}

enum status store_delete_bench(struct store *store, int64_t series) {
    enum status status = connection_run(store, "DELETE FROM bench WHERE series = ?", "i", series);
    return status ? status : fail_unless_changed(store, "throughput series", series);
}

enum status store_delete_plan(struct store *store, int64_t plan) {
    enum status status = connection_run(store, "DELETE FROM plan WHERE id = ?", "i", plan);
    return status ? status : fail_unless_changed(store, "plan", plan);
}
