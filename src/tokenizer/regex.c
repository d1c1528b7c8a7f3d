#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.h"

#include <pcre2.h>
#include <stdlib.h>

#include "base/memory.h"

struct regex {
    pcre2_code *code;
    char *pattern; /* as in the file, for messages */
};

struct regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

enum status regex_compile(struct regex **out, const char *pattern, size_t length,
                          const char *source) {
    char *translated = NULL;
    size_t translated_length = 0;
    struct regex *regex = memory_calloc(1, sizeof *regex);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    enum status status = STATUS_FAILED;
    if (!regex || !context || !(regex->pattern = memory_copy_bytes(pattern, length))) goto done;
    status = regex_translate(&translated, &translated_length, pattern, length, source);
    if (status) goto done;
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int error;
    PCRE2_SIZE offset;
    regex->code = pcre2_compile((PCRE2_SPTR)translated, translated_length,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                &error, &offset, context);
    if (!regex->code) {
        PCRE2_UCHAR reason[160];
        pcre2_get_error_message(error, reason, sizeof reason);
        status = status_fail("\"%s\": cannot use pattern \"%.200s\": %s", source, regex->pattern,
                             (const char *)reason);
        goto done;
    }
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without it matching is only slower */
    *out = regex;
    regex = NULL;
done:
    free(translated);
    pcre2_compile_context_free(context);
    regex_free(regex);
    return status;
}

void regex_free(struct regex *regex) {
    if (!regex) return;
    pcre2_code_free(regex->code);
    free(regex->pattern);
    free(regex);
}

enum status regex_scratch_begin(struct regex_scratch **out) {
    struct regex_scratch *scratch = memory_calloc(1, sizeof *scratch);
    if (!scratch) return STATUS_FAILED;
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    scratch->stack = pcre2_jit_stack_create(1 << 15, 1 << 24, NULL); /* NULL without JIT */
    if (!scratch->match || !scratch->context) {
        regex_scratch_free(scratch);
        return status_fail("out of memory");
    }
    pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
    *out = scratch;
    return STATUS_OK;
}

void regex_scratch_free(struct regex_scratch *scratch) {
    if (!scratch) return;
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->stack);
    free(scratch);
}

enum status regex_find(bool *found, size_t *start, size_t *end, const struct regex *regex,
                       struct regex_scratch *scratch, const char *text, size_t length,
                       size_t from) {
    int result = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK,
                             scratch->match, scratch->context);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter may use more memory */
        result = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from,
                             PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match, scratch->context);
    *found = result >= 0;
    if (result == PCRE2_ERROR_NOMATCH) return STATUS_OK;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(scratch->match);
    if (result >= 0 && ends[0] >= from && ends[1] >= ends[0]) {
        *start = ends[0];
        *end = ends[1];
        return STATUS_OK;
    }
    PCRE2_UCHAR reason[160] = "a match before its own beginning";
    if (result < 0) pcre2_get_error_message(result, reason, sizeof reason);
    return status_fail("pattern \"%.200s\" fails on the text: %s", regex->pattern,
                       (const char *)reason);
}

const char *regex_library_version(void) {
    static char version[64]; /* "10.42 2022-12-11" */
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) <= (int)sizeof version)
        pcre2_config(PCRE2_CONFIG_VERSION, version);
    return version;
}
