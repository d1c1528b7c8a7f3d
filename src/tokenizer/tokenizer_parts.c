/* Reading the normalizer, pre-tokenizer, post-processor and decoder of a tokenizer.json. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tokenizer/tokenizer_internal.h"

/* ByteLevel's own pattern, from GPT-2. */
#define BYTE_LEVEL_PATTERN                                                                         \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

enum { MAX_PARTS = 64, MAX_NESTING = 8 };

typedef enum status (*part_reader)(struct tokenizer *tokenizer, const struct json *part,
                                   const char *type, const char *source);

/* Calls `read` for a part, or for each one in a (nested) Sequence whose list is at `list_key`. */
static enum status read_parts(struct tokenizer *tokenizer, const struct json *part,
                              const char *what, const char *list_key, part_reader read, int depth,
                              const char *source) {
    const char *type;
    if (!part) return STATUS_OK;
    enum status status = part_type(&type, part, what, source);
    if (status) return status;
    if (strcmp(type, "Sequence") != 0) return read(tokenizer, part, type, source);
    const struct json *list = js_member(part, list_key);
    if (!js_is_array(list) || depth == MAX_NESTING || js_count(list) > MAX_PARTS)
        return status_fail("\"%s\": a %s Sequence needs a list \"%s\" of at most %d", source, what,
                           list_key, MAX_PARTS);
    for (size_t i = 0; !status && i < js_count(list); i++) {
        const struct json *element = js_element(list, i);
        status = element ? read_parts(tokenizer, element, what, list_key, read, depth + 1, source)
                         : status_fail("\"%s\": a %s without a \"type\"", source, what);
    }
    return status;
}

static enum status read_normalizer(struct tokenizer *tokenizer, const struct json *part,
                                   const char *type, const char *source) {
    struct normalizer *normalizer = part_grow((void **)&tokenizer->normalizers,
                                              &tokenizer->normalizer_count, sizeof *normalizer);
    if (!normalizer) return STATUS_FAILED;
    enum status status = STATUS_OK;
    const char *keys = "type";
    size_t length = strlen(type);
    if (strcmp(type, "NFC") == 0 || strcmp(type, "NFD") == 0 || strcmp(type, "NFKC") == 0 ||
        strcmp(type, "NFKD") == 0) {
        normalizer->kind = NORMALIZE_FORM;
        normalizer->compose = type[length - 1] == 'C';
        normalizer->compatible = length == 4;
    } else if (strcmp(type, "Prepend") == 0) {
        normalizer->kind = NORMALIZE_PREPEND;
        status = part_string(&normalizer->content, &normalizer->content_length, part, "prepend",
                             "normalizer Prepend", source);
        keys = "type prepend";
    } else if (strcmp(type, "Replace") == 0) {
        normalizer->kind = NORMALIZE_REPLACE;
        status = part_pattern(&normalizer->pattern, part, "normalizer Replace", source);
        if (!status)
            status = part_string(&normalizer->content, &normalizer->content_length, part, "content",
                                 "normalizer Replace", source);
        keys = "type pattern content";
    } else {
        return part_refuse(type, "normalizer", source);
    }
    return status ? status : part_keys(part, keys, "the normalizer", source);
}

enum status tokenizer_read_normalizer(struct tokenizer *tokenizer, const struct json *part,
                                      const char *source) {
    return read_parts(tokenizer, part, "normalizer", "normalizers", read_normalizer, 0, source);
}

static struct step *add_step(struct tokenizer *tokenizer, enum step_kind kind) {
    struct step *step = part_grow((void **)&tokenizer->steps, &tokenizer->step_count, sizeof *step);
    if (step) step->kind = kind;
    return step;
}

static enum status read_byte_level(struct tokenizer *tokenizer, const struct json *part,
                                   const char *source) {
    bool prefix, use_regex, trim;
    const char *what = "pre-tokenizer ByteLevel";
    enum status status =
        part_keys(part, "type add_prefix_space trim_offsets use_regex", what, source);
    if (!status) status = part_bool(&prefix, part, "add_prefix_space", true, what, source);
    if (!status) status = part_bool(&use_regex, part, "use_regex", true, what, source);
    if (!status) status = part_bool(&trim, part, "trim_offsets", true, what, source);
    if (status) return status;
    if (prefix && !add_step(tokenizer, STEP_PREFIX_SPACE)) return STATUS_FAILED;
    if (use_regex) {
        struct step *split = add_step(tokenizer, STEP_SPLIT);
        if (!split) return STATUS_FAILED;
        status = regex_compile(&split->pattern.regex, BYTE_LEVEL_PATTERN,
                               strlen(BYTE_LEVEL_PATTERN), source);
        if (status) return status;
    }
    return add_step(tokenizer, STEP_BYTES) ? STATUS_OK : STATUS_FAILED;
}

static enum status read_split(struct tokenizer *tokenizer, const struct json *part,
                              const char *source) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *what = "pre-tokenizer Split";
    const char *behavior = js_string_or(js_member(part, "behavior"), "");
    struct step *step = add_step(tokenizer, STEP_SPLIT);
    if (!step) return STATUS_FAILED;
    size_t i = 0;
    while (i < 5 && strcmp(behavior, names[i]) != 0) i++;
    if (i == 5)
        return status_fail("\"%s\": behavior \"%.80s\" of a Split is not supported", source,
                           behavior);
    step->behavior = (enum split_behavior)i;
    enum status status = part_keys(part, "type pattern behavior invert", what, source);
    if (!status) status = part_bool(&step->invert, part, "invert", false, what, source);
    return status ? status : part_pattern(&step->pattern, part, what, source);
}

/* The replacement must be one character. */
static enum status read_character(char **out, const struct json *part, const char *key,
                                  const char *what, const char *source) {
    size_t length;
    enum status status = part_string(out, &length, part, key, what, source);
    if (status) return status;
    if (length == 0 || utf8_length((*out)[0]) != length || !(*out)[0])
        return status_fail("\"%s\": \"%s\" in %s must be one character", source, key, what);
    return STATUS_OK;
}

/* "prepend_scheme", or the older "add_prefix_space". */
static enum status read_scheme(enum prepend_scheme *out, const struct json *part, const char *what,
                               const char *source) {
    const char *fallback =
        js_bool_or(js_member(part, "add_prefix_space"), true) ? "always" : "never";
    const char *scheme = js_string_or(js_member(part, "prepend_scheme"), fallback);
    if (strcmp(scheme, "always") == 0)
        *out = PREPEND_ALWAYS;
    else if (strcmp(scheme, "first") == 0)
        *out = PREPEND_FIRST;
    else if (strcmp(scheme, "never") == 0)
        *out = PREPEND_NEVER;
    else
        return status_fail("\"%s\": prepend_scheme \"%.80s\" in %s is not supported", source,
                           scheme, what);
    return STATUS_OK;
}

#define METASPACE_KEYS "type replacement prepend_scheme split add_prefix_space str_rep"

static enum status read_metaspace(struct tokenizer *tokenizer, const struct json *part,
                                  const char *source) {
    const char *what = "pre-tokenizer Metaspace";
    bool split;
    enum status status = part_keys(part, METASPACE_KEYS, what, source);
    if (!status) status = part_bool(&split, part, "split", true, what, source);
    if (status) return status;
    struct step *step = add_step(tokenizer, STEP_METASPACE);
    if (!step) return STATUS_FAILED;
    status = read_character(&step->replacement, part, "replacement", what, source);
    if (!status) status = read_scheme(&step->scheme, part, what, source);
    if (status || !split) return status;
    char *literal = memory_copy_string(step->replacement);
    struct step *cut = literal ? add_step(tokenizer, STEP_SPLIT) : NULL; /* `step` has moved */
    if (!cut) {
        free(literal);
        return STATUS_FAILED;
    }
    cut->behavior = SPLIT_MERGED_WITH_NEXT;
    cut->pattern.literal = literal;
    cut->pattern.length = strlen(literal);
    return STATUS_OK;
}

static enum status read_step(struct tokenizer *tokenizer, const struct json *part, const char *type,
                             const char *source) {
    if (strcmp(type, "ByteLevel") == 0) return read_byte_level(tokenizer, part, source);
    if (strcmp(type, "Split") == 0) return read_split(tokenizer, part, source);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(tokenizer, part, source);
    if (strcmp(type, "Digits") != 0) return part_refuse(type, "pre-tokenizer", source);
    bool individual;
    const char *what = "pre-tokenizer Digits";
    enum status status = part_keys(part, "type individual_digits", what, source);
    if (!status) status = part_bool(&individual, part, "individual_digits", false, what, source);
    if (status) return status;
    struct step *step = add_step(tokenizer, STEP_DIGITS);
    if (!step) return STATUS_FAILED;
    step->behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
    return STATUS_OK;
}

enum status tokenizer_read_steps(struct tokenizer *tokenizer, const struct json *part,
                                 const char *source) {
    return read_parts(tokenizer, part, "pre-tokenizer", "pretokenizers", read_step, 0, source);
}

static enum status read_template_token(struct id_list *list, const struct json *part,
                                       const struct json *special, const char *source) {
    const char *name = js_string_or(js_member(special, "id"), "");
    const struct json *ids = js_member(js_member(js_member(part, "special_tokens"), name), "ids");
    enum status status = STATUS_OK;
    if (!js_is_array(ids))
        return status_fail("\"%s\": the template's token \"%.80s\" has no \"ids\"", source, name);
    for (size_t i = 0; !status && i < js_count(ids); i++) {
        int64_t id = js_integer_or(js_element(ids, i), -1);
        status =
            id < 0 || id >= NO_TOKEN
                ? status_fail("\"%s\": the template's token \"%.80s\" has a wrong id", source, name)
                : id_list_append(list, (uint32_t)id);
    }
    return status;
}

/* Only how a single text is framed matters here. */
static enum status read_template(struct tokenizer *tokenizer, const struct json *part,
                                 const char *type, const char *source) {
    if (strcmp(type, "ByteLevel") == 0) return STATUS_OK; /* only trims offsets */
    if (strcmp(type, "TemplateProcessing") != 0) return part_refuse(type, "post-processor", source);
    const struct json *single = js_member(part, "single");
    if (!js_is_array(single) || tokenizer->before.values || tokenizer->after.values)
        return status_fail("\"%s\": the post-processor must have one template \"single\"", source);
    bool text_seen = false;
    for (size_t i = 0; i < js_count(single); i++) {
        const struct json *piece = js_element(single, i);
        const struct json *special = js_member(piece, "SpecialToken");
        const struct json *sequence = js_member(piece, "Sequence");
        enum status status = STATUS_OK;
        if (js_is_object(special))
            status = read_template_token(text_seen ? &tokenizer->after : &tokenizer->before, part,
                                         special, source);
        else if (strcmp(js_string_or(js_member(sequence, "id"), ""), "A") == 0 && !text_seen)
            text_seen = true;
        else
            status = status_fail("\"%s\": the template \"single\" is not supported", source);
        if (status) return status;
    }
    if (text_seen) return STATUS_OK;
    return status_fail("\"%s\": the template \"single\" has no place for the text", source);
}

enum status tokenizer_read_template(struct tokenizer *tokenizer, const struct json *part,
                                    const char *source) {
    return read_parts(tokenizer, part, "post-processor", "processors", read_template, 0, source);
}

static enum status read_strip(struct decoder *decoder, const struct json *part,
                              const char *source) {
    int64_t left, right;
    enum status status = part_keys(part, "type content start stop", "decoder Strip", source);
    if (!status)
        status = read_character(&decoder->content, part, "content", "decoder Strip", source);
    if (!status) status = js_get_integer(&left, part, "start", 0, INT32_MAX, source);
    if (!status) status = js_get_integer(&right, part, "stop", 0, INT32_MAX, source);
    if (status) return status;
    decoder->left = (size_t)left;
    decoder->right = (size_t)right;
    return STATUS_OK;
}

static enum status read_decoder(struct tokenizer *tokenizer, const struct json *part,
                                const char *type, const char *source) {
    struct decoder *decoder =
        part_grow((void **)&tokenizer->decoders, &tokenizer->decoder_count, sizeof *decoder);
    if (!decoder) return STATUS_FAILED;
    enum status status;
    if (strcmp(type, "ByteLevel") == 0) {
        decoder->kind = DECODE_BYTES;
        return part_keys(part, "type add_prefix_space trim_offsets use_regex", "decoder ByteLevel",
                         source);
    }
    if (strcmp(type, "ByteFallback") == 0 || strcmp(type, "Fuse") == 0) {
        decoder->kind = *type == 'B' ? DECODE_BYTE_FALLBACK : DECODE_FUSE;
        return part_keys(part, "type", "the decoder", source);
    }
    if (strcmp(type, "Strip") == 0) {
        decoder->kind = DECODE_STRIP;
        return read_strip(decoder, part, source);
    }
    if (strcmp(type, "Replace") == 0) {
        decoder->kind = DECODE_REPLACE;
        status = part_keys(part, "type pattern content", "decoder Replace", source);
        if (!status) status = part_pattern(&decoder->pattern, part, "decoder Replace", source);
        if (status) return status;
        return part_string(&decoder->content, &decoder->content_length, part, "content",
                           "decoder Replace", source);
    }
    if (strcmp(type, "Metaspace") != 0) return part_refuse(type, "decoder", source);
    enum prepend_scheme scheme = PREPEND_NEVER;
    decoder->kind = DECODE_METASPACE;
    status = part_keys(part, METASPACE_KEYS, "decoder Metaspace", source);
    if (!status)
        status =
            read_character(&decoder->content, part, "replacement", "decoder Metaspace", source);
    if (!status) status = read_scheme(&scheme, part, "decoder Metaspace", source);
    decoder->drop_first = scheme != PREPEND_NEVER;
    return status;
}

enum status tokenizer_read_decoder(struct tokenizer *tokenizer, const struct json *part,
                                   const char *source) {
    return read_parts(tokenizer, part, "decoder", "decoders", read_decoder, 0, source);
}
