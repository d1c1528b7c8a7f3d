/* Hidden states in a file of a cache directory instead of memory: mapped, changed in place, and
 * used again by a later run that needs the same ones.
 *
 * A kept file is named by the fingerprint of everything that its states depend on, so runs that
 * differ in other things share it. One run at a time may change it; any number may read one that is
 * complete. While the states change they are marked as nothing; when they are whole they are marked
 * with their layer and their sums. Whatever a killed run, a power cut or a damaged disk leaves, the
 * sums tell, and the states are computed again: so nothing waits for the disk. */
#ifndef DATA_STATES_CACHE_H
#define DATA_STATES_CACHE_H

#include <stdbool.h>

#include "data/states_file.h"

enum { STATES_NOTHING = -1 }; /* the layer of states that mean nothing */

struct states_key {
    const char *directory;
    const char *kind;     /* "teacher", "inputs": part of the name */
    const char *identity; /* all that decides the states, as text; NULL: the file gets no name and
                             goes away with the process */
    int complete;         /* states of this layer are only read, by any number of runs; -1: none */
    struct states_shape shape;
};

struct states_cache;

/* Bytes that a file takes, and how many of these a kept file has already. A directory that is none
 * or cannot be written to is a failure. */
enum status states_cache_size(uint64_t *bytes, uint64_t *there,
                              const struct states_key *key) STATUS_CHECKED;

/* The path of the key's file, there or not, for a key with an identity. The caller frees. */
enum status states_cache_path(char **out, const struct states_key *key) STATUS_CHECKED;

/* The file of the key: found and checked, or made, with all its space allocated. A file that is in
 * use by another run, or is none of ours or damaged beyond its states, is a failure and stays as it
 * is. */
enum status states_cache_open(struct states_cache **out,
                              const struct states_key *key) STATUS_CHECKED;
void states_cache_close(struct states_cache *cache); /* accepts NULL */

/* The states [tokens, D]; and the layer whose input they are, or STATES_NOTHING. */
void *states_cache_values(const struct states_cache *cache);
int states_cache_layer(const struct states_cache *cache);

/* The states are about to change: call before the first change. */
void states_cache_change(struct states_cache *cache);

/* They have changed, to the input of `layer`. */
void states_cache_settle(struct states_cache *cache, int layer);

/* The file is not needed any more. The mapping stays until it is closed. */
void states_cache_remove(struct states_cache *cache);

#endif
