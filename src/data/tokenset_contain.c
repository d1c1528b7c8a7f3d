/* Reading a token set in a child process: see contain.h. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/contain.h"
#include "data/tokenset_internal.h"

/* What comes first through the pipe; the arrays follow in the order of the fields. */
struct header {
    uint64_t rows, tokens, vocab_size, shuffle_seed;
    uint64_t sources_bytes; /* with the terminator */
    uint8_t has_mask, shuffled;
    char tokenizer_sha256[SHA256_HEX_SIZE];
    char fingerprint[SHA256_HEX_SIZE]; /* as it is stored; "": is not */
};

enum { LONGEST_SOURCES = 1 << 24 };

struct reading {
    const char *path;
    struct tokenset *set;
};

static enum status read_set(void *context) {
    struct reading *reading = context;
    return tokenset_read_here(&reading->set, reading->path);
}

static bool send_set(int pipe, void *context) {
    const struct tokenset *set = ((const struct reading *)context)->set;
    struct header header;
    memset(&header, 0, sizeof header); /* padding too: nothing of this process goes along */
    header.rows = set->rows;
    header.tokens = set->tokens;
    header.vocab_size = set->vocab_size;
    header.shuffle_seed = set->shuffle_seed;
    header.sources_bytes = strlen(set->sources) + 1;
    header.has_mask = set->loss_mask != NULL;
    header.shuffled = set->shuffled;
    memcpy(header.tokenizer_sha256, set->tokenizer_sha256, SHA256_HEX_SIZE);
    memcpy(header.fingerprint, set->fingerprint, SHA256_HEX_SIZE);
    return contain_send(pipe, &header, sizeof header) &&
           contain_send(pipe, set->row_offsets, (set->rows + 1) * sizeof *set->row_offsets) &&
           contain_send(pipe, set->ids, set->tokens * sizeof *set->ids) &&
           (!set->loss_mask || contain_send(pipe, set->loss_mask, set->tokens)) &&
           contain_send(pipe, set->sources, header.sources_bytes);
}

/* A SHA-256 in hexadecimal, or nothing. */
static bool is_digest(const char hex[SHA256_HEX_SIZE]) {
    size_t length = strnlen(hex, SHA256_HEX_SIZE);
    return (length == 0 || length == SHA256_HEX_SIZE - 1) &&
           strspn(hex, "0123456789abcdef") == length;
}

/* May a file of this size hold that much? */
static bool is_possible(const struct header *header, const char *path) {
    uint64_t most = contain_bytes(path);
    return header->rows < most / sizeof(uint64_t) && header->tokens <= most / sizeof(uint32_t) &&
           header->has_mask <= 1 && header->shuffled <= 1 && header->sources_bytes > 0 &&
           header->sources_bytes <= LONGEST_SOURCES && is_digest(header->tokenizer_sha256) &&
           is_digest(header->fingerprint);
}

static enum status receive_arrays(bool *broken, int pipe, struct tokenset *set,
                                  const struct header *header) {
    set->row_offsets = memory_calloc(set->rows + 1, sizeof *set->row_offsets);
    set->ids = memory_calloc(set->tokens, sizeof *set->ids);
    set->loss_mask = header->has_mask ? memory_calloc(set->tokens, 1) : NULL;
    set->sources = memory_calloc(header->sources_bytes, 1);
    if (!set->row_offsets || !set->ids || (header->has_mask && !set->loss_mask) || !set->sources)
        return STATUS_FAILED;
    *broken =
        !(contain_receive(pipe, set->row_offsets, (set->rows + 1) * sizeof *set->row_offsets) &&
          contain_receive(pipe, set->ids, set->tokens * sizeof *set->ids) &&
          (!set->loss_mask || contain_receive(pipe, set->loss_mask, set->tokens)) &&
          contain_receive(pipe, set->sources, header->sources_bytes)) ||
        strnlen(set->sources, header->sources_bytes) != header->sources_bytes - 1;
    return STATUS_OK;
}

static enum status check_fingerprint(struct tokenset *set, const char *stored, const char *path) {
    enum status status = tokenset_fingerprint(set->fingerprint, set);
    if (!status && *stored && strcmp(stored, set->fingerprint) != 0)
        status =
            status_fail("\"%s\": the content does not match its fingerprint (changed or damaged "
                        "after it was written; make it again)",
                        path);
    return status;
}

/* Nothing that comes is believed: sizes before memory is taken, and then every value. */
static enum status receive_set(bool *broken, int pipe, void *context) {
    struct reading *reading = context;
    struct tokenset *set = reading->set;
    struct header header;
    *broken =
        !contain_receive(pipe, &header, sizeof header) || !is_possible(&header, reading->path);
    if (*broken) return STATUS_OK;
    set->rows = header.rows;
    set->tokens = header.tokens;
    set->vocab_size = header.vocab_size;
    set->shuffled = header.shuffled;
    set->shuffle_seed = header.shuffle_seed;
    memcpy(set->tokenizer_sha256, header.tokenizer_sha256, SHA256_HEX_SIZE);
    enum status status = receive_arrays(broken, pipe, set, &header);
    if (status || *broken) return status;
    status = tokenset_check(set, reading->path);
    return status ? status : check_fingerprint(set, header.fingerprint, reading->path);
}

enum status tokenset_receive(struct tokenset **out, int pipe, const char *path) {
    struct reading reading = {path, memory_calloc(1, sizeof *reading.set)};
    struct contain_task task = {path, false, read_set, send_set, receive_set, &reading};
    bool broken = false;
    if (!reading.set) return STATUS_FAILED;
    enum status status = contain_receive_result(&broken, pipe, &task);
    if (!status && broken) status = status_fail("\"%s\" is damaged", path);
    if (status)
        tokenset_free(reading.set);
    else
        *out = reading.set;
    return status;
}

enum status tokenset_read(struct tokenset **out, const char *path) {
    struct reading reading = {path, memory_calloc(1, sizeof *reading.set)};
    if (!reading.set) return STATUS_FAILED;
    struct contain_task task = {path, false, read_set, send_set, receive_set, &reading};
    enum status status = contain_run(&task);
    if (status)
        tokenset_free(reading.set);
    else
        *out = reading.set;
    return status;
}
