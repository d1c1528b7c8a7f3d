/* Whole files and paths. Every failure names the path and the system's reason. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

/* Open a regular file for reading: what is none is refused by name, and does not block. */
enum status file_open(FILE **out, const char *path) STATUS_CHECKED;

/* The whole file, with a terminator after its `*size` bytes. The caller frees `*out`. A regular
 * one; file_read_stream also reads pipes to their end. */
enum status file_read(char **out, size_t *size, const char *path) STATUS_CHECKED;
enum status file_read_stream(char **out, size_t *size, const char *path) STATUS_CHECKED;

/* Copy a file's bytes to a new file and fsync it. */
enum status file_copy(const char *to, const char *from) STATUS_CHECKED;

bool file_exists(const char *path);

/* Bytes that may still be written where `path` lies (it need not exist yet); false: unknown. */
bool file_free_bytes(uint64_t *out, const char *path);
bool file_is_directory(const char *path);

/* "directory/name"; the caller frees. NULL with a message when out of memory. */
char *file_join(const char *directory, const char *name);
/* The directory part ("." when there is none); the caller frees. */
char *file_parent(const char *path);
/* The part after the last '/'. Borrowed from `path`. */
const char *file_name(const char *path);

/* fsync a directory, so that a rename in it survives a power cut. */
enum status file_sync_directory(const char *path) STATUS_CHECKED;

/* Remove a directory and the plain files in it (no recursion, no links followed); absent is fine.
 */
enum status file_remove_directory(const char *path) STATUS_CHECKED;
/* Remove what lies in an open directory but `kept` (NULL: nothing); `path` is for messages. */
enum status file_remove_files(int descriptor, const char *path, const char *kept) STATUS_CHECKED;

#endif
