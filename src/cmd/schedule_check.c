#include "cmd/schedule_check.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "plan/build.h"
#include "scores/store.h"

/* Takes `differs` over. */
static enum status refuse(const char *path, char *differs) {
    if (!differs) return STATUS_OK;
    enum status status =
        status_fail("\"%s\" was made for another schedule: %s differs; use another --work "
                    "directory, or remove what is in this one",
                    path, *differs ? differs : "what it was made of");
    free(differs);
    return status;
}

enum status schedule_check_run(const char *path, int64_t run,
                               enum status (*command)(struct command_use *, int, char **), int argc,
                               char **argv) {
    struct command_use use = {.run = run, .compare = true};
    enum status status = command(&use, argc, argv);
    if (!status) return refuse(path, use.differs);
    free(use.differs);
    return status;
}

enum status schedule_check_plan(const char *path, const char *database, int64_t run, int count,
                                const char *keep) {
    static const char *const ignored[] = {"tool", "tool_commit", "path", NULL};
    struct store *store = NULL;
    struct plan plan = {0};
    struct json *there = NULL, *now = NULL;
    int64_t model;
    char *differs = NULL, *stages = text_format("%d", count);
    struct plan_choice choice = {.run = run};
    struct plan_choices choices = {.runs = &choice, .count = 1, .keep = keep, .stages = stages};
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
        status = refuse(path, differs);
    else
        free(differs);
    js_free(there);
    js_free(now);
    plan_free(&plan);
    store_close(store);
    free(stages);
    return status;
}

enum status schedule_check_hybrid(const char *path, int argc, char **argv) {
    struct command_use use = {.compare = true};
    enum status status = convert_command(&use, argc, argv);
    if (!status) return refuse(path, use.differs);
    free(use.differs);
    return status;
}

enum status schedule_check_words(const char *option, const char *const *own, size_t count,
                                 char **words) {
    for (; words && *words; words++)
        for (size_t i = 0; i < count; i++) {
            size_t length = strlen(own[i]);
            bool letter = own[i][0] == '-' && own[i][1] != '-'; /* its value may follow at once */
            if (strncmp(*words, own[i], length) != 0) continue;
            if (letter || !(*words)[length] || (*words)[length] == '=')
                return status_set(STATUS_USAGE,
                                  "plan: %s: \"%s\" is not for a command of a schedule, which "
                                  "has its own",
                                  option, own[i]);
        }
    return STATUS_OK;
}
