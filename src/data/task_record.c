#include "data/task_record.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"
#include "base/text.h"
#include "data/task_field.h"

/* AI2's own files have the text as the question's "stem". */
static enum status get_text(const char **out, const struct json *object, const char *const *names) {
    const struct json *value = task_field(object, names);
    if (js_is_object(value)) value = js_member(value, "stem");
    if (!value) return status_fail("\"%s\" is missing", *names);
    if (!js_is_string(value) || strlen(js_string_or(value, "")) != js_string_length(value))
        return status_fail("\"%s\" must be a string without NUL", *names);
    *out = js_string_or(value, "");
    return STATUS_OK;
}

static enum status add_choice(struct task_record *out, const struct json *value) {
    const char *text = js_string_or(value, NULL);
    if (!text || strlen(text) != js_string_length(value))
        return status_fail("a choice must be a string without NUL");
    if (out->count == TASK_MAX_CHOICES)
        return status_fail("more than %d choices", TASK_MAX_CHOICES);
    out->continuations[out->count] = memory_copy_string(text);
    return out->continuations[out->count++] ? STATUS_OK : STATUS_FAILED;
}

/* The record's list of choices, if it has one; `*labels` are their names, `*own` where each choice
 * is an object of its own, as in AI2's files. */
static const struct json *find_list(const struct json **labels, bool *own,
                                    const struct json *object) {
    static const char *const lists[] = {"choices", "endings", "options", NULL};
    static const char *const questions[] = {"question", NULL};
    const struct json *list = task_field(object, lists);
    if (!list) list = js_member(task_field(object, questions), "choices");
    if (js_is_object(list)) {
        *labels = js_member(list, "label");
        return js_member(list, "text");
    }
    *own = js_is_object(js_element(list, 0));
    if (*own) *labels = list;
    return list;
}

/* Choices in fields of their own. */
static enum status get_separate(struct task_record *out, bool *from_one,
                                const struct json *object) {
    static const char *const fields[][5] = {
        {"sol1", "sol2"}, {"option1", "option2"}, {"A", "B", "C", "D"}};
    for (int i = 0; i < 3; i++) {
        if (!js_member(object, fields[i][0]) || !js_member(object, fields[i][1])) continue;
        *from_one = i == 1;
        enum status status = STATUS_OK;
        for (int k = 0; !status && fields[i][k] && js_member(object, fields[i][k]); k++)
            status = add_choice(out, js_member(object, fields[i][k]));
        return status;
    }
    return STATUS_OK;
}

/* `*labels` is the list of the choices' names, where the record has one; `*from_one` tells that
 * answers count from 1. */
static enum status get_choices(struct task_record *out, const struct json **labels, bool *from_one,
                               const struct json *object) {
    enum status status = STATUS_OK;
    bool own = false;
    *labels = NULL;
    *from_one = false;
    const struct json *list = find_list(labels, &own, object);
    if (list && !js_is_array(list)) return status_fail("\"choices\" must be a list of strings");
    for (size_t i = 0; !status && i < js_count(list); i++)
        status =
            add_choice(out, own ? js_member(js_element(list, i), "text") : js_element(list, i));
    if (!list) status = get_separate(out, from_one, object);
    if (!status && out->count < 2) status = status_fail("a record needs at least two \"choices\"");
    return status;
}

static int label_index(const struct json *labels, const char *text) {
    for (size_t i = 0; i < js_count(labels); i++) {
        const struct json *label = js_element(labels, i);
        if (js_is_object(label)) label = js_member(label, "label");
        if (strcmp(js_string_or(label, ""), text) == 0) return (int)i;
    }
    return -1;
}

/* An index from 0, a choice's label, a letter, or digits. */
static enum status get_gold(struct task_record *out, const struct json *object,
                            const struct json *labels, bool from_one) {
    static const char *const names[] = {"answer", "answerKey", "label", "gold", NULL};
    const struct json *value = task_field(object, names);
    if (!value) return status_fail("\"answer\" is missing");
    char *text = task_field_text(value, "answer");
    int64_t gold = -1;
    if (!text) return STATUS_FAILED;
    if (js_is_array(labels)) gold = label_index(labels, text); /* also 2 for the label "2" */
    bool index = gold < 0 && !(js_is_array(labels) && js_is_string(value));
    if (index && *text >= 'A' && *text <= 'Z' && !text[1])
        gold = *text - 'A';
    else if (index && *text >= '0' && *text <= '9' && (!text[1] || !js_is_string(value)))
        gold = atoll(text) - (from_one && (js_is_string(value) || js_member(object, "answer")));
    free(text);
    if (gold < 0 || gold >= out->count)
        return status_fail("\"answer\" names none of the %d choices", out->count);
    out->gold = (int)gold;
    return STATUS_OK;
}

/* ---- text */

/* A copy without blanks at its ends. */
static char *strip(const char *text) {
    static const char blanks[] = " \t\r\n\v\f";
    text += strspn(text, blanks);
    size_t length = strlen(text);
    while (length && strchr(blanks, text[length - 1])) length--;
    return memory_copy_bytes(text, length);
}

/* HellaSwag's texts: headings and marks in brackets are left from WikiHow. Takes `text` over. */
static char *clean(char *text) {
    char *stripped = text ? strip(text) : NULL;
    free(text);
    if (!stripped) return NULL;
    struct text out = {0};
    bool blank = false; /* the last character put was the first of a pair of blanks */
    text_append(&out, "%s", "");
    for (const char *at = stripped; *at;) {
        const char *end;
        char byte = *at;
        if (strncmp(at, " [title]", 8) == 0) {
            /* ". ": its blank can pair with one that follows */
            text_append(&out, ".");
            byte = ' ';
            at += 8;
        } else if (*at == '[' && (end = strchr(at, ']')) && !memchr(at, '\n', (size_t)(end - at))) {
            at = end + 1;
            continue;
        } else {
            at++;
        }
        if (byte == ' ' && blank) {
            blank = false;
            continue;
        }
        text_append_bytes(&out, &byte, 1);
        blank = byte == ' ';
    }
    free(stripped);
    return text_finish(&out);
}

/* As Python's str.capitalize: the first letter in title case, the others small. */
static void append_capitalized(struct text *out, const char *text) {
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(text);
    for (bool first = true; left > 0; first = false) {
        utf8proc_int32_t code;
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t taken = utf8proc_iterate(at, left, &code);
        if (taken <= 0) { /* not UTF-8: the tokenizer will say so */
            text_append_bytes(out, (const char *)at, (size_t)left);
            return;
        }
        code = first ? utf8proc_totitle(code) : utf8proc_tolower(code);
        text_append_bytes(out, (const char *)bytes, (size_t)utf8proc_encode_char(code, bytes));
        at += taken;
        left -= taken;
    }
}

/* ---- the tasks */

static enum status set_contexts(struct task_record *out, char *context) {
    for (int i = 0; context && i < out->count; i++) {
        out->contexts[i] = i + 1 < out->count ? memory_copy_string(context) : context;
        if (!out->contexts[i]) {
            free(context);
            return STATUS_FAILED;
        }
    }
    return context ? STATUS_OK : STATUS_FAILED;
}

static const char *const question_names[] = {"context", "question", "question_stem",
                                             "goal",    "ctx",      NULL};

static enum status question_and_answer(struct task_record *out, const struct json *object) {
    const char *question;
    enum status status = get_text(&question, object, question_names);
    if (status) return status;
    return set_contexts(out, text_format("Question: %s\nAnswer:", question));
}

static enum status plain_choice(struct task_record *out, const struct json *object) {
    const char *context;
    enum status status = get_text(&context, object, question_names);
    return status ? status : set_contexts(out, memory_copy_string(context));
}

static enum status hellaswag(struct task_record *out, const struct json *object) {
    const char *activity = js_string_or(js_member(object, "activity_label"), NULL);
    const char *first = js_string_or(js_member(object, "ctx_a"), NULL);
    const char *second = js_string_or(js_member(object, "ctx_b"), NULL);
    struct text context = {0};
    enum status status = STATUS_OK;
    if (activity) text_append(&context, "%s: ", activity);
    if (first && second) {
        text_append(&context, "%s ", first);
        append_capitalized(&context, second);
    } else {
        status = get_text(&first, object, question_names);
        if (!status) text_append(&context, "%s", first);
    }
    char *whole = text_finish(&context);
    if (status) {
        free(whole);
        return status;
    }
    status = set_contexts(out, clean(whole));
    for (int i = 0; !status && i < out->count; i++) {
        out->continuations[i] = clean(out->continuations[i]);
        if (!out->continuations[i]) status = STATUS_FAILED;
    }
    return status;
}

/* What differs is the context; what is scored is the rest of the sentence. */
static enum status winogrande(struct task_record *out, const struct json *object) {
    static const char *const names[] = {"context", "sentence", NULL};
    const char *sentence;
    enum status status = get_text(&sentence, object, names);
    if (status) return status;
    const char *gap = strchr(sentence, '_');
    if (!gap) return status_fail("the sentence has no gap \"_\"");
    for (int i = 0; i < out->count; i++) {
        out->contexts[i] =
            text_format("%.*s%s", (int)(gap - sentence), sentence, out->continuations[i]);
        free(out->continuations[i]);
        out->continuations[i] = strip(gap + 1);
        if (!out->contexts[i] || !out->continuations[i]) return STATUS_FAILED;
    }
    return STATUS_OK;
}

static enum status mmlu(struct task_record *out, const struct json *object) {
    const char *question;
    enum status status = get_text(&question, object, question_names);
    if (!status && out->count > 26) status = status_fail("more than 26 choices");
    if (status) return status;
    struct text context = {0};
    char *stripped = strip(question);
    text_append(&context, "%s\n", stripped ? stripped : "");
    for (int i = 0; i < out->count; i++) {
        text_append(&context, "%c. %s\n", 'A' + i, out->continuations[i]);
        free(out->continuations[i]);
        out->continuations[i] = text_format("%c", 'A' + i);
        if (!out->continuations[i]) status = STATUS_FAILED;
    }
    text_append(&context, "Answer:");
    char *whole = text_finish(&context);
    if (!stripped) status = STATUS_FAILED;
    free(stripped);
    if (status) {
        free(whole);
        return status;
    }
    status = set_contexts(out, whole);
    const char *subject = js_string_or(js_member(object, "subject"), NULL);
    if (status || !subject) return status;
    out->category = memory_copy_string(subject);
    out->preamble = text_format(
        "The following are multiple choice questions (with answers) about %s.\n\n", subject);
    for (char *c = out->preamble; c && *c; c++)
        if (*c == '_') *c = ' ';
    return out->category && out->preamble ? STATUS_OK : STATUS_FAILED;
}

static const struct {
    const char *name;
    enum status (*write)(struct task_record *out, const struct json *object);
} tasks[] = {
    {"arc", question_and_answer},
    {"arc_easy", question_and_answer},
    {"arc_challenge", question_and_answer},
    {"piqa", question_and_answer},
    {"hellaswag", hellaswag},
    {"winogrande", winogrande},
    {"mmlu", mmlu},
    {"choice", plain_choice},
};

const char task_choice_names[] =
    "arc, arc_easy, arc_challenge, piqa, hellaswag, winogrande, mmlu, choice";

static int find_task(const char *name) {
    for (int i = 0; i < (int)(sizeof tasks / sizeof *tasks); i++)
        if (strcmp(tasks[i].name, name) == 0) return i;
    return -1;
}

bool task_is_choice(const char *name) {
    return find_task(name) >= 0;
}

enum status task_record_parse(struct task_record *out, const char *name,
                              const struct json *object) {
    *out = (struct task_record){0};
    if (!js_is_object(object)) return status_fail("a record must be a JSON object");
    const struct json *labels;
    bool from_one;
    int task = find_task(name);
    enum status status = get_choices(out, &labels, &from_one, object);
    if (!status) status = get_gold(out, object, labels, from_one);
    if (!status)
        status = task < 0 ? status_fail("no task \"%s\"", name) : tasks[task].write(out, object);
    out->example = task_field_is_example(object);
    if (status) task_record_free(out);
    return status;
}

void task_record_free(struct task_record *record) {
    for (int i = 0; i < record->count; i++) {
        free(record->contexts[i]);
        free(record->continuations[i]);
    }
    free(record->category);
    free(record->preamble);
    *record = (struct task_record){0};
}
