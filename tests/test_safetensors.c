#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "check_main.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/writer.h"

static char directory[] = "/tmp/test-safetensors-XXXXXX";
static char path[64];

/* A file with this header (single quotes for double ones), this claimed header length (-1: the true
 * one) and `data` bytes 0, 1, 2 … after it. */
static void make(const char *header, long long claimed, size_t data) {
    char bytes[4096];
    size_t length = strlen(header);
    unsigned long long stated = claimed < 0 ? length : (unsigned long long)claimed;
    for (int i = 0; i < 8; i++) bytes[i] = (char)(stated >> (8 * i));
    for (size_t i = 0; i < length; i++) bytes[8 + i] = header[i] == '\'' ? '"' : header[i];
    for (size_t i = 0; i < data; i++) bytes[8 + length + i] = (char)i;
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, 8 + length + data, file), 8 + length + data);
    fclose(file);
}

static void begin(void) {
    strcpy(directory, "/tmp/test-safetensors-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/m.safetensors", directory);
}

static void end(void) {
    ck_assert_int_eq(file_remove_directory(directory), STATUS_OK);
}

/* Opening fails with this message, in which %s is the path. */
static void refused(const char *message) {
    struct safetensors *file = NULL;
    char expected[512];
    snprintf(expected, sizeof expected, message, path);
    ck_assert_msg(safetensors_open(&file, path) == STATUS_FAILED, "accepted: %s", message);
    ck_assert_str_eq(status_message(), expected);
}

static void refused_header(const char *header, size_t data, const char *message) {
    make(header, -1, data);
    refused(message);
}

START_TEST(a_good_file) {
    begin();
    make("{'__metadata__': {'format': 'pt'}, 'b': {'dtype': 'F32', 'shape': [2, 1], "
         "'data_offsets': [4, 12]}, 'a': {'dtype': 'BF16', 'shape': [2], 'data_offsets': [0, 4]}, "
         "'e': {'dtype': 'I8', 'shape': [0], 'data_offsets': [4, 4]}, 's': {'dtype': 'U8', "
         "'shape': [], 'data_offsets': [12, 13]}, 'q': {'dtype': 'F8_E4M3', 'shape': [3], "
         "'data_offsets': [13, 16]}}   ",
         -1, 16);
    struct safetensors *file;
    enum status status = safetensors_open(&file, path);
    ck_assert_msg(status == STATUS_OK, "%s", status_message());
    ck_assert_uint_eq(safetensors_count(file), 5);
    ck_assert_str_eq(js_string_or(js_member(safetensors_metadata(file), "format"), ""), "pt");
    ck_assert_str_eq(safetensors_at(file, 0)->name, "a");
    const struct safetensors_entry *b = safetensors_find(file, "b");
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(b->dtype, DTYPE_F32);
    ck_assert_int_eq(b->rank, 2);
    ck_assert_int_eq(b->shape[0], 2);
    ck_assert_int_eq(b->shape[1], 1);
    ck_assert_int_eq(((const unsigned char *)b->data)[0], 4);
    /* a type that we cannot read is there all the same, by name */
    const struct safetensors_entry *q = safetensors_find(file, "q");
    ck_assert_ptr_nonnull(q);
    ck_assert_int_eq(q->dtype, DTYPE_COUNT);
    ck_assert_str_eq(q->dtype_name, "F8_E4M3");
    ck_assert_ptr_null(safetensors_find(file, "x"));
    ck_assert_ptr_null(safetensors_find(file, "__metadata__"));
    safetensors_close(file);
    end();
}
END_TEST

START_TEST(broken_headers) {
    begin();
    refused("cannot open \"%s\": No such file or directory");
    make("", 0, 0);
    refused("\"%s\": invalid JSON at line 1, column 0: '[' or '{' expected near end of file");
    make("{}", 3, 0);
    refused("\"%s\": the header claims 3 bytes, but only 2 follow: truncated, or not safetensors");
    make("{}", 0x7fffffffffffffff, 0);
    refused("\"%s\": the header claims 9223372036854775807 bytes, but only 2 follow: truncated, or "
            "not safetensors");
    refused_header("[]", 0, "\"%s\": the header is not a JSON object");
    refused_header("{'a': 1, 'a': 2}", 0,
                   "\"%s\": invalid JSON at line 1, column 12: duplicate object key near '\"a\"'");
    refused_header("{'a': 1}", 0, "\"%s\": tensor \"a\" is not described by an object");
    refused_header("{'a': {}}", 0, "\"%s\": tensor \"a\": \"dtype\" is missing");
    ck_assert_int_eq(truncate(path, 5), 0);
    refused("\"%s\" has 5 bytes, too short for safetensors");
    ck_assert_int_eq(unlink(path), 0);
    end();
}
END_TEST

/* More than the format's 100 MB, in a sparse file. */
START_TEST(a_huge_header) {
    begin();
    make("{}", 100000001, 0);
    ck_assert_int_eq(truncate(path, 200000000), 0);
    refused("\"%s\": the header claims 100000001 bytes, more than the format's limit of 100 MB");
    end();
}
END_TEST

START_TEST(broken_tensors) {
    begin();
    const struct {
        const char *tensors;
        size_t data;
        const char *message;
    } cases[] = {
        {"{'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}}", 4,
         "\"%s\": tensor \"a\" ends at byte 8 of 4: truncated file or wrong offsets"},
        {"{'a': {'dtype': 'F32', 'shape': [3], 'data_offsets': [0, 8]}}", 8,
         "\"%s\": tensor \"a\": F32 [3] does not fill 8 bytes"},
        {"{'a': {'dtype': 'F4', 'shape': [3], 'data_offsets': [0, 2]}}", 2,
         "\"%s\": tensor \"a\": F4 [3] does not fill 2 bytes"},
        {"{'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [4, 0]}}", 4,
         "\"%s\": tensor \"a\": \"data_offsets\" must be [begin, end]"},
        {"{'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [-4, 0]}}", 4,
         "\"%s\": tensor \"a\": \"data_offsets\" must be [begin, end]"},
        {"{'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4, 8]}}", 8,
         "\"%s\": tensor \"a\": \"data_offsets\" must be [begin, end]"},
        {"{'a': {'dtype': 'F32', 'shape': [1]}}", 4,
         "\"%s\": tensor \"a\": \"data_offsets\" must be [begin, end]"},
        {"{'a': {'dtype': 'F32', 'shape': [-1], 'data_offsets': [0, 4]}}", 4,
         "\"%s\": tensor \"a\": \"shape\" must hold integers from 0 on"},
        {"{'a': {'dtype': 'F32', 'shape': [1.0], 'data_offsets': [0, 4]}}", 4,
         "\"%s\": tensor \"a\": \"shape\" must hold integers from 0 on"},
        {"{'a': {'dtype': 'F32', 'shape': 4, 'data_offsets': [0, 4]}}", 4,
         "\"%s\": tensor \"a\": \"shape\" must be a list of at most 8 sizes"},
        {"{'a': {'dtype': 'F32', 'shape': [4294967296, 4294967296], 'data_offsets': [0, 4]}}", 4,
         "\"%s\": tensor \"a\": the shape's product overflows"},
        {"{'a': {'dtype': 'F32', 'shape': [4611686018427387904], 'data_offsets': [0, 0]}}", 0,
         "\"%s\": tensor \"a\": F32 [4611686018427387904] does not fill 0 bytes"},
        {"{'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}, 'b': {'dtype': 'F32', "
         "'shape': [1], 'data_offsets': [4, 8]}}",
         8, "\"%s\": tensors \"a\" and \"b\" overlap"},
        {"{'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}, 'b': {'dtype': 'F32', "
         "'shape': [1], 'data_offsets': [8, 12]}}",
         12, "\"%s\": 4 bytes before tensor \"b\" belong to no tensor"},
        {"{'a': {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}}", 7,
         "\"%s\": the last 3 bytes belong to no tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_header(cases[i].tensors, cases[i].data, cases[i].message);
    end();
}
END_TEST

static enum status fill(void *context, size_t index, struct writer *writer) {
    static const float values[] = {1, 2, 3, 4, 5, 6};
    size_t *calls = context;
    (*calls)++;
    if (index == 1) return writer_put(writer, "\x80\x3f\x00\x40\x40\x40", 6);
    enum status status = writer_put(writer, values, 4);
    return status ? status : writer_put(writer, values + 1, 20);
}

START_TEST(what_the_writer_writes_is_read) {
    begin();
    struct writer_tensor tensors[] = {
        {"one", DTYPE_F32, 2, {2, 3}}, {"two", DTYPE_BF16, 1, {3}}, {"three", DTYPE_F32, 1, {6}}};
    size_t calls = 0;
    ck_assert_int_eq(writer_write(directory, tensors, 3, 0, fill, &calls), STATUS_OK);
    ck_assert_uint_eq(calls, 3);
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    struct safetensors *file;
    ck_assert_int_eq(safetensors_open(&file, path), STATUS_OK);
    for (size_t i = 0; i < 3; i++) { /* all aligned */
        const struct safetensors_entry *entry = safetensors_at(file, i);
        ck_assert_uint_eq((uintptr_t)entry->data % dtype_size(entry->dtype), 0);
    }
    const float *one = safetensors_find(file, "one")->data;
    for (int i = 0; i < 6; i++) ck_assert(one[i] == (float)(i + 1));
    safetensors_close(file);
    ck_assert_int_eq(unlink(path), 0);
    /* one tensor a shard */
    ck_assert_int_eq(writer_write(directory, tensors, 3, 10, fill, &calls), STATUS_OK);
    snprintf(path, sizeof path, "%s/model-00002-of-00003.safetensors", directory);
    ck_assert_int_eq(safetensors_open(&file, path), STATUS_OK);
    ck_assert_uint_eq(safetensors_count(file), 1);
    ck_assert_str_eq(safetensors_at(file, 0)->name, "two");
    safetensors_close(file);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", directory);
    struct json *index;
    ck_assert_int_eq(js_read(&index, path), STATUS_OK);
    ck_assert_int_eq(js_integer_or(js_member(js_member(index, "metadata"), "total_size"), 0), 54);
    ck_assert_str_eq(js_string_or(js_member(js_member(index, "weight_map"), "three"), ""),
                     "model-00003-of-00003.safetensors");
    js_free(index);
    /* a tensor given too much or too little */
    tensors[2].shape[0] = 7;
    ck_assert_int_eq(writer_write(directory, tensors, 3, 0, fill, &calls), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "tensor \"three\" is 4 bytes short"));
    tensors[2].shape[0] = 5;
    ck_assert_int_eq(writer_write(directory, tensors, 3, 0, fill, &calls), STATUS_FAILED);
    ck_assert_ptr_nonnull(strstr(status_message(), "4 bytes too many"));
    end();
}
END_TEST

/* A file that is truncated while it is mapped ends the program with a line, not a crash. */
START_TEST(truncated_while_in_use) {
    begin();
    int ends[2], state = -1;
    char said[256] = "";
    make("{'a': {'dtype': 'U8', 'shape': [3900], 'data_offsets': [0, 3900]}}", -1, 3900);
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct safetensors *file;
        dup2(ends[1], STDERR_FILENO);
        interrupt_install();
        if (safetensors_open(&file, path) || truncate(path, 0)) _exit(3);
        volatile const char *data = safetensors_at(file, 0)->data;
        _exit(data[3000] ? 4 : 5);
    }
    close(ends[1]);
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert(WIFEXITED(state));
    ck_assert_int_eq(WEXITSTATUS(state), 1);
    ck_assert_int_gt(read(ends[0], said, sizeof said - 1), 0);
    ck_assert_ptr_nonnull(strstr(said, "truncated while in use"));
    close(ends[0]);
    end();
}
END_TEST

CHECK_MAIN("safetensors", a_good_file, broken_headers, a_huge_header, broken_tensors,
           what_the_writer_writes_is_read, truncated_while_in_use)
