/* Files that are results, at paths that people name: written whole or not at all, and nothing is
 * replaced that is no plain file.
 *
 * A plain file is written beside itself under a name of ours, synced, and renamed; through a link
 * that is the file it names, and the link stays. A score database is never replaced. A character
 * device, a FIFO or an open descriptor (/dev/stdout, /dev/fd/3) is written to as it is.
 * Directories, sockets and disks are refused. What a run that was killed left behind, the next one
 * that writes into the same directory removes. */
#ifndef BASE_OUTPUT_H
#define BASE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"
#include "base/status.h"

enum output_existing {
    OUTPUT_KEEP, /* refuse to replace a file that is there */
    OUTPUT_REPLACE,
};

/* Whether output_write could begin: to be asked before the work whose result goes there. */
enum status output_check(const char *path, enum output_existing existing) STATUS_CHECKED;
enum status output_write(const char *path, const void *bytes, size_t size,
                         enum output_existing existing) STATUS_CHECKED;

/* The file `name` of a directory: `value` as js_print gives it, and an end of line. */
enum status output_write_json(const char *directory, const char *name, const struct json *value,
                              int indent) STATUS_CHECKED;

/* The same in two steps, for results that belong together. Staged: all of it is on the disk, under
 * another name that the second function gives (of a device or FIFO its own: nothing is written yet,
 * and `bytes` must live until it is). Commit puts it in its place; it and discard, which accepts
 * NULL, free. */
struct output_staged;
enum status output_stage(struct output_staged **out, const char *path, const void *bytes,
                         size_t size, enum output_existing existing) STATUS_CHECKED;
const char *output_staged_name(const struct output_staged *staged);
enum status output_commit(struct output_staged *staged) STATUS_CHECKED;
void output_discard(struct output_staged *staged);

/* Fails where `path` leads to a file that this command reads, whatever its names: one of `inputs`
 * [count] (NULL: none; "-": standard input), or a model's file in one that is a directory. */
enum status output_check_inputs(const char *path, const char *const *inputs,
                                size_t count) STATUS_CHECKED;

/* Does it name this process's standard output? Then nothing else should be printed there. */
bool output_is_stdout(const char *path);

#endif
