#define _GNU_SOURCE
#include "template/chat_class.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* As of transformers 5: tests/oracle/special_tokens.py compares. */
static const struct {
    const char *name, *bos, *eos, *unk, *pad;
} classes[] = {
    {"LlamaTokenizer", "<s>", "</s>", "<unk>", NULL},
    {"CodeLlamaTokenizer", "<s>", "</s>", "<unk>", NULL},
    {"GPT2Tokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL},
    {"CodeGenTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", NULL},
    {"GPTNeoXTokenizer", "<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "<|padding|>"},
    {"Qwen2Tokenizer", NULL, "<|endoftext|>", "<|endoftext|>", "<|endoftext|>"},
    {"GemmaTokenizer", "<bos>", "<eos>", "<unk>", "<pad>"},
    {"CohereTokenizer", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "<PAD>"},
};

/* The class of a model that names none of its own; `always`: whatever it names. */
static const struct {
    const char *model, *name;
    bool always;
} models[] = {
    {"qwen2", "Qwen2Tokenizer", true},        {"mistral", NULL, true},
    {"qwen3", "Qwen2Tokenizer", false},       {"qwen2_moe", "Qwen2Tokenizer", false},
    {"qwen3_moe", "Qwen2Tokenizer", false},   {"gpt2", "GPT2Tokenizer", false},
    {"gemma", "GemmaTokenizer", false},       {"gemma2", "GemmaTokenizer", false},
    {"gemma3_text", "GemmaTokenizer", false}, {"cohere", "CohereTokenizer", false},
    {"gpt_neox", "GPTNeoXTokenizer", false},
};

static bool same(const char *a, size_t length, const char *b) {
    return b && strlen(b) == length && strncmp(a, b, length) == 0;
}

/* "Fast" at the end of a class's name does not matter. */
static size_t class_length(const char *name) {
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, "Fast") == 0 ? length - 4 : length;
}

/* Files of Llama 3 that call themselves LlamaTokenizer are taken for no class. */
static enum status is_byte_level(bool *out, const char *directory) {
    char *path = file_join(directory, "tokenizer.json"), *text = NULL;
    size_t length = 0;
    enum status status = path ? STATUS_OK : STATUS_FAILED;
    *out = false;
    if (!status && file_exists(path)) status = file_read(&text, &length, path);
    if (text) *out = memmem(text, length, "\"ByteLevel\"", strlen("\"ByteLevel\"")) != NULL;
    free(text);
    free(path);
    return status;
}

static enum status read_model_type(struct json **out, const char *directory) {
    char *path = file_join(directory, "config.json");
    enum status status = path ? STATUS_OK : STATUS_FAILED;
    *out = NULL;
    if (!status && file_exists(path)) status = js_read(out, path);
    free(path);
    return status;
}

static void set_default(struct json *variables, const struct json *config, const char *name,
                        const char *token) {
    if (token && !js_has(config, name)) js_set_string(variables, name, token);
}

enum status chat_class_tokens(struct json *variables, const char *directory,
                              const struct json *config) {
    struct json *model;
    enum status status = read_model_type(&model, directory);
    if (status) return status;
    const char *type = js_string_or(js_member(model, "model_type"), "");
    const char *name = js_string_or(js_member(config, "tokenizer_class"), "");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].model, type) == 0 && (models[i].always || !*name))
            name = models[i].name ? models[i].name : "";
    size_t length = class_length(name);
    bool bytes = false;
    if (same(name, length, "LlamaTokenizer")) status = is_byte_level(&bytes, directory);
    for (size_t i = 0; !status && !bytes && i < sizeof classes / sizeof *classes; i++) {
        if (!same(name, length, classes[i].name)) continue;
        set_default(variables, config, "bos_token", classes[i].bos);
        set_default(variables, config, "eos_token", classes[i].eos);
        set_default(variables, config, "unk_token", classes[i].unk);
        set_default(variables, config, "pad_token", classes[i].pad);
    }
    js_free(model);
    return status;
}
