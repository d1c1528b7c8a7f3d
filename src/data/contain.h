/* HDF5 1.10 crashes or hangs on some damaged files and goes on failing after a full disk, and a
 * program that loads models must not. So whatever the HDF5 library does with a file happens in a
 * child process, which hands the result over through a pipe; when the child dies, that is one more
 * way to say that the file is damaged. A child that reads gives up everything else first
 * (confine.h), because a hostile file may take it over: what it hands over is no better than the
 * file, and is checked here. */
#ifndef DATA_CONTAIN_H
#define DATA_CONTAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct contain_task {
    const char *path;                      /* the file, for messages */
    bool writes;                           /* the child writes a file of ours */
    enum status (*work)(void *context);    /* in the child */
    bool (*send)(int pipe, void *context); /* in the child, when that went well: the result */
    /* Here: read the result. `*broken` when it does not come whole or cannot be. */
    enum status (*receive)(bool *broken, int pipe, void *context);
    void *context;
};

/* How much memory a child that reads this file may use: some, and many times the file's size. */
uint64_t contain_bytes(const char *path);

/* What `work` returned, with its message, or a failure that calls the file damaged. */
enum status contain_run(const struct contain_task *task) STATUS_CHECKED;

/* The parent's half: what came through the pipe, whoever wrote it. */
enum status contain_receive_result(bool *broken, int pipe,
                                   const struct contain_task *task) STATUS_CHECKED;

/* All of the bytes; false: the other side is gone. */
bool contain_send(int pipe, const void *bytes, size_t length);
bool contain_receive(int pipe, void *bytes, size_t length);

#endif
