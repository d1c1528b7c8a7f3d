/* Memory that is freed at once: of a template's tree, and of one rendering. It has a limit, so that
 * a hostile template cannot take the machine's. */
#ifndef TEMPLATE_ARENA_H
#define TEMPLATE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena {
    struct arena_block *block; /* the newest, linked to older ones */
    size_t taken, limit;       /* bytes of all blocks */
    bool exhausted;            /* the limit, and not the system, said no */
};

/* Aligned, zeroed memory; NULL (with a message) beyond the limit or the system's memory. */
void *arena_take(struct arena *arena, size_t bytes);

/* Room for text: neither aligned nor zeroed. */
char *arena_take_text(struct arena *arena, size_t bytes);

/* Make the text that ends at `end` longer by `more` bytes where it lies: true when it was the last
 * that was taken, and its block has room. A text that grows in a loop is so copied a few times, not
 * each time. */
bool arena_extend_text(struct arena *arena, const char *end, size_t more);

void arena_free(struct arena *arena); /* accepts a zeroed struct */

#endif
