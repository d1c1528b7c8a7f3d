/* Signs of Unicode that stand for other characters: vulgar fractions, and what is raised or
 * lowered.
 */
#include "eval/answer_signs.h"

#include <string.h>

struct sign {
    const char *from;
    char to;
};

static const struct sign raised[] = {
    {"\xe2\x81\xb0", '0'}, {"\xc2\xb9", '1'},     {"\xc2\xb2", '2'},     {"\xc2\xb3", '3'},
    {"\xe2\x81\xb4", '4'}, {"\xe2\x81\xb5", '5'}, {"\xe2\x81\xb6", '6'}, {"\xe2\x81\xb7", '7'},
    {"\xe2\x81\xb8", '8'}, {"\xe2\x81\xb9", '9'}, {"\xe2\x81\xba", '+'}, {"\xe2\x81\xbb", '-'},
    {"\xe2\x81\xbc", '='}, {"\xe2\x81\xbd", '('}, {"\xe2\x81\xbe", ')'}, {"\xe2\x81\xbf", 'n'},
    {"\xe2\x81\xb1", 'i'}, {"\xe1\xb5\x83", 'a'}, {"\xe1\xb5\x87", 'b'}, {"\xe1\xb6\x9c", 'c'},
    {"\xe1\xb5\x88", 'd'}, {"\xe1\xb5\x89", 'e'}, {"\xe1\xb5\x8f", 'k'}, {"\xe1\xb5\x90", 'm'},
    {"\xe1\xb5\x96", 'p'}, {"\xca\xb3", 'r'},     {"\xe1\xb5\x97", 't'}, {"\xcb\xa3", 'x'},
    {"\xca\xb8", 'y'},     {"\xe1\xb6\xbb", 'z'},
};

static const struct sign lowered[] = {
    {"\xe2\x82\x80", '0'}, {"\xe2\x82\x81", '1'}, {"\xe2\x82\x82", '2'}, {"\xe2\x82\x83", '3'},
    {"\xe2\x82\x84", '4'}, {"\xe2\x82\x85", '5'}, {"\xe2\x82\x86", '6'}, {"\xe2\x82\x87", '7'},
    {"\xe2\x82\x88", '8'}, {"\xe2\x82\x89", '9'}, {"\xe2\x82\x8a", '+'}, {"\xe2\x82\x8b", '-'},
    {"\xe2\x82\x8c", '='}, {"\xe2\x82\x8d", '('}, {"\xe2\x82\x8e", ')'}, {"\xe2\x82\x90", 'a'},
    {"\xe2\x82\x91", 'e'}, {"\xe2\x82\x93", 'x'}, {"\xe1\xb5\xa2", 'i'}, {"\xe2\xb1\xbc", 'j'},
    {"\xe2\x82\x96", 'k'}, {"\xe2\x82\x98", 'm'}, {"\xe2\x82\x99", 'n'},
};

static const struct {
    const char *from, *top, *bottom;
} fractions[] = {
    {"\xc2\xbd", "1", "2"},     {"\xc2\xbc", "1", "4"},     {"\xc2\xbe", "3", "4"},
    {"\xe2\x85\x93", "1", "3"}, {"\xe2\x85\x94", "2", "3"}, {"\xe2\x85\x95", "1", "5"},
    {"\xe2\x85\x96", "2", "5"}, {"\xe2\x85\x97", "3", "5"}, {"\xe2\x85\x98", "4", "5"},
    {"\xe2\x85\x99", "1", "6"}, {"\xe2\x85\x9a", "5", "6"}, {"\xe2\x85\x9b", "1", "8"},
    {"\xe2\x85\x9c", "3", "8"}, {"\xe2\x85\x9d", "5", "8"}, {"\xe2\x85\x9e", "7", "8"},
    {"\xe2\x85\x90", "1", "7"}, {"\xe2\x85\x91", "1", "9"}, {"\xe2\x85\x92", "1", "10"},
    {"\xe2\x86\x89", "0", "3"},
};

static size_t one_of(char *to, const char *at, const struct sign *signs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(signs[i].from);
        if (strncmp(at, signs[i].from, length) != 0) continue;
        *to = signs[i].to;
        return length;
    }
    return 0;
}

size_t answer_raised_sign(char *to, const char *at) {
    return one_of(to, at, raised, sizeof raised / sizeof *raised);
}

size_t answer_lowered_sign(char *to, const char *at) {
    return one_of(to, at, lowered, sizeof lowered / sizeof *lowered);
}

size_t answer_fraction_sign(const char **top, const char **bottom, const char *at) {
    for (size_t i = 0; i < sizeof fractions / sizeof *fractions; i++) {
        size_t length = strlen(fractions[i].from);
        if (strncmp(at, fractions[i].from, length) != 0) continue;
        *top = fractions[i].top;
        *bottom = fractions[i].bottom;
        return length;
    }
    return 0;
}
