/* Units by their usual abbreviations, in one order: "m/s", "meters per second" and "m s^{-1}" have
 * the same name. */
#include "eval/answer_units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eval/answer_signs.h"

enum { LONGEST_WORD = 24, MOST_FACTORS = 8, MOST_POWER = 99 };

static const struct {
    const char *word, *name;
} units[] = {
    {"centimeter", "cm"},
    {"centimetre", "cm"},
    {"millimeter", "mm"},
    {"millimetre", "mm"},
    {"kilometer", "km"},
    {"kilometre", "km"},
    {"meter", "m"},
    {"metre", "m"},
    {"kilogram", "kg"},
    {"gram", "g"},
    {"milligram", "mg"},
    {"pound", "lb"},
    {"ounce", "oz"},
    {"hour", "h"},
    {"hr", "h"},
    {"minute", "min"},
    {"second", "s"},
    {"sec", "s"},
    {"feet", "ft"},
    {"foot", "ft"},
    {"inch", "in"},
    {"inche", "in"},
    {"yard", "yd"},
    {"mile", "mi"},
    {"liter", "L"},
    {"litre", "L"},
    {"l", "L"},
    {"milliliter", "mL"},
    {"millilitre", "mL"},
    {"ml", "mL"},
    {"deg", "degree"},
    {"usd", "dollar"},
    {"buck", "dollar"},
    {"yr", "year"},
    {"newton", "N"},
    {"joule", "J"},
    {"watt", "W"},
    {"kilowatt", "kW"},
    {"volt", "V"},
    {"ampere", "A"},
    {"amp", "A"},
    {"kelvin", "K"},
    {"hertz", "Hz"},
    {"pascal", "Pa"},
    {"Omega", "ohm"},
    {"celsius", "degC"},
    {"centigrade", "degC"},
    {"fahrenheit", "degF"},
    {"mph", "mi/h"},
    {"kph", "km/h"},
    {"kmh", "km/h"},
    {"kmph", "km/h"},
    {"of", ""},
    {"the", ""},
};

/* Abbreviations that mean the same in any case, unlike mW and MW. */
static const char *const any_case[] = {"cm", "mm", "km", "kg", "ft", "in", "yd",
                                       "mi", "lb", "oz", "hr", "h",  "s",  "l"};

struct factor {
    char name[LONGEST_WORD];
    int power;
};

struct name {
    struct factor factors[MOST_FACTORS];
    int count;
    int sign;    /* -1 behind a slash or "per" */
    int power;   /* of "square" before the unit: 2; else 1 */
    bool degree; /* the last one was a degree, of what comes next perhaps */
};

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static void add_factor(struct name *name, const char *unit) {
    if (!*unit || name->count == MOST_FACTORS) return;
    struct factor *factor = &name->factors[name->count++];
    snprintf(factor->name, sizeof factor->name, "%s", unit);
    factor->power = name->sign * name->power;
    name->power = 1;
    name->degree = strcmp(unit, "degree") == 0;
}

/* Plurals lose their end, and all but short abbreviations their case. */
static void make_usual(char word[LONGEST_WORD]) {
    size_t length = strlen(word);
    bool lower = length > 2;
    for (size_t i = 0; !lower && i < sizeof any_case / sizeof *any_case; i++)
        lower = strcasecmp(word, any_case[i]) == 0;
    for (size_t i = 0; lower && i < length; i++) word[i] |= 0x20;
    bool plural = length > 2 && word[length - 1] == 's' && word[length - 2] != 'u'; /* Celsius */
    if (plural) word[length - 1] = '\0';
}

static const char *usual_name(const char *word) {
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i].word, word) == 0) return units[i].name;
    return word;
}

/* 25 °C is no degree and no C. */
static bool take_temperature(struct name *name, const char *word) {
    static const struct {
        const char *word, *name;
    } scales[] = {{"C", "degC"},       {"F", "degF"},          {"K", "K"},
                  {"celsius", "degC"}, {"centigrade", "degC"}, {"fahrenheit", "degF"}};
    for (size_t i = 0; name->degree && i < sizeof scales / sizeof *scales; i++)
        if (strcmp(scales[i].word, word) == 0) {
            snprintf(name->factors[name->count - 1].name, LONGEST_WORD, "%s", scales[i].name);
            name->degree = false;
            return true;
        }
    return false;
}

static void take_word(struct name *name, char word[LONGEST_WORD]) {
    make_usual(word);
    const char *unit = usual_name(word), *slash = strchr(unit, '/');
    struct factor *last = name->count ? &name->factors[name->count - 1] : NULL;
    if (take_temperature(name, word)) return;
    if (strcmp(word, "per") == 0) {
        name->sign = -1;
    } else if (strcmp(word, "square") == 0 || strcmp(word, "sq") == 0) {
        name->power = 2;
    } else if (strcmp(word, "cubic") == 0 || strcmp(word, "cu") == 0) {
        name->power = 3;
    } else if (strcmp(word, "squared") == 0 && last) {
        last->power *= 2;
    } else if (strcmp(word, "cubed") == 0 && last) {
        last->power *= 3;
    } else if (slash) {
        char above[LONGEST_WORD];
        snprintf(above, sizeof above, "%.*s", (int)(slash - unit), unit);
        add_factor(name, above);
        name->sign = -1;
        add_factor(name, slash + 1);
    } else {
        add_factor(name, unit);
    }
}

static void take_digit(int *power, bool *minus, char digit) {
    if (digit == '-') *minus = true;
    if (is_digit(digit) && *power < MOST_POWER) *power = 10 * *power + (digit - '0');
}

/* The power that the text gives the last unit, as ^2, ^{-2} or raised signs; its length. */
static size_t take_power(struct name *name, const char *at, size_t length) {
    size_t used = 0, step;
    bool minus = false;
    int power = 0;
    char digit;
    for (; used < length && (step = answer_raised_sign(&digit, at + used)); used += step)
        take_digit(&power, &minus, digit);
    if (used == 0) {
        bool braces = length > 1 && at[1] == '{';
        used = 1 + braces;
        for (; used < length && (is_digit(at[used]) || at[used] == '-'); used++)
            take_digit(&power, &minus, at[used]);
        if (braces && used < length && at[used] == '}') used++;
    }
    if (power) name->factors[name->count - 1].power *= minus ? -power : power;
    return used;
}

/* A command, of which the name of a degree is kept. */
static size_t take_command(struct name *name, const char *at, size_t length) {
    size_t count = 1;
    while (count < length && is_letter(at[count])) count++;
    bool degree = (count == 5 && memcmp(at, "\\circ", 5) == 0) ||
                  (count == 7 && memcmp(at, "\\degree", 7) == 0);
    if (degree) add_factor(name, "degree");
    if (count == 6 && memcmp(at, "\\Omega", 6) == 0) add_factor(name, "ohm");
    return count;
}

/* A sign of its own: degrees, and what stands between units. */
static size_t take_sign(struct name *name, const char *at, size_t length) {
    static const struct {
        const char *sign, *unit;
    } signs[] = {{"\xc2\xb0", "degree"},   {"\xc2\xba", "degree"},  {"\xe2\x84\x83", "degC"},
                 {"\xe2\x84\x89", "degF"}, {"\xe2\x84\xa6", "ohm"}, {"\xce\xa9", "ohm"}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        size_t count = strlen(signs[i].sign);
        if (length < count || memcmp(at, signs[i].sign, count) != 0) continue;
        add_factor(name, signs[i].unit);
        return count;
    }
    bool fraction = *at == '}' && length > 1 && at[1] == '{'; /* \frac{m}{s} */
    if (*at == '/' || fraction) name->sign = -1;
    return 1 + fraction;
}

static int by_name(const void *a, const void *b) {
    const struct factor *left = a, *right = b;
    int order = strcmp(left->name, right->name);
    return order ? order : (left->power > right->power) - (left->power < right->power);
}

void answer_unit_name(char out[64], const char *text, size_t length) {
    struct name name = {.sign = 1, .power = 1};
    for (size_t i = 0; i < length;) {
        char word[LONGEST_WORD], digit;
        size_t letters = 0;
        while (i + letters < length && is_letter(text[i + letters])) letters++;
        snprintf(word, sizeof word, "%.*s", (int)letters, text + i);
        bool power = text[i] == '^' || answer_raised_sign(&digit, text + i);
        if (letters)
            take_word(&name, word);
        else if (power && name.count)
            letters = take_power(&name, text + i, length - i);
        else if (text[i] == '\\')
            letters = take_command(&name, text + i, length - i);
        else
            letters = take_sign(&name, text + i, length - i);
        i += letters;
    }
    qsort(name.factors, (size_t)name.count, sizeof *name.factors, by_name);
    size_t used = 0;
    *out = '\0';
    for (int i = 0; i < name.count && used < 64; i++)
        used += (size_t)snprintf(out + used, 64 - used, "%s%s%d", i ? " " : "",
                                 name.factors[i].name, name.factors[i].power);
}

bool answer_unit_is_known(const char *text, size_t length) {
    char word[LONGEST_WORD];
    if (length >= sizeof word) return false;
    snprintf(word, sizeof word, "%.*s", (int)length, text);
    make_usual(word);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(units[i].word, word) == 0 || strcmp(units[i].name, word) == 0) return true;
    return strcmp(word, "mol") == 0 || strcmp(word, "rad") == 0 || strcmp(word, "day") == 0;
}

static bool is_word(const char *text, size_t length, const char *word) {
    return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

const char *answer_unit_multiplier(const char *text, size_t length) {
    static const struct {
        const char *word, *digits;
    } words[] = {{"dozen", "12"},        {"hundred", "100"},        {"thousand", "1000"},
                 {"million", "1000000"}, {"billion", "1000000000"}, {"trillion", "1000000000000"},
                 {"thousands", "1000"},  {"millions", "1000000"},   {"billions", "1000000000"},
                 {"hundreds", "100"},    {"dozens", "12"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(text, length, words[i].word)) return words[i].digits;
    return NULL;
}

bool answer_unit_is_number(const char *text, size_t length) {
    static const char *const words[] = {
        "half",      "halves",     "thirds",   "fourths",   "fifths",     "sixths",
        "sevenths",  "eighths",    "ninths",   "tenths",    "hundredths", "thousandths",
        "factorial", "plus",       "minus",    "over",      "divided",    "below",
        "under",     "negative",   "zero",     "than",      "inverse",    "root",
        "power",     "mod",        "modulo",   "base",      "remainder",  "multiplied",
        "dozen",     "dozens",     "hundred",  "thousand",  "million",    "billion",
        "trillion",  "reciprocal", "millions", "thousands", "billions",   "hundreds"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (is_word(text, length, words[i])) return true;
    return false;
}
