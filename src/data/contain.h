/* HDF5 1.10 crashes or hangs on some damaged files and goes on failing after a full disk, and a
 * program that loads models must not. So whatever the HDF5 library does with a file happens in a
 * child process, which hands the checked result over through a pipe; when the child dies, that is
 * one more way to say that the file is damaged. */
#ifndef DATA_CONTAIN_H
#define DATA_CONTAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct contain_task {
    const char *path;                      /* the file, for messages */
    enum status (*work)(void *context);    /* in the child */
    bool (*send)(int pipe, void *context); /* in the child, when that went well: the result */
    /* Here: read the result. `*broken` when it does not come whole. */
    enum status (*receive)(bool *broken, int pipe, void *context);
    void *context;
};

/* What `work` returned, with its message, or a failure that calls the file damaged. */
enum status contain_run(const struct contain_task *task) STATUS_CHECKED;

/* All of the bytes; false: the other side is gone. */
bool contain_send(int pipe, const void *bytes, size_t length);
bool contain_receive(int pipe, void *bytes, size_t length);

#endif
