/* Files of hidden states: what is found again, what is made again, and what is left alone. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/output.h"
#include "check_main.h"
#include "data/states_cache.h"

enum { TOKENS = 37, WIDTH = 9, LAYERS = 4 };

static char directory[64];
static struct states_key key;

static void in_scratch(void) {
    strcpy(directory, "/tmp/test-cache-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    key = (struct states_key){.directory = directory,
                              .kind = "inputs",
                              .identity = "a model, some rows",
                              .complete = -1,
                              .shape = {TOKENS, WIDTH, DTYPE_F32}};
}

static void out_of_scratch(void) {
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}

static char *file_path(void) {
    char fingerprint[SHA256_HEX_SIZE], name[64];
    ck_assert_int_eq(sha256_bytes(fingerprint, key.identity, strlen(key.identity)), STATUS_OK);
    snprintf(name, sizeof name, "apriel-tool-%s-%.16s.h5", key.kind, fingerprint);
    return file_join(directory, name);
}

static struct states_cache *open_cache(void) {
    struct states_cache *cache;
    enum status status = states_cache_open(&cache, &key);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    return cache;
}

static void fill(struct states_cache *cache, float first) {
    float *values = states_cache_values(cache);
    for (int i = 0; i < TOKENS * WIDTH; i++) values[i] = first + (float)i;
}

static bool holds(const struct states_cache *cache, float first) {
    const float *values = states_cache_values(cache);
    for (int i = 0; i < TOKENS * WIDTH; i++)
        if (values[i] != first + (float)i) return false;
    return true;
}

static void settle(struct states_cache *cache, float first, int layer) {
    states_cache_change(cache);
    fill(cache, first);
    states_cache_settle(cache, layer);
}

static void check_failure(const char *expected) {
    struct states_cache *cache;
    ck_assert_int_eq(states_cache_open(&cache, &key), STATUS_FAILED);
    ck_assert_msg(strstr(status_message(), expected) != NULL, "%s", status_message());
}

static void change_byte(const char *path, off_t at, char by) {
    int file = open(path, O_RDWR);
    char byte;
    ck_assert_int_eq(pread(file, &byte, 1, at), 1);
    byte = (char)(byte ^ by);
    ck_assert_int_eq(pwrite(file, &byte, 1, at), 1);
    close(file);
}

START_TEST(states_are_found_with_their_layer) {
    in_scratch();
    uint64_t bytes, there;
    ck_assert_int_eq(states_cache_size(&bytes, &there, &key), STATUS_OK);
    ck_assert_uint_ge(bytes, TOKENS * WIDTH * sizeof(float));
    ck_assert_uint_eq(there, 0);
    struct states_cache *cache = open_cache();
    ck_assert_int_eq(states_cache_layer(cache), STATES_NOTHING);
    for (int layer = 0; layer < 3; layer += 2) {
        settle(cache, (float)layer, layer);
        states_cache_close(cache);
        cache = open_cache();
        ck_assert_int_eq(states_cache_layer(cache), layer);
        ck_assert(holds(cache, (float)layer));
    }
    ck_assert_int_eq(states_cache_size(&bytes, &there, &key), STATUS_OK);
    ck_assert_uint_ge(there, TOKENS * WIDTH * sizeof(float));
    ck_assert_uint_le(there, bytes);
    states_cache_remove(cache);
    ck_assert(holds(cache, 2));
    states_cache_close(cache);
    key.identity = NULL; /* no name */
    cache = open_cache();
    settle(cache, 5, 1);
    ck_assert(holds(cache, 5));
    ck_assert_int_eq(states_cache_layer(cache), 1);
    ck_assert_int_eq(rmdir(directory), 0); /* nothing is in it */
    states_cache_close(cache);
}
END_TEST

/* A process that ends while it changes the states, and states that somebody else changed. */
START_TEST(states_that_are_not_whole_are_made_again) {
    in_scratch();
    struct states_cache *cache = open_cache();
    settle(cache, 1, 3);
    states_cache_close(cache);
    pid_t child = fork();
    if (child == 0) {
        cache = open_cache();
        states_cache_change(cache);
        fill(cache, 2);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    cache = open_cache();
    ck_assert_int_eq(states_cache_layer(cache), STATES_NOTHING);
    settle(cache, 1, 3);
    states_cache_close(cache);
    char *path = file_path();
    struct stat about;
    ck_assert_int_eq(stat(path, &about), 0);
    change_byte(path, about.st_size - 1, 1);
    cache = open_cache();
    ck_assert_int_eq(states_cache_layer(cache), STATES_NOTHING);
    settle(cache, 1, 3);
    states_cache_close(cache);
    free(path);
    out_of_scratch();
}
END_TEST

/* Runs `work` in another process, which then holds what it opened until the test is over. */
static pid_t start_other(void (*work)(void)) {
    int ends[2];
    char ready;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        work();
        ready = 1;
        if (write(ends[1], &ready, 1) == 1) pause();
        _exit(0);
    }
    ck_assert_int_eq(read(ends[0], &ready, 1), 1);
    close(ends[0]);
    close(ends[1]);
    return child;
}

static void end_other(pid_t child) {
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

static void hold(void) {
    (void)open_cache();
}

static void complete(void) {
    settle(open_cache(), 7, LAYERS);
}

START_TEST(one_run_changes_a_file_and_many_read_a_complete_one) {
    in_scratch();
    pid_t other = start_other(hold);
    check_failure("is in use by another run");
    end_other(other);
    key.kind = "teacher";
    key.complete = LAYERS;
    other = start_other(hold); /* not complete */
    check_failure("is in use by another run");
    end_other(other);
    other = start_other(complete);
    pid_t third = start_other(hold);
    struct states_cache *cache = open_cache();
    ck_assert_int_eq(states_cache_layer(cache), LAYERS);
    ck_assert(holds(cache, 7));
    end_other(other);
    end_other(third);
    states_cache_close(cache);
    out_of_scratch();
}
END_TEST

START_TEST(files_that_are_none_of_ours_stay_as_they_are) {
    in_scratch();
    char *path = file_path(), *content;
    size_t size;
    ck_assert_int_eq(output_write(path, "notes", 5, OUTPUT_REPLACE), STATUS_OK);
    check_failure("is not an HDF5 file, or is truncated or damaged: remove it, or name another "
                  "--cache-dir");
    ck_assert_int_eq(file_read(&content, &size, path), STATUS_OK);
    ck_assert_uint_eq(size, 5);
    free(content);
    ck_assert_int_eq(unlink(path), 0);
    states_cache_close(open_cache());
    struct states_key mine = key;
    key.shape.width++;
    check_failure("\"/mark\" or \"/states\" is missing or has another shape");
    key = mine;
    key.shape.type = DTYPE_F64;
    check_failure("\"/mark\" or \"/states\" is missing or has another shape");
    key = mine;
    key.identity = "another model";
    char *other = file_path();
    ck_assert_int_eq(rename(path, other), 0);
    check_failure("has states of another model, token set or device");
    struct stat about;
    ck_assert_int_eq(stat(other, &about), 0);
    ck_assert_int_eq(truncate(other, about.st_size - 1), 0);
    check_failure("is not an HDF5 file, or is truncated or damaged");
    free(other);
    free(path);
    out_of_scratch();
}
END_TEST

/* Whatever byte is changed: the very states, none, or one line, and never the death of this
 * process. */
START_TEST(a_damaged_byte_is_never_believed) {
    in_scratch();
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr)); /* a warning each time */
    struct states_cache *cache = open_cache();
    settle(cache, 1, 3);
    states_cache_close(cache);
    char *path = file_path(), *image;
    size_t size;
    int opened = 0, refused = 0, again = 0;
    ck_assert_int_eq(file_read(&image, &size, path), STATUS_OK);
    for (size_t at = 0; at < size; at += image[at] ? 1 : 61) {
        change_byte(path, (off_t)at, (char)0xff);
        if (states_cache_open(&cache, &key)) {
            ck_assert_ptr_nonnull(strstr(status_message(), path));
            refused++;
        } else {
            int layer = states_cache_layer(cache);
            if (layer == STATES_NOTHING) again++;
            ck_assert_msg(layer == STATES_NOTHING || (layer == 3 && holds(cache, 1)),
                          "byte %zu: layer %d", at, layer);
            opened++;
            states_cache_close(cache);
        }
        ck_assert_int_eq(output_write(path, image, size, OUTPUT_REPLACE), STATUS_OK);
    }
    ck_assert_int_gt(refused, 20);
    ck_assert_int_gt(again, 20);
    ck_assert_int_gt(opened, again);
    free(image);
    free(path);
    out_of_scratch();
}
END_TEST

CHECK_MAIN("states_cache", states_are_found_with_their_layer,
           states_that_are_not_whole_are_made_again,
           one_run_changes_a_file_and_many_read_a_complete_one,
           files_that_are_none_of_ours_stay_as_they_are, a_damaged_byte_is_never_believed)
