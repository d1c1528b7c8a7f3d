#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/next.h"
#include "cli/options.h"
#include "cli/output_option.h"
#include "cmd/commands.h"
#include "data/dataset.h"

struct data_options {
    const char *tokenizer, *output, *end, *separator, *fields, *format, *template;
    int64_t seq_len, limit_tokens, shuffle; /* shuffle -1: keep the order */
    bool no_pack, no_special, force;
};

static void print_text(const struct dataset_report *report, const struct dataset_options *options) {
    quote_print(stdout, "wrote %s", options->output);
    printf("rows        %12" PRIu64 "   of up to %" PRIu64 " tokens\n", report->rows,
           report->longest_row);
    printf("tokens      %12" PRIu64 "   of a vocabulary of %" PRIu64 "\n", report->tokens,
           report->vocab_size);
    if (report->has_mask)
        printf("masked in   %12" PRIu64 "   tokens of responses count, prompts do not\n",
               report->masked_tokens);
    printf("records     %12" PRIu64 "\n", report->records);
    if (report->empty_records)
        printf("empty       %12" PRIu64 "   records without text, left out\n",
               report->empty_records);
    if (report->tool_records)
        printf("with tools  %12" PRIu64 "   conversations, without what is of tools\n",
               report->tool_records);
    if (report->lost_answers)
        printf("lost        %12" PRIu64 "   answers, whose place is not known\n",
               report->lost_answers);
    if (report->joined_records)
        printf("joined      %12" PRIu64 "   prompts, whose last token the completion changes\n",
               report->joined_records);
    if (report->cut_rows)
        printf("cut         %12" PRIu64 "   rows, to %" PRIu64 " tokens\n", report->cut_rows,
               options->seq_len);
    if (report->dropped_tokens)
        printf("dropped     %12" PRIu64 "   tokens at the end, too few for a row\n",
               report->dropped_tokens);
    if (report->long_rows)
        printf("too long    %12" PRIu64 "   rows, of more than the model's %" PRIu64 " tokens\n",
               report->long_rows, report->context);
    if (options->shuffled)
        printf("shuffled    %12" PRIu64 "   is the seed\n", options->shuffle_seed);
    if (report->limited) printf("stopped at --limit-tokens %" PRIu64 "\n", options->limit_tokens);
    printf("time        %12.2f s, %.0f tokens/s\n", report->seconds,
           (double)report->tokens / report->seconds);
}

static enum status print_json(const struct dataset_report *report,
                              const struct dataset_options *options) {
    struct json *document = document_begin("data");
    js_set_string(document, "output", options->output);
    js_set_integer(document, "rows", (int64_t)report->rows);
    js_set_integer(document, "tokens", (int64_t)report->tokens);
    js_set_integer(document, "longest_row", (int64_t)report->longest_row);
    js_set_bool(document, "loss_mask", report->has_mask);
    js_set_integer(document, "masked_tokens", (int64_t)report->masked_tokens);
    js_set_integer(document, "records", (int64_t)report->records);
    js_set_integer(document, "empty_records", (int64_t)report->empty_records);
    js_set_integer(document, "tool_records", (int64_t)report->tool_records);
    js_set_integer(document, "lost_answers", (int64_t)report->lost_answers);
    js_set_integer(document, "joined_records", (int64_t)report->joined_records);
    js_set_integer(document, "cut_rows", (int64_t)report->cut_rows);
    js_set_integer(document, "long_rows", (int64_t)report->long_rows);
    if (report->context) js_set_integer(document, "model_tokens", (int64_t)report->context);
    if (options->shuffled) js_set_integer(document, "shuffle", (int64_t)options->shuffle_seed);
    js_set_integer(document, "dropped_tokens", (int64_t)report->dropped_tokens);
    js_set_bool(document, "limited", report->limited);
    js_set_integer(document, "vocab_size", (int64_t)report->vocab_size);
    js_set_string(document, "tokenizer_sha256", report->tokenizer_sha256);
    js_set_string(document, "fingerprint", report->fingerprint);
    js_set_number(document, "seconds", report->seconds);
    js_set_number(document, "tokens_per_second", (double)report->tokens / report->seconds);
    return document_print(document);
}

/* A shell makes it hard to pass a newline: \n, \t and \\ stand for what they stand for in C. */
static char *unescape(const char *text) {
    char *out = memory_copy_string(text), *to = out;
    for (const char *from = out; from && *from; from++) {
        const char *known = *from == '\\' && from[1] ? strchr("n\nt\t\\\\", from[1]) : NULL;
        *to++ = known ? known[1] : *from;
        if (known) from++;
    }
    if (to) *to = '\0';
    return out;
}

/* Rows that the model cannot take as a whole are for the user to deal with. */
static void warn_long_rows(const struct dataset_report *report) {
    if (!report->long_rows) return;
    log_warn("%" PRIu64 " of %" PRIu64 " rows are longer than the %" PRIu64
             " tokens that the model takes (up to %" PRIu64
             "): pack the texts with --seq-len %" PRIu64 ", or cut them with --no-pack besides",
             report->long_rows, report->rows, report->context, report->longest_row,
             report->context);
}

static void warn_chats(const struct dataset_report *report) {
    if (report->tool_records)
        log_warn("%" PRIu64
                 " conversation%s with tools: their lists, calls and answers are left out",
                 report->tool_records, report->tool_records == 1 ? "" : "s");
    if (report->lost_answers)
        log_warn("%" PRIu64
                 " answer%s not in the loss: the chat template writes them otherwise once "
                 "more messages follow, so that their place is not known",
                 report->lost_answers, report->lost_answers == 1 ? " is" : "s are");
    if (report->joined_records)
        log_warn("%" PRIu64
                 " prompt%s with the first token of the completion: the loss begins after as many "
                 "tokens as the prompt has by itself",
                 report->joined_records,
                 report->joined_records == 1 ? " is joined" : "s are joined");
}

static enum status check(const struct data_options *values,
                         const struct command_arguments *arguments) {
    int standard = 0;
    if (!values->tokenizer) return status_set(STATUS_USAGE, "data: --tokenizer is needed");
    if (!values->output) return status_set(STATUS_USAGE, "data: -o is needed");
    if (arguments->positional.count == 0)
        return status_set(STATUS_USAGE, "data: name at least one input file (see apriel-tool data "
                                        "--help)");
    if (values->no_pack && !values->seq_len)
        return status_set(STATUS_USAGE, "data: --no-pack needs --seq-len");
    for (size_t i = 0; i < arguments->positional.count; i++)
        standard += strcmp(arguments->positional.values[i], "-") == 0;
    if (standard > 1) return status_set(STATUS_USAGE, "data: standard input (-) is read only once");
    return STATUS_OK;
}

static enum status check_output(const struct data_options *values,
                                const struct command_arguments *arguments) {
    const char *others[] = {values->tokenizer, values->template};
    enum status status = output_check(values->output, output_option_existing(values->force));
    if (!status) status = output_check_inputs(values->output, others, 2);
    if (status) return status;
    return output_check_inputs(values->output, arguments->positional.values,
                               arguments->positional.count);
}

static void print_next(const struct dataset_options *options) {
    struct text line;
    next_begin(&line, "loo");
    if (file_is_directory(options->tokenizer))
        next_path(&line, NULL, options->tokenizer);
    else
        next_words(&line, "MODEL");
    next_path(&line, "--data", options->output);
    next_words(&line, "--db scores.db");
    next_print(&line, false);
}

static enum status build(const struct data_options *values,
                         const struct command_arguments *arguments) {
    enum input_kind kind = INPUT_BY_NAME;
    struct record_fields fields = {0};
    enum status status = check(values, arguments);
    if (!status && values->format) status = input_kind_parse(&kind, values->format);
    if (!status) status = check_output(values, arguments);
    if (!status && values->fields) status = record_fields_parse(&fields, values->fields);
    if (status) return status;
    char *separator = values->separator ? unescape(values->separator) : NULL;
    struct dataset_options options = {.tokenizer = values->tokenizer,
                                      .output = values->output,
                                      .inputs = arguments->positional.values,
                                      .input_count = arguments->positional.count,
                                      .kind = kind,
                                      .fields = &fields,
                                      .shuffled = values->shuffle >= 0,
                                      .shuffle_seed = (uint64_t)values->shuffle,
                                      .seq_len = (uint64_t)values->seq_len,
                                      .separate = values->no_pack,
                                      .limit_tokens = (uint64_t)values->limit_tokens,
                                      .end = values->end,
                                      .no_special = values->no_special,
                                      .separator = separator,
                                      .template = values->template};
    struct dataset_report report;
    status = dataset_build(&report, &options);
    if (!status) warn_long_rows(&report);
    if (!status) output_option_report(values->output);
    if (!status) warn_chats(&report);
    if (!status && arguments->json)
        status = print_json(&report, &options);
    else if (!status)
        print_text(&report, &options);
    if (!status) print_next(&options);
    free(separator);
    record_fields_free(&fields);
    return status;
}

enum status cmd_data(int argc, char **argv) {
    struct data_options values = {.shuffle = -1};
    struct option table[] = {
        {"tokenizer", OPTION_STRING, &values.tokenizer, "MODEL|FILE",
         "a model's directory or its tokenizer.json", .group = GROUP_FILES, .completes = "*.json"},
        {"output", OPTION_STRING, &values.output, "FILE.h5", "the token set to write",
         .group = GROUP_FILES, .completes = "*.h5", .letter = 'o'},
        FORCE_OPTION(&values.force),
        {"seq-len", OPTION_COUNT, &values.seq_len, "N",
         "pack the texts into rows of N tokens (one row a record)", .low = 1, .high = INT32_MAX,
         .group = GROUP_TEXT},
        {"no-pack", OPTION_FLAG, &values.no_pack, NULL,
         "with --seq-len: one row a record, cut to N tokens", .group = GROUP_TEXT},
        {"limit-tokens", OPTION_COUNT, &values.limit_tokens, "N",
         "only the first rows, up to N tokens (all)", .low = 1, .high = INT64_MAX,
         .group = GROUP_TEXT},
        {"shuffle", OPTION_INTEGER, &values.shuffle, "SEED",
         "put the rows into random order, so that the last ones are a sample (as read)",
         .high = INT64_MAX, .group = GROUP_TEXT},
        {"fields", OPTION_STRING, &values.fields, "ROLE=NAME,...",
         "which fields to read: prompt=question,response=answer, text=content",
         .group = GROUP_TEXT},
        {"format", OPTION_STRING, &values.format, "text|lines|json",
         "what the inputs are (by their names)", .group = GROUP_TEXT, .choices = "text|lines|json"},
        {"end", OPTION_STRING, &values.end, "TOKEN|none",
         "end every text with this token (the model's own when packing)", .group = GROUP_TEXT},
        {"no-special", OPTION_FLAG, &values.no_special, NULL,
         "do not add the tokenizer's own tokens, such as <s>", .group = GROUP_TEXT},
        {"template", OPTION_STRING, &values.template, "FILE|NAME",
         "the chat template of conversations (the model's)", .group = GROUP_TEXT,
         .completes = "*.jinja"},
        {"separator", OPTION_STRING, &values.separator, "TEXT",
         "between prompt and response; \\n and \\t are understood (nothing)", .group = GROUP_TEXT},
    };
    struct command_line line = {
        .command = "data",
        .completes = COMPLETE_FILE,
        .usage = "--tokenizer MODEL|tokenizer.json -o FILE.h5 [options] INPUT...",
        .about =
            "Turn text into a token set (HDF5), the input of loo, mmr and eval. "
            "INPUT is .txt (one\ndocument), .jsonl (a record a line) or .json (a list), also with "
            ".gz behind, or - (standard\ninput). A record is {\"text\": ...}; {\"prompt\": ..., "
            "\"response\": ...} or {\"instruction\": ...,\n\"input\": ..., \"output\": ...}, where "
            "only the response counts in the loss; {\"prompt\": ...,\n\"completion\": ...} or "
            "{\"prompt\": ..., \"chosen\": ..., \"rejected\": ...}, as TRL has "
            "them;\n{\"messages\": "
            "[...]} or {\"conversations\": [...]}, through the model's chat template, where\nonly "
            "the "
            "assistant's answers count; or {\"ids\": [...]}, taken as it is, a row of its own.\n"
            "--fields gives other names.",
        .options = table,
        .count = sizeof table / sizeof *table,
        .epilogue = "example:\n  apriel-tool data --tokenizer recipes/demo-model -o rows.h5 \\\n"
                    "      --seq-len 256 texts.jsonl",
    };
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = build(&values, &arguments);
    options_free(&arguments, &line);
    return status;
}
