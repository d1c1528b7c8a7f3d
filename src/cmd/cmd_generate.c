#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/quote.h"
#include "cli/document.h"
#include "cli/options.h"
#include "cmd/commands.h"
#include "generate/generate.h"
#include "generate/prompts.h"

struct generate_options {
    const char *model, *prompts, *template, *device;
    struct string_list prompt, stop;
    int64_t max_tokens, top_k, seed, batch, random_seed;
    double temperature, top_p;
    bool chat, ignore_end, no_special, json;
};

struct job {
    const struct generate_options *options;
    struct backend *backend;
    struct model *model;
    struct tokenizer *tokenizer;
    struct chat_style style;
    bool chats, has_chat_end;
    struct prompt_list list;
    struct generate_output *outputs; /* [list.count] */
    struct generate_statistics statistics;
    uint32_t chat_end;
};

static enum status check(const struct generate_options *options,
                         const struct command_arguments *arguments) {
    if (!options->prompt.count == !options->prompts)
        return status_set(STATUS_USAGE, "generate: --prompt or --prompts is needed, and not both");
    return STATUS_OK;
}

static enum status read_prompts(struct job *job) {
    const struct generate_options *options = job->options;
    enum status status = STATUS_OK;
    job->chats = options->chat || options->template;
    if (job->chats) status = chat_style_open(&job->style, options->model, options->template);
    struct prompt_rules rules = {job->tokenizer, job->chats ? &job->style : NULL,
                                 options->no_special ? TOKENIZER_PLAIN : TOKENIZER_BEGIN};
    job->has_chat_end = !status && prompts_end_id(&job->chat_end, &rules);
    for (size_t i = 0; !status && i < options->prompt.count; i++)
        status = prompts_add(&job->list, &rules, options->prompt.values[i]);
    if (!status && options->prompts) status = prompts_read(&job->list, &rules, options->prompts);
    return status;
}

/* A model may write anything, also what a terminal would carry out: there it is shown instead. */
static void write_text(const char *bytes, size_t length) {
    struct text text = {0};
    if (isatty(STDOUT_FILENO)) {
        quote_terminal_text(&text, bytes, length);
        fwrite(text.bytes, 1, text.length, stdout);
    } else {
        fwrite(bytes, 1, length, stdout);
    }
    text_free(&text);
}

/* One prompt's text goes out as it comes. */
static void print_piece(void *context, size_t index, const char *text, size_t length,
                        bool finished) {
    (void)context;
    (void)index;
    write_text(text, length);
    if (finished) putchar('\n');
    fflush(stdout);
}

static enum status run(struct job *job) {
    const struct generate_options *options = job->options;
    struct generate_settings settings = generate_defaults();
    settings.max_tokens = options->max_tokens;
    settings.sampling = (struct sampling){.temperature = options->temperature,
                                          .top_p = options->top_p,
                                          .top_k = (int)options->top_k,
                                          .seed = (uint64_t)options->seed};
    settings.batch = (int)options->batch;
    settings.tokenizer = job->tokenizer;
    settings.use_model_stops = !options->ignore_end;
    settings.stop_strings = options->stop.values;
    settings.stop_string_count = options->stop.count;
    if (job->has_chat_end && !options->ignore_end) {
        settings.stop_ids = &job->chat_end;
        settings.stop_id_count = 1;
    }
    if (job->list.count == 1 && !options->json) settings.listener = print_piece;
    job->outputs = memory_calloc(job->list.count, sizeof *job->outputs);
    if (!job->outputs) return STATUS_FAILED;
    return generate_run(job->outputs, job->model, job->list.prompts, job->list.count, &settings,
                        &job->statistics);
}

static double rate(int64_t count, double seconds) {
    return seconds > 0 ? (double)count / seconds : 0;
}

static void print_text(const struct job *job) {
    for (size_t i = 0; job->list.count > 1 && i < job->list.count; i++) {
        const struct generate_output *output = &job->outputs[i];
        printf("--- %zu: %zu tokens, %s\n", i + 1, output->count, generate_stop_name(output->stop));
        write_text(output->text, output->length);
        putchar('\n');
    }
    const struct generate_statistics *s = &job->statistics;
    log_note("%" PRId64 " prompt tokens at %.0f/s, %" PRId64 " new ones at %.0f/s, %d at a time",
             s->prompt_tokens, rate(s->prompt_tokens, s->prefill_seconds), s->new_tokens,
             rate(s->new_tokens, s->decode_seconds + s->prefill_seconds), s->batch);
}

static struct json *output_json(const struct job *job, size_t index) {
    const struct generate_output *output = &job->outputs[index];
    struct json *item = js_new_object(), *ids = js_new_array();
    if (job->list.texts[index])
        js_set(item, "prompt", js_new_bytes(job->list.texts[index], job->list.lengths[index]));
    js_set_integer(item, "prompt_tokens", (int64_t)job->list.prompts[index].count);
    js_set(item, "text", js_new_bytes(output->text, output->length));
    for (size_t i = 0; i < output->count; i++) js_append(ids, js_new_integer(output->ids[i]));
    js_set(item, "ids", ids);
    js_set_string(item, "stop", generate_stop_name(output->stop));
    return item;
}

static enum status print_json(const struct job *job) {
    const struct generate_statistics *s = &job->statistics;
    struct json *document = document_begin("generate"), *outputs = js_new_array();
    js_set_string(document, "model", job->options->model);
    js_set_string(document, "device", job->backend->name);
    if (job->chats) js_set_string(document, "template", chat_kind_name(job->style.kind));
    for (size_t i = 0; i < job->list.count; i++) js_append(outputs, output_json(job, i));
    js_set(document, "outputs", outputs);
    js_set_integer(document, "batch", s->batch);
    js_set_integer(document, "prompt_tokens", s->prompt_tokens);
    js_set_integer(document, "new_tokens", s->new_tokens);
    js_set_number(document, "prefill_seconds", s->prefill_seconds);
    js_set_number(document, "decode_seconds", s->decode_seconds);
    return document_print(document);
}

static enum status generate(const struct generate_options *options) {
    struct job job = {.options = options};
    struct checkpoint_options checkpoint = {.random_weights = options->random_seed >= 0,
                                            .seed = (uint64_t)options->random_seed};
    enum status status = tokenizer_read(&job.tokenizer, options->model);
    if (!status) status = read_prompts(&job);
    if (!status) status = backend_open(&job.backend, options->device);
    if (!status) status = model_open(&job.model, job.backend, options->model, &checkpoint);
    if (!status) status = run(&job);
    if (!status && options->json)
        status = print_json(&job);
    else if (!status)
        print_text(&job);
    if (job.outputs) generate_free(job.outputs, job.list.count);
    free(job.outputs);
    prompts_free(&job.list);
    chat_style_free(&job.style);
    model_close(job.model);
    if (job.backend) job.backend->close(job.backend);
    tokenizer_free(job.tokenizer);
    return status;
}

enum status cmd_generate(int argc, char **argv) {
    struct generate_options values = {
        .device = "auto", .max_tokens = 256, .top_p = 1, .batch = 8, .random_seed = -1};
    struct option table[] = {
        {"prompt", OPTION_LIST, &values.prompt, "TEXT", "continue this text; may be repeated",
         .group = GROUP_FILES},
        {"prompts", OPTION_STRING, &values.prompts, "FILE.jsonl",
         "lines with \"prompt\", \"messages\" or \"ids\"", .group = GROUP_FILES,
         .completes = "*.jsonl"},
        {"max-tokens", OPTION_COUNT, &values.max_tokens, "N", "new tokens a prompt (256)", .low = 1,
         .high = INT32_MAX, .group = GROUP_SAMPLING},
        {"temperature", OPTION_NUMBER, &values.temperature, "T",
         "sample at this temperature; 0: the most likely token (0)", .group = GROUP_SAMPLING},
        {"top-p", OPTION_NUMBER, &values.top_p, "P",
         "sample from the fewest tokens with this probability (1)", .group = GROUP_SAMPLING},
        {"top-k", OPTION_COUNT, &values.top_k, "K", "sample from the K most likely; 0: all (0)",
         .high = INT32_MAX, .group = GROUP_SAMPLING},
        {"seed", OPTION_INTEGER, &values.seed, "N", "of the samples (0)", .high = INT64_MAX,
         .group = GROUP_SAMPLING},
        {"batch", OPTION_COUNT, &values.batch, "N", "sequences at a time (8)", .low = 1,
         .high = 4096, .group = GROUP_MACHINE},
        {"chat", OPTION_FLAG, &values.chat, NULL, "prompts are messages: use the model's template",
         .group = GROUP_FILES},
        {"template", OPTION_STRING, &values.template, "FILE|NAME",
         "chat with this Jinja template, or the model's of this name", .group = GROUP_FILES,
         .completes = "*.jinja"},
        {"stop", OPTION_LIST, &values.stop, "TEXT", "end before this text; may be repeated",
         .group = GROUP_SAMPLING},
        {"ignore-end", OPTION_FLAG, &values.ignore_end, NULL, "go on after tokens that end a text",
         .group = GROUP_SAMPLING},
        {"no-special", OPTION_FLAG, &values.no_special, NULL,
         "do not begin with what the tokenizer's template adds, such as <s>",
         .group = GROUP_SAMPLING},
        {"device", OPTION_STRING, &values.device, "auto|cpu|cuda[:N]", "where to compute (auto)",
         .group = GROUP_MACHINE, .choices = "auto|cpu|cuda"},
        {"random-weights", OPTION_INTEGER, &values.random_seed, "SEED",
         "draw MODEL's weights from N(0, 0.02): only config.json and tokenizer.json are needed",
         .high = INT64_MAX, .group = GROUP_FILES},
    };
    struct command_line line = {
        .command = "generate",
        .completes = COMPLETE_DIRECTORY,
        .usage = "MODEL --prompt TEXT|--prompts FILE.jsonl [options]",
        .about =
            "Continue prompts with a transformer or a hybrid. One prompt's text is printed as "
            "it comes,\nseveral prompts' texts at the end, in their order. The same seed gives "
            "the same text\nwhatever the batch (up to 32 on the CPU; on a GPU near ties may "
            "turn).",
        .options = table,
        .count = sizeof table / sizeof *table,
        .epilogue =
            "example:\n  apriel-tool generate recipes/demo-model --prompt \"Natalia sold\" \\\n"
            "      --max-tokens 40",
    };
    struct command_arguments arguments;
    enum status status = options_parse(&arguments, &line, argc, argv);
    if (!status && !arguments.help) status = options_one_model(&arguments, &line);
    if (!status && !arguments.help) status = check(&values, &arguments);
    if (!status && !arguments.help) {
        values.model = arguments.positional.values[0];
        values.json = arguments.json;
        status = generate(&values);
    }
    options_free(&arguments, &line);
    return status;
}
