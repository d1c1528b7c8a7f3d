/* Names that break out of what they are written into when they are not quoted. Every border (a
 * terminal, a shell, YAML, CSV, XML, gnuplot, JSON, a path) is tried with each of them. */
#ifndef TESTS_EVIL_NAMES_H
#define TESTS_EVIL_NAMES_H

#include <stddef.h>

static const char *const evil_names[] = {
    "plain",
    "",
    ".",
    "..",
    " ",
    " blanks at both ends ",
    "two\nlines",
    "\n",
    "ends with a newline\n",
    "three at the end\n\n\n",
    "\nevil: 1\n#",
    "x\nsystem(\"touch pwned\")\n#.svg",
    "m\ntouch pwned\n#",
    "a\rb",
    "a\tb",
    "\tx",
    "single'quote",
    "'",
    "''",
    "'; touch pwned; '",
    "a''b",
    "a'''b",
    "a'b'",
    "double\"quote",
    "\"",
    "\"; touch pwned; \"",
    "\\",
    "\\\\n",
    "ends in a backslash\\",
    "\\'; touch pwned #",
    "\\\"; touch pwned #",
    "\\x41\\101\\u0041",
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "$HOME$$",
    "~",
    "~root/x",
    "*",
    "[a-z]?{a,b}",
    "!!",
    "#comment",
    "a #comment",
    "a; touch pwned",
    "a & touch pwned",
    "a | touch pwned",
    "| touch pwned",
    "< touch pwned",
    "> pwned",
    "-rf",
    "--help",
    "-",
    "--",
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1+cmd",
    "@SUM(A1)",
    "'=1+1",
    " =1+1",
    "\xef\xbc\x9d"
    "1+1",
    "-1",
    "-1.5e-3",
    "1;=1+1",
    "a,b",
    "a,\"b\"\r\nc",
    "%d%s%n%%",
    "%PATH%",
    "@macro",
    "true",
    "no",
    "null",
    "0x1f",
    "1e-5",
    "12:30:00",
    "2001-01-01",
    "- a",
    "? a",
    "&anchor",
    "*alias",
    "!!python/object/apply:os.system [\"touch pwned\"]",
    "{a: b}",
    "a: b",
    "|",
    "<script>touch('pwned')</script>",
    "]]>",
    "</title></svg>",
    "\"onload=\"x",
    "&amp;&#60;&lt",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://example.org\x1b\\link",
    "\x01\x02\x7f",
    "\x08\x08\x08",
    "\xc2\x9b"
    "31m", /* the C1 form of ESC [ */
    "\xe2\x80\xae"
    "gvs.txt", /* override of direction */
    "\xe2\x81\xa6"
    "isolated\xe2\x81\xa9",                     /* isolates */
    "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",         /* Hebrew */
    "\xd9\x85\xd8\xb1\xd8\xad\xd8\xa8\xd8\xa7", /* Arabic */
    "\xe2\x80\xa8line\xe2\x80\xa9paragraph",
    "\xc2\x85next line",
    "\xef\xbb\xbf"
    "bom",
    "zero\xe2\x80\x8bwidth",
    "\xf3\xa0\x81\x81tag",
    "\xef\xbf\xbe\xef\xbf\xbf",
    "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
    "\xff",
    "latin\xe9",
    "\x80\x81\xfe",
    "\xc0\xaf",         /* overlong */
    "\xed\xb2\x80",     /* a surrogate */
    "\xf4\x90\x80\x80", /* beyond Unicode */
    "cut \xe2\x82",
    "\xf4\x8d\xb2\x80", /* U+10DC80, private use */
    "\xff'\"\n$(touch pwned)`touch pwned`",
};

enum { EVIL_NAMES = sizeof evil_names / sizeof *evil_names };

#endif
