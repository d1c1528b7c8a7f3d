/* Where a model lies, and what a path is that is none: people give the name on the hub, the hub's
 * cache, one of the model's files, an adapter, or weights of another program. */
#ifndef BASE_LOCATE_H
#define BASE_LOCATE_H

#include <stdbool.h>

#include "base/status.h"

/* The directory with the model's files: `path`, or the snapshot in it when it is a model's
 * directory in the hub's cache (which is said once). The caller frees. Fails, saying what else the
 * path is, when it is no directory. */
enum status locate_directory(char **out, const char *path) STATUS_CHECKED;

/* The same without a message or a failure: for files beside a model. Any path that is no cache is
 * given back. NULL when out of memory. */
char *locate_quietly(const char *path);

/* The path of the config.json in a directory, which the caller frees. Fails, saying what the
 * directory is, when there is none. */
enum status locate_config(char **out, const char *directory) STATUS_CHECKED;

/* Fails, saying what a directory without weights that can be read is. */
enum status locate_explain_weights(const char *directory) STATUS_CHECKED;

/* A symbolic link, its target there or not. */
bool locate_is_link(const char *path);

#endif
