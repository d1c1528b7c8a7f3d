#include "template/lexer.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "template/lexer_constant.h"
#include "template/limits.h"
#include "template/python_text.h"

struct lexer {
    struct template *parsed;
    const char *text;
    size_t length, at;
    int line;
    struct token *tokens;
    size_t count, capacity;
    char expected[TEMPLATE_NESTING_LIMIT]; /* closing brackets, the innermost last */
    size_t open;
};

static enum status push(struct lexer *lexer, enum token_kind kind, size_t start, size_t length) {
    if (lexer->count == lexer->capacity) {
        size_t capacity = lexer->capacity ? 2 * lexer->capacity : 64;
        struct token *tokens = memory_resize(lexer->tokens, capacity, sizeof *tokens);
        if (!tokens) return STATUS_FAILED;
        lexer->tokens = tokens;
        lexer->capacity = capacity;
    }
    lexer->tokens[lexer->count++] = (struct token){
        .kind = kind, .line = lexer->line, .bytes = lexer->text + start, .length = length};
    return STATUS_OK;
}

/* Moves on to `end`, counting lines. */
static void advance(struct lexer *lexer, size_t end) {
    for (; lexer->at < end; lexer->at++) lexer->line += lexer->text[lexer->at] == '\n';
}

static bool starts(const struct lexer *lexer, size_t at, const char *what) {
    size_t length = strlen(what);
    return length <= lexer->length - at && memcmp(lexer->text + at, what, length) == 0;
}

static size_t skip_space(const struct lexer *lexer, size_t at) {
    return at + python_leading_space(lexer->text + at, lexer->length - at);
}

/* The end of what closes a tag at `at` ("%}", "-%}", "+%}", and what they swallow), or `at`. */
static size_t tag_end(const struct lexer *lexer, size_t at, const char *close, bool trim) {
    char sign = at < lexer->length ? lexer->text[at] : 0;
    if (sign == '-' && starts(lexer, at + 1, close)) return skip_space(lexer, at + 3);
    if (sign == '+' && trim && starts(lexer, at + 1, close)) return at + 3;
    if (!starts(lexer, at, close)) return at;
    return at + 2 + (trim && starts(lexer, at + 2, "\n"));
}

/* The bytes of data that stay before a tag with this sign. */
static size_t strip_data(const struct lexer *lexer, size_t start, size_t end, char sign,
                         bool variable) {
    const char *text = lexer->text + start;
    size_t length = end - start, line = length;
    if (sign == '-') return length - python_trailing_space(text, length);
    if (sign == '+' || variable) return length;
    while (line && text[line - 1] != '\n') line--;
    bool line_starts = line > 0 || start == 0 || text[-1] == '\n';
    bool blank = python_leading_space(text + line, length - line) == length - line;
    return line_starts && blank ? line : length;
}

static char sign_at(const struct lexer *lexer, size_t at) {
    char sign = at < lexer->length ? lexer->text[at] : 0;
    return sign == '-' || sign == '+' ? sign : 0;
}

/* The end of "{% NAME %}" at `at`, or 0. */
static size_t match_raw(const struct lexer *lexer, size_t at, const char *name, bool trim) {
    size_t inside = skip_space(lexer, at + 2 + (sign_at(lexer, at + 2) != 0));
    if (!starts(lexer, inside, name)) return 0;
    inside = skip_space(lexer, inside + strlen(name));
    size_t end = tag_end(lexer, inside, "%}", trim);
    return end == inside ? 0 : end;
}

static enum status read_raw(struct lexer *lexer, size_t begin_end) {
    advance(lexer, begin_end);
    for (size_t at = begin_end; at + 1 < lexer->length; at++) {
        size_t end = starts(lexer, at, "{%") ? match_raw(lexer, at, "endraw", true) : 0;
        if (!end) continue;
        size_t kept = strip_data(lexer, begin_end, at, sign_at(lexer, at + 2), false);
        enum status status = kept ? push(lexer, TOKEN_DATA, begin_end, kept) : STATUS_OK;
        advance(lexer, end);
        return status;
    }
    return template_fail(lexer->parsed, lexer->line, "a raw block without its end");
}

static enum status read_comment(struct lexer *lexer, size_t start) {
    for (size_t at = start; at + 1 < lexer->length; at++) {
        size_t end = tag_end(lexer, at, "#}", true);
        if (end == at) continue;
        advance(lexer, end);
        return STATUS_OK;
    }
    return template_fail(lexer->parsed, lexer->line, "a comment without its end");
}

static const struct {
    const char *text;
    enum token_kind kind;
} operators[] = {
    /* The longer first. */
    {"//", TOKEN_FLOOR_DIVIDE}, {"**", TOKEN_POWER},         {"==", TOKEN_EQUAL},
    {"!=", TOKEN_NOT_EQUAL},    {">=", TOKEN_GREATER_EQUAL}, {"<=", TOKEN_LESS_EQUAL},
    {"+", TOKEN_ADD},           {"-", TOKEN_SUBTRACT},       {"/", TOKEN_DIVIDE},
    {"*", TOKEN_MULTIPLY},      {"%", TOKEN_MODULO},         {"~", TOKEN_TILDE},
    {"[", TOKEN_LEFT_BRACKET},  {"]", TOKEN_RIGHT_BRACKET},  {"(", TOKEN_LEFT_PAREN},
    {")", TOKEN_RIGHT_PAREN},   {"{", TOKEN_LEFT_BRACE},     {"}", TOKEN_RIGHT_BRACE},
    {">", TOKEN_GREATER},       {"<", TOKEN_LESS},           {"=", TOKEN_ASSIGN},
    {".", TOKEN_DOT},           {":", TOKEN_COLON},          {"|", TOKEN_PIPE},
    {",", TOKEN_COMMA},         {";", TOKEN_SEMICOLON},
};

static enum status balance(struct lexer *lexer, char bracket) {
    static const char opening[] = "([{", closing[] = ")]}";
    const char *open = strchr(opening, bracket), *close = strchr(closing, bracket);
    if (open) {
        if (lexer->open == TEMPLATE_NESTING_LIMIT)
            return template_fail(lexer->parsed, lexer->line, "more than %d brackets are open",
                                 TEMPLATE_NESTING_LIMIT);
        lexer->expected[lexer->open++] = closing[open - opening];
    } else if (close && (!lexer->open || lexer->expected[--lexer->open] != bracket)) {
        return template_fail(lexer->parsed, lexer->line, "unexpected '%c'", bracket);
    }
    return STATUS_OK;
}

static enum status read_operator(struct lexer *lexer) {
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!starts(lexer, lexer->at, operators[i].text)) continue;
        size_t start = lexer->at, length = strlen(operators[i].text);
        enum status status = length == 1 ? balance(lexer, lexer->text[start]) : STATUS_OK;
        if (!status) status = push(lexer, operators[i].kind, start, length);
        advance(lexer, start + length);
        return status;
    }
    size_t shown = utf8_length(lexer->text[lexer->at]);
    return template_fail(lexer->parsed, lexer->line, "unexpected character '%.*s'", (int)shown,
                         lexer->text + lexer->at);
}

static bool is_name(char c, bool first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

/* A number or a text. */
static enum status read_constant(struct lexer *lexer) {
    size_t start = lexer->at, end;
    struct value value;
    enum status status =
        lexer_constant(&value, &end, lexer->parsed, lexer->text, start, lexer->length, lexer->line);
    if (!status) status = push(lexer, TOKEN_CONSTANT, start, end - start);
    if (!status) lexer->tokens[lexer->count - 1].value = value;
    if (!status) advance(lexer, end);
    return status;
}

/* One token between the marks of a tag. */
static enum status read_token(struct lexer *lexer) {
    size_t start = lexer->at, end = start;
    char first = lexer->text[start];
    if ((first >= '0' && first <= '9') || first == '\'' || first == '"')
        return read_constant(lexer);
    if (!is_name(first, true)) return read_operator(lexer);
    while (end < lexer->length && is_name(lexer->text[end], false)) end++;
    enum status status = push(lexer, TOKEN_NAME, start, end - start);
    lexer->at = end;
    return status;
}

static enum status read_tag(struct lexer *lexer, bool block) {
    const char *close = block ? "%}" : "}}";
    lexer->open = 0;
    for (;;) {
        size_t end = lexer->open ? lexer->at : tag_end(lexer, lexer->at, close, block);
        if (end != lexer->at) {
            enum status status =
                push(lexer, block ? TOKEN_BLOCK_END : TOKEN_VARIABLE_END, lexer->at, 2);
            advance(lexer, end);
            return status;
        }
        advance(lexer, skip_space(lexer, lexer->at));
        if (lexer->at == lexer->length) return STATUS_OK; /* the parser misses the end */
        if (!lexer->open && tag_end(lexer, lexer->at, close, block) != lexer->at) continue;
        enum status status = read_token(lexer);
        if (status) return status;
    }
}

/* Data up to the next tag, and the tag. */
static enum status read_part(struct lexer *lexer) {
    size_t start = lexer->at, at = start;
    while (at < lexer->length && !starts(lexer, at, "{%") && !starts(lexer, at, "{{") &&
           !starts(lexer, at, "{#"))
        at++;
    if (at == lexer->length) {
        enum status status = push(lexer, TOKEN_DATA, start, at - start);
        advance(lexer, at);
        return status;
    }
    char kind = lexer->text[at + 1], sign = sign_at(lexer, at + 2);
    size_t kept = strip_data(lexer, start, at, sign, kind == '{');
    enum status status = kept ? push(lexer, TOKEN_DATA, start, kept) : STATUS_OK;
    if (status) return status;
    size_t raw = kind == '%' ? match_raw(lexer, at, "raw", false) : 0;
    advance(lexer, at);
    if (raw) return read_raw(lexer, raw);
    size_t inside = at + 2 + (sign != 0);
    if (kind == '#') return read_comment(lexer, inside);
    status = push(lexer, kind == '%' ? TOKEN_BLOCK_BEGIN : TOKEN_VARIABLE_BEGIN, at, 2);
    advance(lexer, inside);
    return status ? status : read_tag(lexer, kind == '%');
}

enum status lexer_read(struct token **out, struct template *parsed) {
    struct lexer lexer = {
        .parsed = parsed, .text = parsed->text, .length = parsed->length, .line = 1};
    enum status status = STATUS_OK;
    while (!status && lexer.at < lexer.length) status = read_part(&lexer);
    if (!status) status = push(&lexer, TOKEN_END, lexer.length, 0);
    if (status) {
        free(lexer.tokens);
        return status;
    }
    *out = lexer.tokens;
    return STATUS_OK;
}
