/* A hash map from byte strings to numbers, for vocabularies. Strings are copied in; the map only
 * grows. */
#ifndef TOKENIZER_STRING_TABLE_H
#define TOKENIZER_STRING_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct string_entry {
    uint64_t hash;
    size_t offset; /* of the string in `bytes` */
    uint32_t length;
    uint32_t value;
};

struct string_table {
    struct string_entry *entries; /* [count], in order of insertion */
    size_t count, capacity;
    uint32_t *slots; /* [slot_count]: index of an entry + 1, or 0 */
    size_t slot_count;
    char *bytes;
    size_t bytes_used, bytes_capacity;
};

/* Room for about `expected` strings of `expected_bytes` bytes together, to save growing. */
enum status string_table_begin(struct string_table *table, size_t expected,
                               size_t expected_bytes) STATUS_CHECKED;
void string_table_free(struct string_table *table);

/* Adds a string that is not in the map yet. */
enum status string_table_add(struct string_table *table, const char *bytes, size_t length,
                             uint32_t value) STATUS_CHECKED;

bool string_table_find(const struct string_table *table, const char *bytes, size_t length,
                       uint32_t *value);

/* The string of entry `index`; borrowed until the next string_table_add. */
static inline const char *string_table_bytes(const struct string_table *table, size_t index) {
    return table->bytes + table->entries[index].offset;
}

/* Forgets all strings and keeps the memory. */
void string_table_clear(struct string_table *table);

/* 64-bit hash of bytes, also for other tables. */
uint64_t string_hash(const char *bytes, size_t length);

/* Spreads the bits of a number over the whole word (the finaliser of MurmurHash3, public domain).
 */
static inline uint64_t hash_mix(uint64_t x) {
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

#endif
