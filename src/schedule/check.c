#include "schedule/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "plan/build.h"
#include "scores/store.h"

enum status schedule_check_refuse(const char *path, char *differs) {
    if (!differs) return STATUS_OK;
    enum status status =
        status_fail("\"%s\" was made for another schedule: %s differs; use another --work "
                    "directory, or remove what is in this one",
                    path, *differs ? differs : "what it was made of");
    free(differs);
    return status;
}

enum status schedule_check_plan(const char *path, const char *database, int64_t run,
                                const char *kind, int count, const char *keep) {
    static const char *const ignored[] = {"tool", "tool_commit", "path", NULL};
    struct store *store = NULL;
    struct plan plan = {0};
    struct json *there = NULL, *now = NULL;
    int64_t model;
    char *differs = NULL, *stages = text_format("%d", count);
    struct plan_choice choice = {.run = run};
    struct plan_choices choices = {
        .runs = &choice, .count = 1, .keep = keep, .stages = stages, .kind = kind};
    enum status status = stages ? store_open(&store, database, STORE_READ) : STATUS_FAILED;
    if (!status) status = plan_from_store(&plan, &model, store, &choices);
    if (!status) status = js_read_names(&there, path);
    if (!status) {
        char *text = plan_format_text(&plan); /* numbers as they are in a file */
        status = text ? js_parse_names(&now, text, strlen(text), path) : STATUS_FAILED;
        free(text);
    }
    if (!status) status = js_difference(&differs, there, now, ignored);
    if (!status)
        status = schedule_check_refuse(path, differs);
    else
        free(differs);
    js_free(there);
    js_free(now);
    plan_free(&plan);
    store_close(store);
    free(stages);
    return status;
}
