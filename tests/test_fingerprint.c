/* What identifies a model: every byte of its files, read once and believed only while it is sure.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/output.h"
#include "base/random.h"
#include "base/text.h"
#include "check_main.h"
#include "checkpoint/checkpoint_internal.h"

#define MODELS TEST_DATA "/models/"

static char scratch[64], model[80], cache[96];

/* An empty directory with a model's copy in "m" and the cache in "c". One thread, so that there is
 * nothing to lose by a fork. */
static void in_scratch(const char *from) {
    omp_set_num_threads(1);
    strcpy(scratch, "/tmp/test-fingerprint-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(scratch));
    snprintf(model, sizeof model, "%s/m", scratch);
    snprintf(cache, sizeof cache, "%s/c", scratch);
    ck_assert_int_eq(mkdir(cache, 0700), 0);
    setenv("XDG_CACHE_HOME", cache, 1);
    char *command = text_format("cp -r '%s' '%s' && chmod -R u+w '%s'", from, model, model);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

static void out_of_scratch(void) {
    char *command = text_format("rm -rf '%s'", scratch);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

/* STATUS_OK and the fingerprint of the model, or how it is refused. */
static enum status fingerprint(char hex[SHA256_HEX_SIZE]) {
    struct checkpoint *checkpoint = NULL;
    enum status status = checkpoint_open(&checkpoint, model, NULL);
    hex[0] = '\0';
    if (!status) status = checkpoint_fingerprint(checkpoint, hex);
    checkpoint_close(checkpoint);
    return status;
}

static void check_fingerprint(char hex[SHA256_HEX_SIZE]) {
    enum status status = fingerprint(hex);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
}

/* ---- digests */

static const struct {
    size_t size;
    const char *hex; /* tests/oracle/content.py */
} tensors[] = {
    {1, "ac6d3bb7ec159db45892fc4a5e6365223ff8c846fc3617bd299cb0dddaab266e"},
    {1000, "201b5031b5ba5ac745b11c31eca06b7b1fd5164a3a27cf149bb7cc1011b8d9ed"},
    {4194303, "2fa184a65529bb7bf78312797e7737286482965aac89246d0f61efcd76f2b3da"},
    {4194304, "84de33603ca85a1234ba2fe2990d594e5386be1d7cbed7b3d3d0e08c51b5d068"},
    {4194305, "b60bdebc4a241f34f66e778294b13ddf367a61b8cf1bb75cdaf8927fecd2e684"},
    {8388613, "457ae860ab32539e14b0235556805b738f2bc09c69ea15ca41f635ef0e1ba557"},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

/* A file with a tensor of each size, in which byte i is (i * 2654435761 >> 13) mod 256. */
static void write_tensors(const char *path) {
    struct text header = {0};
    size_t at = 0;
    text_append(&header, "{");
    for (int i = 0; i < TENSORS; at += tensors[i++].size)
        text_append(
            &header,
            "%s\"t%d\": {\"dtype\": \"U8\", \"shape\": [%zu], \"data_offsets\": [%zu, %zu]}",
            i ? ", " : "", i, tensors[i].size, at, at + tensors[i].size);
    text_append(&header, "}");
    uint64_t length = header.length;
    FILE *file = fopen(path, "wb");
    fwrite(&length, sizeof length, 1, file);
    fwrite(header.bytes, 1, header.length, file);
    for (int i = 0; i < TENSORS; i++)
        for (size_t k = 0; k < tensors[i].size; k++)
            fputc((int)((uint64_t)k * 2654435761u >> 13 & 255), file);
    ck_assert_int_eq(fclose(file), 0);
    text_free(&header);
}

START_TEST(digests_are_those_of_the_formula) {
    in_scratch(MODELS "qwen3");
    char *path = file_join(scratch, "t.safetensors");
    write_tensors(path);
    for (int threads = 1; threads <= 5; threads += 2) {
        struct safetensors *file;
        unsigned char(*digests)[SHA256_SIZE];
        omp_set_num_threads(threads);
        ck_assert_int_eq(safetensors_open(&file, path), STATUS_OK);
        ck_assert_int_eq(content_digests(&digests, file), STATUS_OK);
        for (int i = 0; i < TENSORS; i++) {
            char hex[SHA256_HEX_SIZE];
            sha256_format(hex, digests[i]);
            ck_assert_str_eq(hex, tensors[i].hex);
        }
        free(digests);
        safetensors_close(file);
    }
    free(path);
    out_of_scratch();
}
END_TEST

/* ---- every byte */

static void flip(const char *path, off_t at, unsigned char by) {
    struct stat before;
    unsigned char byte;
    ck_assert_int_eq(stat(path, &before), 0);
    int file = open(path, O_RDWR);
    ck_assert_int_eq(pread(file, &byte, 1, at), 1);
    byte ^= by;
    ck_assert_int_eq(pwrite(file, &byte, 1, at), 1);
    /* As hard as it gets: the modification time is what it was. */
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    ck_assert_int_eq(futimens(file, times), 0);
    close(file);
}

/* Another fingerprint, or refused: never the old one. `*read`: it was read. */
static void check_flip(const char *path, off_t at, const char *old, bool *read) {
    char hex[SHA256_HEX_SIZE];
    flip(path, at, 0x10);
    enum status status = fingerprint(hex);
    ck_assert_msg(status || strcmp(hex, old) != 0, "\"%s\": byte %lld does not count", path,
                  (long long)at);
    *read = !status;
    flip(path, at, 0x10);
}

static void flip_everywhere(const char *from, const char *const *names, int count, int places) {
    in_scratch(from);
    char old[SHA256_HEX_SIZE], again[SHA256_HEX_SIZE];
    struct random_stream stream = random_stream_for(20, 0, from);
    check_fingerprint(old);
    int others = 0;
    for (int f = 0; f < count; f++) {
        char *path = file_join(model, names[f]);
        struct stat about;
        ck_assert_int_eq(stat(path, &about), 0);
        for (int i = 0; i < places; i++) {
            /* One place in each of `places` regions of equal size. */
            double place = (i + random_uniform(&stream, (uint64_t)i)) / places;
            bool read;
            check_flip(path, (off_t)(place * (double)about.st_size), old, &read);
            others += read;
        }
        free(path);
    }
    check_fingerprint(again);
    ck_assert_str_eq(again, old);
    ck_assert_int_gt(others, count * places / 2); /* most are weights */
    out_of_scratch();
}

START_TEST(a_flipped_byte_anywhere_is_another_model) {
    const char *const one[] = {"model.safetensors"};
    const char *const shards[] = {"model-00001-of-00002.safetensors",
                                  "model-00002-of-00002.safetensors"};
    flip_everywhere(MODELS "qwen3", one, 1, 200);
    flip_everywhere(MODELS "llama-sharded", shards, 2, 100);
    flip_everywhere(MODELS "apriel-h1", one, 1, 200);
    flip_everywhere(MODELS "qwen2-tied", one, 1, 100);
}
END_TEST

/* config.json with `from` replaced by `to`. */
static void edit_config(const char *from, const char *to) {
    char *path = file_join(model, "config.json"), *text, *at;
    size_t size;
    ck_assert_int_eq(file_read(&text, &size, path), STATUS_OK);
    at = strstr(text, from);
    ck_assert_msg(at != NULL, "no %s in config.json", from);
    struct text edited = {0};
    text_append_bytes(&edited, text, (size_t)(at - text));
    text_append(&edited, "%s%s", to, at + strlen(from));
    ck_assert_int_eq(output_write(path, edited.bytes, edited.length, OUTPUT_REPLACE), STATUS_OK);
    text_free(&edited);
    free(text);
    free(path);
}

START_TEST(what_config_says_of_the_function_counts) {
    const struct {
        const char *model, *from, *to;
        bool counts;
    } edits[] = {
        {"qwen3", "\"rms_norm_eps\": ", "\"rms_norm_eps\": 1", true},
        {"llama-rope-llama3", "\"low_freq_factor\": ", "\"low_freq_factor\": 0.5, \"x\": ", true},
        {"llama-rope-linear-biases", "\"factor\": ", "\"factor\": 1", true},
        {"qwen2-yarn", "\"factor\": ", "\"factor\": 1", true},
        {"mistral-window", "\"sliding_window\": ", "\"sliding_window\": 1", true},
        {"qwen3", "\"bos_token_id\": ", "\"bos_token_id\": 1", false},
        {"qwen3", "\"transformers_version\": \"", "\"transformers_version\": \"9", false},
        {"qwen3", "\"use_cache\": true", "\"use_cache\": false", false},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char before[SHA256_HEX_SIZE], after[SHA256_HEX_SIZE];
        char *from = file_join(MODELS, edits[i].model);
        in_scratch(from);
        check_fingerprint(before);
        edit_config(edits[i].from, edits[i].to);
        check_fingerprint(after);
        ck_assert_msg((strcmp(before, after) != 0) == edits[i].counts, "%s: %s", edits[i].model,
                      edits[i].from);
        free(from);
        out_of_scratch();
    }
}
END_TEST

/* ---- the cache */

/* The path of the only entry; NULL when there is none. */
static char *find_entry(void) {
    char *directory = file_join(cache, "apriel-tool/hashes"), *found = NULL;
    DIR *entries = opendir(directory);
    struct dirent *entry;
    while (entries && (entry = readdir(entries)))
        if (entry->d_name[0] != '.') {
            ck_assert_ptr_null(found);
            found = file_join(directory, entry->d_name);
        }
    if (entries) closedir(entries);
    free(directory);
    return found;
}

static void let_times_settle(void) {
    char *command = text_format("sleep %g", HASH_CACHE_SECONDS + 0.1);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

/* The fingerprint by way of a process of its own, which remembers nothing. */
static void take_elsewhere(char hex[SHA256_HEX_SIZE]) {
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        if (fingerprint(hex)) memset(hex, 'x', SHA256_HEX_SIZE - 1);
        _exit(write(ends[1], hex, SHA256_HEX_SIZE) != SHA256_HEX_SIZE);
    }
    ck_assert_int_eq(read(ends[0], hex, SHA256_HEX_SIZE), SHA256_HEX_SIZE);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    close(ends[0]);
    close(ends[1]);
}

static void check_elsewhere(const char *expected) {
    char hex[SHA256_HEX_SIZE];
    take_elsewhere(hex);
    ck_assert_str_eq(hex, expected);
}

/* Rewrite the entry with the sum that belongs to its other bytes. */
static void sign(unsigned char *bytes, size_t size) {
    ck_assert_int_eq(sha256_raw(bytes + size - SHA256_SIZE, "", 0, bytes, size - SHA256_SIZE), 0);
}

/* An entry is used, a damaged one is not. */
static void check_damage(const char *hex) {
    char other[SHA256_HEX_SIZE];
    char *entry = find_entry(), *text;
    size_t size;
    ck_assert_ptr_nonnull(entry);
    ck_assert_int_eq(file_read(&text, &size, entry), STATUS_OK);
    unsigned char *bytes = (unsigned char *)text, *good = memory_calloc(size, 1);
    memcpy(good, bytes, size);
    setenv("XDG_CACHE_HOME", "/dev/null/nowhere", 1);
    check_elsewhere(hex);
    setenv("XDG_CACHE_HOME", cache, 1);

    /* Valid, with a digest of its own: this shows that the entry is what is used. */
    size_t digest = (size_t)(strchr(text, '\n') - text) + 1;
    bytes[digest] ^= 1;
    sign(bytes, size);
    ck_assert_int_eq(output_write(entry, bytes, size, OUTPUT_REPLACE), STATUS_OK);
    ck_assert_int_eq(chmod(entry, 0600), 0);
    take_elsewhere(other);
    ck_assert_str_ne(other, hex);
    /* Not when others may write it. */
    ck_assert_int_eq(chmod(entry, 0666), 0);
    check_elsewhere(hex);

    /* Every byte of the head, and some of the rest. */
    for (size_t i = 0; i < size; i += i < digest ? 1 : 97) {
        memcpy(bytes, good, size);
        bytes[i] ^= 1;
        if (i < digest) sign(bytes, size);
        ck_assert_int_eq(output_write(entry, bytes, size, OUTPUT_REPLACE), STATUS_OK);
        ck_assert_int_eq(chmod(entry, 0600), 0);
        check_elsewhere(hex);
    }
    const size_t lengths[] = {0, 1, digest, size / 2, size - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        ck_assert_int_eq(output_write(entry, good, lengths[i], OUTPUT_REPLACE), STATUS_OK);
        check_elsewhere(hex);
    }
    free(good);
    free(text);
    free(entry);
}

/* What stands in the way of the cache does not matter. */
static void check_obstacles(const char *hex) {
    check_elsewhere(hex);
    char *entry = find_entry();
    ck_assert_ptr_nonnull(entry);
    char *temporary = text_format("%s.tmp", entry);
    const char *const places[] = {
        "rm -rf '%s' && mkfifo '%s'",
        "rm -rf '%s' && mkdir '%s'",
        "rm -rf '%s' && ln -s /dev/zero '%s'",
        "rm -rf '%s' && ln -s loop '%s'",
        "rm -rf '%s' && touch '%s' && chmod 0 '%s'",
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *command = text_format(places[i], entry, entry, entry);
        ck_assert_int_eq(system(command), 0);
        free(command);
        check_elsewhere(hex);
        command = text_format("rm -rf '%s'; test ! -e '%s'", entry, temporary);
        ck_assert_int_eq(system(command), 0);
        free(command);
    }
    /* What a killed writer left is taken over. */
    ck_assert_int_eq(output_write(temporary, "half", 4, OUTPUT_REPLACE), STATUS_OK);
    check_elsewhere(hex);
    ck_assert(!file_exists(temporary) && file_exists(entry));
    const char *const homes[] = {"", "relative", "/dev/null", "/dev/null/nowhere/at/all", entry};
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++) {
        setenv("XDG_CACHE_HOME", homes[i], 1);
        setenv("HOME", "/dev/null/nowhere", 1);
        check_elsewhere(hex);
    }
    setenv("XDG_CACHE_HOME", cache, 1);
    free(temporary);
    free(entry);
}

/* The same size and modification time: the change time alone tells. */
static void check_change_of_content(void) {
    char hex[SHA256_HEX_SIZE], other[SHA256_HEX_SIZE];
    char *path = file_join(model, "model.safetensors");
    check_fingerprint(hex); /* kept, and remembered */
    flip(path, 5000, 1);
    check_fingerprint(other);
    ck_assert_str_ne(hex, other);
    check_elsewhere(other);
    free(path);
}

/* One wait for all that needs files with settled times. */
START_TEST(only_what_has_settled_is_kept_and_only_what_is_whole_is_used) {
    char hex[SHA256_HEX_SIZE];
    in_scratch(MODELS "qwen3");
    check_fingerprint(hex);
    ck_assert_ptr_null(find_entry()); /* the copy is younger than two seconds */
    let_times_settle();
    check_elsewhere(hex);
    char *entry = find_entry();
    struct stat about;
    ck_assert_ptr_nonnull(entry);
    ck_assert_int_eq(stat(entry, &about), 0);
    ck_assert_int_eq(about.st_mode & 0777, 0600);
    free(entry);
    check_damage(hex);
    check_obstacles(hex);
    check_change_of_content();
    out_of_scratch();
}
END_TEST

START_TEST(a_change_while_it_is_open_is_a_failure) {
    in_scratch(MODELS "llama-f16");
    char hex[SHA256_HEX_SIZE], *path = file_join(model, "model.safetensors");
    struct checkpoint *checkpoint;
    ck_assert_int_eq(checkpoint_open(&checkpoint, model, NULL), STATUS_OK);
    usleep(20000); /* a tick of the file system's clock */
    flip(path, 5000, 1);
    ck_assert_int_eq(checkpoint_fingerprint(checkpoint, hex), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "was changed while it was read"));
    checkpoint_close(checkpoint);
    free(path);
    out_of_scratch();
}
END_TEST

CHECK_MAIN("fingerprint", digests_are_those_of_the_formula,
           a_flipped_byte_anywhere_is_another_model, what_config_says_of_the_function_counts,
           only_what_has_settled_is_kept_and_only_what_is_whole_is_used,
           a_change_while_it_is_open_is_a_failure)
