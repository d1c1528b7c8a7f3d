/* What reading and writing token sets share. */
#ifndef DATA_TOKENSET_INTERNAL_H
#define DATA_TOKENSET_INTERNAL_H

#include <hdf5.h>

#include "data/tokenset.h" /* circle: private to it and its parts */

#define TOKENSET_FORMAT "apriel-tool/tokens"

/* Row, id and mask values in their ranges; `path` is the file that messages name. */
enum status tokenset_check(const struct tokenset *set, const char *path) STATUS_CHECKED;

/* What the file holds, in this process, for the child that tokenset_read starts. Values are not
 * checked, and `fingerprint` is the stored one. */
enum status tokenset_read_here(struct tokenset **out, const char *path) STATUS_CHECKED;

/* The parent's half of tokenset_read: a set from what such a child, or whatever took its place, has
 * written into a pipe. */
enum status tokenset_receive(struct tokenset **out, int pipe, const char *path) STATUS_CHECKED;

/* HDF5 prints its own stack of errors otherwise; the setting belongs to the calling thread. */
void tokenset_silence_hdf5(void);

#endif
