#include "base/quote.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* ---- what a name is made of */

/* A character of a name, or a byte that is none. */
struct piece {
    const char *bytes;
    size_t length;
    uint32_t character; /* the byte where it is not valid */
    bool valid;
};

/* Takes the piece at `*at`, which moves behind it; false at the end. */
static bool next_piece(struct piece *piece, const char **at, const char *end) {
    if (*at == end) return false;
    size_t length = utf8_check(*at, (size_t)(end - *at));
    uint32_t character = length ? utf8_decode(*at) : (unsigned char)**at;
    *piece = (struct piece){*at, length ? length : 1, character, length > 0};
    *at += piece->length;
    return true;
}

bool quote_is_unseen(uint32_t c) {
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},
        {0x115f, 0x1160}, {0x180e, 0x180e}, {0x200b, 0x200b}, {0x200e, 0x200f},
        {0x2028, 0x202e}, {0x2060, 0x206f}, {0x3164, 0x3164}, {0xfdd0, 0xfdef},
        {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0xe0000, 0xe007f},
    };
    if ((c & 0xfffe) == 0xfffe) return true;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i].first && c <= ranges[i].last) return true;
    return false;
}

/* ---- people */

/* As an escape when nobody could see it; false: it stays to be written as it is. */
static bool show_unseen(struct text *out, const struct piece *piece) {
    if (piece->valid && !quote_is_unseen(piece->character)) return false;
    unsigned character = (unsigned)piece->character;
    if (character == '\n')
        text_append(out, "\\n");
    else if (character == '\t')
        text_append(out, "\\t");
    else if (character == '\r')
        text_append(out, "\\r");
    else if (!piece->valid || character < 0x80)
        text_append(out, "\\x%02x", character);
    else
        text_append(out, "\\u{%x}", character);
    return true;
}

void quote_terminal(struct text *out, const char *name) {
    const char *end = name + strlen(name);
    struct piece piece;
    while (next_piece(&piece, &name, end))
        if (!show_unseen(out, &piece)) text_append_bytes(out, piece.bytes, piece.length);
}

void quote_terminal_text(struct text *out, const char *bytes, size_t length) {
    const char *end = bytes + length;
    struct piece piece;
    while (next_piece(&piece, &bytes, end))
        if (piece.character == '\n' || piece.character == '\t' || !show_unseen(out, &piece))
            text_append_bytes(out, piece.bytes, piece.length);
}

char *quote_shown(const char *name) {
    struct text text = {0};
    quote_terminal(&text, name);
    return text_finish(&text);
}

void quote_print(FILE *file, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    quote_vprint(file, format, arguments);
    va_end(arguments);
}

void quote_vprint(FILE *file, const char *format, va_list arguments) {
    char *line = text_vformat(format, arguments), *shown = line ? quote_shown(line) : NULL;
    /* without memory for the line something is still said */
    fprintf(file, "%s\n", shown ? shown : "(out of memory for this line)");
    free(line);
    free(shown);
}

/* ---- POSIX shells */

enum shell_mode {
    SHELL_BARE,
    SHELL_SINGLE, /* inside '…' */
    SHELL_PRINTF, /* inside "$(printf '…')" */
};

static void enter(struct text *out, enum shell_mode *mode, enum shell_mode wanted) {
    static const char *const close[] = {"", "'", "')\""}, *const open[] = {"", "'", "\"$(printf '"};
    if (*mode == wanted) return;
    text_append(out, "%s%s", close[*mode], open[wanted]);
    *mode = wanted;
}

void quote_shell(struct text *out, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./:,@%+=";
    /* zsh expands a leading '='; "a=b" is a word only behind a command's name */
    if (*word && *word != '=' && !word[strspn(word, plain)]) {
        text_append(out, "%s", word);
        return;
    }
    if (!*word) text_append(out, "''");
    const char *end = word + strlen(word), *last = end;
    while (last > word && last[-1] == '\n') last--;
    enum shell_mode mode = SHELL_BARE;
    struct piece piece;
    bool behind_newline = false;
    while (next_piece(&piece, &word, end)) {
        /* $(…) strips the newlines at its end: there must be something behind them, or they stand
         * as they are. */
        bool newline = piece.character == '\n' && piece.bytes < last;
        bool unseen = !piece.valid || quote_is_unseen(piece.character);
        if (behind_newline || newline || (unseen && piece.character != '\n')) {
            enter(out, &mode, SHELL_PRINTF);
            for (size_t i = 0; i < piece.length; i++)
                text_append(out, "\\%03o", (unsigned char)piece.bytes[i]);
        } else if (piece.character == '\'') {
            enter(out, &mode, SHELL_BARE);
            text_append(out, "\\'");
        } else {
            enter(out, &mode, SHELL_SINGLE);
            text_append_bytes(out, piece.bytes, piece.length);
        }
        behind_newline = newline;
    }
    enter(out, &mode, SHELL_BARE);
}

void quote_shell_path(struct text *out, const char *path) {
    if (*path == '-') text_append(out, "./");
    quote_shell(out, path);
}

/* ---- YAML */

void quote_yaml(struct text *out, const char *value) {
    const char *end = value + strlen(value);
    struct piece piece;
    text_append(out, "\"");
    while (next_piece(&piece, &value, end)) {
        unsigned character = (unsigned)piece.character;
        if (!piece.valid)
            text_append(out, "\\uFFFD");
        else if (character == '"' || character == '\\')
            text_append(out, "\\%c", (char)character);
        else if (character == '\n')
            text_append(out, "\\n");
        else if (character == '\t')
            text_append(out, "\\t");
        else if (!quote_is_unseen(character))
            text_append_bytes(out, piece.bytes, piece.length);
        else if (character < 0x100)
            text_append(out, "\\x%02X", character);
        else if (character < 0x10000)
            text_append(out, "\\u%04X", character);
        else
            text_append(out, "\\U%08X", character);
    }
    text_append(out, "\"");
}

/* ---- CSV */

static bool is_number(const char *value) {
    static const char digits[] = "0123456789";
    if (*value == '+' || *value == '-') value++;
    size_t whole = strspn(value, digits), part = 0;
    value += whole;
    if (*value == '.') part = strspn(++value, digits);
    value += part;
    if (!whole && !part) return false;
    if (*value == 'e' || *value == 'E') {
        value++;
        if (*value == '+' || *value == '-') value++;
        size_t exponent = strspn(value, digits);
        if (!exponent) return false;
        value += exponent;
    }
    return !*value;
}

/* Would a spreadsheet take it for a formula, or for one that was made harmless? */
static bool needs_apostrophe(const char *value) {
    if (is_number(value)) return false;
    value += strspn(value, "'");
    if (*value && strchr("\t\r\n", *value)) return true;
    value += strspn(value, " ");
    if (*value && strchr("=+-@", *value)) return true;
    /* the full-width forms of = + - @, which spreadsheets of East Asian settings take too */
    static const char *const wide[] = {"\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d",
                                       "\xef\xbc\xa0"};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strncmp(value, wide[i], 3) == 0) return true;
    return false;
}

void quote_csv(struct text *out, const char *value) {
    bool apostrophe = needs_apostrophe(value);
    size_t length = strlen(value);
    /* ';' and tabs separate fields in the settings of other countries; blanks at the ends get lost
     */
    bool quoted = value[strcspn(value, ",;\t\"\r\n")] || *value == ' ' ||
                  (length && value[length - 1] == ' ');
    if (quoted) text_append(out, "\"");
    if (apostrophe) text_append(out, "'");
    for (; *value; value++) {
        if (*value == '"') text_append(out, "\"");
        text_append_bytes(out, value, 1);
    }
    if (quoted) text_append(out, "\"");
}

/* ---- HTML, XML */

void quote_xml(struct text *out, const char *value) {
    const char *end = value + strlen(value);
    struct piece piece;
    while (next_piece(&piece, &value, end)) {
        if (show_unseen(out, &piece)) continue;
        switch (piece.character) {
        case '&':
            text_append(out, "&amp;");
            break;
        case '<':
            text_append(out, "&lt;");
            break;
        case '>':
            text_append(out, "&gt;");
            break;
        case '"':
            text_append(out, "&quot;");
            break;
        case '\'':
            text_append(out, "&#39;");
            break;
        default:
            text_append_bytes(out, piece.bytes, piece.length);
        }
    }
}

/* ---- gnuplot */

/* In single quotes nothing is carried out and one quote is written as two; a newline ends the
 * string there. In double quotes backslashes, `commands` and @macros count: all but plain bytes are
 * octal. */
void quote_gnuplot(struct text *out, const char *value) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                " _-./:;,+=()[]<>|!?*^~{}&%$";
    bool single = true;
    for (const char *c = value; *c; c++) {
        /* a quote beside another, of the string or of its own, is taken for the end */
        bool alone = *c != '\'' || (c > value && c[-1] != '\'' && c[1] && c[1] != '\'');
        single = single && alone && (unsigned char)*c >= 0x20 && *c != 0x7f;
    }
    text_append(out, single ? "'" : "\"");
    for (; *value; value++) {
        unsigned char byte = (unsigned char)*value;
        if (single && byte == '\'') text_append(out, "'");
        if (single || byte >= 0x80 || strchr(plain, *value))
            text_append_bytes(out, value, 1);
        else
            text_append(out, "\\0%03o", byte); /* a leading 0 makes it read four digits */
    }
    text_append(out, single ? "'" : "\"");
}
