#include "tokenizer/string_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

uint64_t string_hash(const char *bytes, size_t length) {
    uint64_t hash = length * UINT64_C(0x9e3779b97f4a7c15), word;
    for (; length >= sizeof word; bytes += sizeof word, length -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ hash_mix(word)) * UINT64_C(0x9fb21c651e98df25);
    }
    word = 0;
    memcpy(&word, bytes, length);
    return hash_mix(hash ^ hash_mix(word));
}

/* Slots stay at most half full, so that a search meets an empty one soon. */
static enum status resize_slots(struct string_table *table, size_t slot_count) {
    uint32_t *slots = memory_calloc(slot_count, sizeof *slots);
    if (!slots) return STATUS_FAILED;
    for (size_t i = 0; i < table->count; i++) {
        size_t at = table->entries[i].hash & (slot_count - 1);
        while (slots[at]) at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(table->slots);
    table->slots = slots;
    table->slot_count = slot_count;
    return STATUS_OK;
}

static enum status reserve(struct string_table *table, size_t entries, size_t bytes) {
    if (entries > table->capacity) {
        void *grown = memory_resize(table->entries, entries, sizeof *table->entries);
        if (!grown) return STATUS_FAILED;
        table->entries = grown;
        table->capacity = entries;
    }
    if (bytes > table->bytes_capacity) {
        void *grown = memory_resize(table->bytes, bytes, 1);
        if (!grown) return STATUS_FAILED;
        table->bytes = grown;
        table->bytes_capacity = bytes;
    }
    return STATUS_OK;
}

enum status string_table_begin(struct string_table *table, size_t expected, size_t expected_bytes) {
    *table = (struct string_table){0};
    size_t slot_count = 16;
    while (slot_count < 2 * expected) slot_count *= 2;
    enum status status = reserve(table, expected + 1, expected_bytes + 1);
    if (!status) status = resize_slots(table, slot_count);
    if (status) string_table_free(table);
    return status;
}

void string_table_free(struct string_table *table) {
    free(table->entries);
    free(table->slots);
    free(table->bytes);
    *table = (struct string_table){0};
}

enum status string_table_add(struct string_table *table, const char *bytes, size_t length,
                             uint32_t value) {
    if (table->count >= UINT32_MAX / 4 || length > UINT32_MAX)
        return status_fail("too many strings for one table");
    size_t entries = table->capacity, room = table->bytes_capacity;
    if (table->count == entries) entries *= 2;
    while (table->bytes_used + length > room) room *= 2;
    enum status status = reserve(table, entries, room);
    if (!status && 2 * (table->count + 1) > table->slot_count)
        status = resize_slots(table, 2 * table->slot_count);
    if (status) return status;
    struct string_entry *entry = &table->entries[table->count++];
    *entry = (struct string_entry){string_hash(bytes, length), table->bytes_used, (uint32_t)length,
                                   value};
    memcpy(table->bytes + table->bytes_used, bytes, length);
    table->bytes_used += length;
    size_t at = entry->hash & (table->slot_count - 1);
    while (table->slots[at]) at = (at + 1) & (table->slot_count - 1);
    table->slots[at] = (uint32_t)table->count;
    return STATUS_OK;
}

bool string_table_find(const struct string_table *table, const char *bytes, size_t length,
                       uint32_t *value) {
    if (table->count == 0) return false;
    uint64_t hash = string_hash(bytes, length);
    for (size_t at = hash & (table->slot_count - 1); table->slots[at];
         at = (at + 1) & (table->slot_count - 1)) {
        const struct string_entry *entry = &table->entries[table->slots[at] - 1];
        if (entry->hash == hash && entry->length == length &&
            memcmp(table->bytes + entry->offset, bytes, length) == 0) {
            *value = entry->value;
            return true;
        }
    }
    return false;
}

void string_table_clear(struct string_table *table) {
    memset(table->slots, 0, table->slot_count * sizeof *table->slots);
    table->count = 0;
    table->bytes_used = 0;
}
