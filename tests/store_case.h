/* What the tests of score databases share. */
#ifndef TESTS_STORE_CASE_H
#define TESTS_STORE_CASE_H

#include "scores/store.h"

/* In a directory of the test's own; the next call overwrites it. */
const char *path_of(const char *name);
const char *directory_of_test(void);
void remove_all(void); /* that directory */
void ok(enum status status);
struct store *open_store(const char *path);
struct store_run_key add_key(struct store *store); /* of a model and a token set */
void execute(const char *path, const char *sql);
void check_message(const char *path, const char *format);

#endif
