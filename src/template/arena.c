#include "template/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"

enum { ALIGNMENT = 16, BLOCK_BYTES = 1 << 16 };

struct arena_block {
    struct arena_block *older;
    size_t used, size; /* of bytes */
    _Alignas(ALIGNMENT) char bytes[];
};

static bool add_block(struct arena *arena, size_t bytes) {
    size_t room = bytes > BLOCK_BYTES / 4 ? bytes + bytes / 2 : BLOCK_BYTES;
    if (bytes > arena->limit || arena->taken + room > arena->limit) room = bytes;
    if (bytes > arena->limit || arena->taken + room > arena->limit) {
        arena->exhausted = true;
        (void)status_fail("more than %zu MB of memory are needed", arena->limit >> 20);
        return false;
    }
    struct arena_block *block = malloc(sizeof *block + room);
    if (!block) {
        (void)status_fail("out of memory");
        return false;
    }
    *block = (struct arena_block){.older = arena->block, .size = room};
    arena->block = block;
    arena->taken += room;
    return true;
}

void *arena_take(struct arena *arena, size_t bytes) {
    struct arena_block *block = arena->block;
    size_t start = block ? (block->used + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : 0;
    if (!block || start > block->size || bytes > block->size - start) {
        if (!add_block(arena, bytes)) return NULL;
        block = arena->block;
        start = 0;
    }
    block->used = start + bytes;
    return memset(block->bytes + start, 0, bytes);
}

char *arena_take_text(struct arena *arena, size_t bytes) {
    struct arena_block *block = arena->block;
    if (!block || bytes > block->size - block->used) {
        if (!add_block(arena, bytes)) return NULL;
        block = arena->block;
    }
    char *text = block->bytes + block->used;
    block->used += bytes;
    return text;
}

bool arena_extend_text(struct arena *arena, const char *end, size_t more) {
    struct arena_block *block = arena->block;
    if (!block || block->bytes + block->used != end || more > block->size - block->used)
        return false;
    block->used += more;
    return true;
}

void arena_free(struct arena *arena) {
    while (arena->block) {
        struct arena_block *older = arena->block->older;
        free(arena->block);
        arena->block = older;
    }
    *arena = (struct arena){0};
}
