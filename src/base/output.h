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

#include "base/status.h"

enum output_existing {
    OUTPUT_KEEP, /* refuse to replace a file that is there */
    OUTPUT_REPLACE,
};

/* Whether output_write could begin: to be asked before the work whose result goes there. */
enum status output_check(const char *path, enum output_existing existing) STATUS_CHECKED;
enum status output_write(const char *path, const void *bytes, size_t size,
                         enum output_existing existing) STATUS_CHECKED;

/* Does it name this process's standard output? Then nothing else should be printed there. */
bool output_is_stdout(const char *path);

#endif
