#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/quote.h"
#include "base/utf8.h"
#include "check_main.h"
#include "evil_names.h"

typedef void quote_function(struct text *out, const char *name);

static char *quoted(quote_function *quote, const char *name) {
    struct text text = {0};
    quote(&text, name);
    char *out = text_finish(&text);
    ck_assert_ptr_nonnull(out);
    return out;
}

static void check(quote_function *quote, const char *name, const char *expected) {
    char *out = quoted(quote, name);
    ck_assert_str_eq(out, expected);
    free(out);
}

static char *long_name(void) {
    char *name = malloc(100001);
    for (size_t i = 0; i < 100000; i++) name[i] = "a'b\"c$d`e\\f\ng\xff"[i % 15];
    name[100000] = '\0';
    return name;
}

/* A directory of its own for a test that runs programs. */
static char *enter_directory(void) {
    static char path[] = "/tmp/quoteXXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(path));
    ck_assert_int_eq(chdir(path), 0);
    return path;
}

static void leave_directory(const char *path) {
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(file_remove_directory(path), STATUS_OK);
}

/* ---- people */

START_TEST(a_terminal_sees_one_line_of_visible_text) {
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        char *out = quoted(quote_terminal, evil_names[i]);
        size_t where;
        ck_assert(utf8_valid(out, strlen(out), &where));
        for (const char *c = out; *c; c += utf8_length(*c)) {
            uint32_t character = utf8_decode(c);
            ck_assert_uint_ge(character, 0x20);
            ck_assert(character < 0x7f || character > 0x9f);
            ck_assert(character < 0x2028 || character > 0x202e);
            ck_assert(character < 0x2066 || character > 0x2069);
        }
        free(out);
    }
    check(quote_terminal, "two\nlines", "two\\nlines");
    check(quote_terminal, "\x1b[31mred", "\\x1b[31mred");
    check(quote_terminal, "\xe2\x80\xaegvs.txt", "\\u{202e}gvs.txt");
    check(quote_terminal,
          "\xc2\x9b"
          "31m",
          "\\u{9b}31m");
    check(quote_terminal, "latin\xe9", "latin\\xe9");
    check(quote_terminal, "cut \xe2\x82", "cut \\xe2\\x82");
    check(quote_terminal, "\xd7\xa9", "\xd7\xa9");
    check(quote_terminal, "it's \\frac{1}{2}", "it's \\frac{1}{2}");
}
END_TEST

START_TEST(print_keeps_to_one_line) {
    char *bytes = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&bytes, &size);
    quote_print(file, "wrote %s in %d s", "a\nb\x1b[0m", 3);
    fclose(file);
    ck_assert_str_eq(bytes, "wrote a\\nb\\x1b[0m in 3 s\n");
    free(bytes);
}
END_TEST

/* ---- shells */

static void check_in_shell(const char *shell, quote_function *quote, const char *name,
                           const char *prefix) {
    char *word = quoted(quote, name), *bytes = NULL, *command = NULL;
    size_t size = 0, where;
    ck_assert(utf8_valid(word, strlen(word), &where));
    FILE *script = fopen("script", "wb");
    fprintf(script, "printf '%%s.' %s >out\n", word);
    fclose(script);
    ck_assert_int_gt(asprintf(&command, "%s ./script", shell), 0);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(file_read(&bytes, &size, "out"), STATUS_OK);
    ck_assert_uint_eq(size, strlen(prefix) + strlen(name) + 1);
    ck_assert_int_eq(memcmp(bytes, prefix, strlen(prefix)), 0);
    ck_assert_int_eq(memcmp(bytes + strlen(prefix), name, strlen(name)), 0);
    ck_assert_int_ne(access("pwned", F_OK), 0);
    free(command);
    free(bytes);
    free(word);
}

START_TEST(shells_take_a_word_for_the_name) {
    char *directory = enter_directory(), *name = long_name();
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        const char *prefix = *evil_names[i] == '-' ? "./" : "";
        check_in_shell("sh", quote_shell, evil_names[i], "");
        check_in_shell("sh", quote_shell_path, evil_names[i], prefix);
        check_in_shell("bash", quote_shell, evil_names[i], "");
    }
    check_in_shell("sh", quote_shell, name, "");
    check(quote_shell, "a/b-c_d.e:1,2@3", "a/b-c_d.e:1,2@3");
    check(quote_shell, "it's", "'it'\\''s'");
    check(quote_shell, "\x1b[31m", "\"$(printf '\\033')\"'[31m'");
    check(quote_shell, "", "''");
    leave_directory(directory);
    free(name);
}
END_TEST

/* ---- YAML: what a double-quoted scalar says, by the rules that YAML 1.1 and 1.2 share */

static char *yaml_value(const char *text) {
    struct text out = {0};
    size_t length = strlen(text);
    ck_assert(length >= 2 && text[0] == '"' && text[length - 1] == '"');
    for (const char *c = text + 1; c < text + length - 1;) {
        ck_assert_int_ne(*c, '"');
        ck_assert(((unsigned char)*c >= 0x20 && *c != 0x7f) || *c == '\t');
        if (*c != '\\') {
            text_append_bytes(&out, c++, 1);
            continue;
        }
        const char *kinds = "nt\\\"xuU", *kind = strchr(kinds, c[1]);
        ck_assert_ptr_nonnull(kind);
        static const int digits[] = {0, 0, 0, 0, 2, 4, 8};
        int count = digits[kind - kinds];
        c += 2;
        if (!count) {
            text_append_bytes(&out, &"\n\t\\\""[kind - kinds], 1);
            continue;
        }
        char hex[9] = "";
        memcpy(hex, c, (size_t)count);
        unsigned long value = strtoul(hex, NULL, 16);
        if (value < 0x80)
            text_append(&out, "%c", (char)value);
        else if (value < 0x800)
            text_append(&out, "%c%c", (char)(0xc0 | value >> 6), (char)(0x80 | (value & 63)));
        else if (value < 0x10000)
            text_append(&out, "%c%c%c", (char)(0xe0 | value >> 12),
                        (char)(0x80 | (value >> 6 & 63)), (char)(0x80 | (value & 63)));
        else
            text_append(&out, "%c%c%c%c", (char)(0xf0 | value >> 18),
                        (char)(0x80 | (value >> 12 & 63)), (char)(0x80 | (value >> 6 & 63)),
                        (char)(0x80 | (value & 63)));
        c += count;
    }
    return text_finish(&out);
}

START_TEST(yaml_reads_one_scalar) {
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        size_t where, length = strlen(evil_names[i]);
        char *out = quoted(quote_yaml, evil_names[i]), *value = yaml_value(out);
        ck_assert(utf8_valid(out, strlen(out), &where));
        if (utf8_valid(evil_names[i], length, &where))
            ck_assert_str_eq(value, evil_names[i]);
        else
            ck_assert_ptr_nonnull(strstr(value, "\xef\xbf\xbd"));
        free(out);
        free(value);
    }
    check(quote_yaml, "loo\nevil: 1\n#", "\"loo\\nevil: 1\\n#\"");
    check(quote_yaml, "no", "\"no\"");
    check(quote_yaml, "\x1b", "\"\\x1B\"");
    check(quote_yaml, "\xef\xbb\xbf", "\"\\uFEFF\"");
    check(quote_yaml, "\xff", "\"\\uFFFD\"");
}
END_TEST

/* ---- CSV */

/* The field that a reader of RFC 4180 gets, without an apostrophe put there. */
static char *csv_value(const char *text) {
    struct text out = {0};
    if (*text != '"') {
        ck_assert_uint_eq(strcspn(text, ",\"\r\n"), strlen(text));
        text_append(&out, "%s", text);
    } else {
        for (text++; text[0] != '"' || text[1] == '"'; text++) {
            ck_assert(*text);
            text_append_bytes(&out, text, 1);
            text += *text == '"';
        }
        ck_assert_str_eq(text, "\"");
    }
    char *value = text_finish(&out);
    char *behind = value + strspn(value, "'");
    behind += strspn(behind, " ");
    bool wide = strncmp(behind, "\xef\xbc", 2) == 0;
    if (*value == '\'' && *behind && (wide || strchr("=+-@\t\r\n", *behind)))
        memmove(value, value + 1, strlen(value));
    else
        ck_assert(!*behind || !strchr("=@\t\r\n", *behind));
    return value;
}

START_TEST(csv_reads_one_field_and_no_formula) {
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        char *out = quoted(quote_csv, evil_names[i]), *value = csv_value(out);
        ck_assert_str_eq(value, evil_names[i]);
        free(out);
        free(value);
    }
    check(quote_csv, "=1+1", "'=1+1");
    check(quote_csv, "'=1+1", "''=1+1");
    check(quote_csv, "'quoted'", "'quoted'");
    check(quote_csv, " =1", "\"' =1\"");
    check(quote_csv, "-1", "-1");
    check(quote_csv, "+1.5e-3", "+1.5e-3");
    check(quote_csv, "-1-1", "'-1-1");
    check(quote_csv, "-", "'-");
    check(quote_csv, "@x", "'@x");
    check(quote_csv, "\tx", "\"'\tx\"");
    check(quote_csv, "a;=1", "\"a;=1\"");
    check(quote_csv, "a,\"b\"", "\"a,\"\"b\"\"\"");
    check(quote_csv, "latin\xe9", "latin\xe9");
}
END_TEST

/* ---- XML */

START_TEST(xml_holds_text_only) {
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        size_t where;
        char *out = quoted(quote_xml, evil_names[i]);
        ck_assert(utf8_valid(out, strlen(out), &where));
        ck_assert_ptr_null(strpbrk(out, "<>\"'"));
        for (const char *c = out; *c; c++) ck_assert_uint_ge((unsigned char)*c, 0x20);
        for (const char *c = out; (c = strchr(c, '&')); c++) {
            static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
            bool known = false;
            for (int k = 0; k < 5; k++)
                known = known || strncmp(c, entities[k], strlen(entities[k])) == 0;
            ck_assert(known);
        }
        free(out);
    }
    check(quote_xml, "</title>&amp;", "&lt;/title&gt;&amp;amp;");
    check(quote_xml, "a\nb\xff\xef\xbf\xbf", "a\\nb\\xff\\u{ffff}");
    check(quote_xml, "\xd7\xa9\xf0\x9f\x98\x80", "\xd7\xa9\xf0\x9f\x98\x80");
}
END_TEST

/* ---- gnuplot */

START_TEST(gnuplot_takes_a_string_for_the_name) {
    char *directory = enter_directory();
    FILE *script = fopen("script.gp", "wb");
    fprintf(script, "set encoding utf8\nset macros\nmacro = 'broken'\nset print 'out'\n");
    size_t total = 0;
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        char *out = quoted(quote_gnuplot, evil_names[i]);
        fprintf(script, "print %s\n", out);
        total += strlen(evil_names[i]) + 1;
        free(out);
    }
    fprintf(script, "unset print\n");
    fclose(script);
    ck_assert_int_eq(system("gnuplot -d ./script.gp 2>err"), 0);
    char *bytes = NULL;
    size_t size = 0;
    ck_assert_int_eq(file_read(&bytes, &size, "out"), STATUS_OK);
    ck_assert_uint_eq(size, total);
    const char *at = bytes;
    for (size_t i = 0; i < EVIL_NAMES; i++) {
        size_t length = strlen(evil_names[i]);
        ck_assert_int_eq(memcmp(at, evil_names[i], length), 0);
        ck_assert_int_eq(at[length], '\n');
        at += length + 1;
    }
    ck_assert_int_ne(access("pwned", F_OK), 0);
    free(bytes);
    leave_directory(directory);
}
END_TEST

CHECK_MAIN("quote", a_terminal_sees_one_line_of_visible_text, print_keeps_to_one_line,
           shells_take_a_word_for_the_name, yaml_reads_one_scalar,
           csv_reads_one_field_and_no_formula, xml_holds_text_only,
           gnuplot_takes_a_string_for_the_name)
