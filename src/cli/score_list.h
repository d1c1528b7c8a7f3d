/* Looking scores up and printing them, for the commands that compute some. */
#ifndef CLI_SCORE_LIST_H
#define CLI_SCORE_LIST_H

#include "base/json.h"
#include "scores/store.h"

/* The score of a layer (STORE_TRUNK: of the unmodified model) by metric; NULL when there is none.
 * Borrowed from the list. */
const struct store_score *score_list_find(const struct store_score_list *list, int layer,
                                          const char *metric);

/* {layer (absent for the unmodified model), metric, value, stderr, n}; the caller frees. */
struct json *score_to_json(const struct store_score *score);

/* Array of {layer (absent for the unmodified model), metric, value, stderr, n}; the caller frees.
 */
struct json *score_list_to_json(const struct store_score_list *list);

/* "base" of a document: the layout that the run started from, as apriel-tool scores spells it; null
 * where no layer was replaced. And "base_path": what --base named, or null. */
enum status score_list_set_base(struct json *document, struct store *store, int64_t run,
                                const char *path) STATUS_CHECKED;

/* What comes after a run: its ranking, or a plan. */
void score_list_print_next(const char *database, int64_t run);

#endif
