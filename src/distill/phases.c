#include "distill/phases.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    double factor;
} groups[DISTILL_GROUPS] = {
    [DISTILL_MIXER] = {"mixer", 1},         [DISTILL_NORM] = {"norm", 0.1},
    [DISTILL_MLP] = {"mlp", 0.1},           [DISTILL_ATTENTION] = {"attention", 0.1},
    [DISTILL_EMBEDDING] = {"embedding", 0}, [DISTILL_HEAD] = {"head", 0.1},
};

void distill_factors_default(double factors[DISTILL_GROUPS]) {
    for (int group = 0; group < DISTILL_GROUPS; group++) factors[group] = groups[group].factor;
}

/* The length of the next part of a list with commas. */
static size_t part_length(const char *text) {
    return strcspn(text, ",");
}

static enum status parse_factor(double factors[DISTILL_GROUPS], const char *part, size_t length) {
    for (int group = 0; group < DISTILL_GROUPS; group++) {
        size_t name = strlen(groups[group].name);
        if (length <= name + 1 || strncmp(part, groups[group].name, name) != 0 || part[name] != '=')
            continue;
        char *end;
        double value = strtod(part + name + 1, &end);
        if (end != part + length || !isfinite(value) || value < 0) break;
        factors[group] = value;
        return STATUS_OK;
    }
    return status_set(
        STATUS_USAGE,
        "\"%.*s\" is no factor: mixer, norm, mlp, attention, embedding or head, \"=\", "
        "and a number of at least 0",
        (int)length, part);
}

enum status distill_factors_parse(double factors[DISTILL_GROUPS], const char *text) {
    for (;; text++) {
        size_t length = part_length(text);
        enum status status = parse_factor(factors, text, length);
        text += length;
        if (status || !*text) return status;
    }
}

static enum status add_phase(struct distill_phases *out, const char *name, int64_t steps,
                             const double factors[DISTILL_GROUPS], double decay) {
    bool all = strcmp(name, "all") == 0;
    bool any = false;
    if (out->count == DISTILL_PHASES)
        return status_set(STATUS_USAGE, "there can be %d phases at most", DISTILL_PHASES);
    struct distill_phase *phase = &out->list[out->count++];
    *phase = (struct distill_phase){.name = name, .steps = steps};
    for (int group = 0; group < DISTILL_GROUPS; group++) {
        double factor = all || group == DISTILL_MIXER ? factors[group] : 0;
        phase->groups[group] =
            (struct parameter_group){groups[group].name, factor, decay, factor == 0};
        any |= factor > 0;
    }
    return any ? STATUS_OK
               : status_set(STATUS_USAGE, "nothing trains in phase \"%s\": every factor is 0",
                            name);
}

static enum status parse_phase(struct distill_phases *out, const char *part, size_t length,
                               const double factors[DISTILL_GROUPS], double decay) {
    static const char *const names[] = {"mixers", "all"};
    char digits[32] = "";
    int64_t steps = 0;
    for (int i = 0; i < 2; i++) {
        size_t name = strlen(names[i]), rest = length > name ? length - name - 1 : 0;
        if (length < name || strncmp(part, names[i], name) != 0 || part[name] != ':' || !rest ||
            rest >= sizeof digits)
            continue;
        memcpy(digits, part + name + 1, rest);
        char *end;
        errno = 0;
        steps = strtoll(digits, &end, 10);
        if (*end || errno || steps < 1 || steps > 1000000000 || digits[0] < '0' || digits[0] > '9')
            break;
        return add_phase(out, names[i], steps, factors, decay);
    }
    return status_set(STATUS_USAGE,
                      "\"%.*s\" is no phase: write mixers:STEPS or all:STEPS, several with commas",
                      (int)length, part);
}

enum status distill_phases_parse(struct distill_phases *out, const char *text,
                                 const double factors[DISTILL_GROUPS], double decay) {
    *out = (struct distill_phases){0};
    for (;; text++) {
        size_t length = part_length(text);
        enum status status = parse_phase(out, text, length, factors, decay);
        text += length;
        if (status || !*text) return status;
    }
}

int64_t distill_phases_steps(const struct distill_phases *phases) {
    int64_t steps = 0;
    for (int i = 0; i < phases->count; i++) steps += phases->list[i].steps;
    return steps;
}

int distill_phase_of(const struct distill_phases *phases, int64_t step, int64_t *first) {
    int phase = 0;
    *first = 0;
    for (; phase < phases->count - 1 && step >= *first + phases->list[phase].steps; phase++)
        *first += phases->list[phase].steps;
    return phase;
}

struct train_schedule distill_phase_schedule(const struct train_schedule *whole,
                                             const struct distill_phase *phase) {
    struct train_schedule schedule = *whole;
    schedule.steps = phase->steps;
    if (schedule.warmup < 0) schedule.warmup = phase->steps / 20;
    if (schedule.cooldown < 0) schedule.cooldown = phase->steps / 5;
    return schedule;
}

bool distill_layer_is_new(const struct model_config *student, const struct model_config *teacher,
                          int layer) {
    return student->layers[layer].mixer.kind != teacher->layers[layer].mixer.kind;
}

static int mixer_group(const struct model_config *student, const struct model_config *teacher,
                       int layer) {
    return distill_layer_is_new(student, teacher, layer) ? DISTILL_MIXER : DISTILL_ATTENTION;
}

int distill_phase_first(const struct distill_phase *phase, const struct model_config *student,
                        const struct model_config *teacher) {
    const struct parameter_group *group = phase->groups;
    if (!group[DISTILL_EMBEDDING].frozen) return 0;
    for (int l = 0; l < student->n_layers; l++)
        if (!group[DISTILL_NORM].frozen || !group[DISTILL_MLP].frozen ||
            !group[mixer_group(student, teacher, l)].frozen)
            return l;
    return student->n_layers;
}

/* Whether a group trains in any phase. */
static bool trains(const struct distill_phases *phases, int group) {
    for (int i = 0; i < phases->count; i++)
        if (!phases->list[i].groups[group].frozen) return true;
    return false;
}

static enum status add_layer(struct parameters *parameters, const struct distill_phases *phases,
                             struct model *student, const struct model_config *teacher, int index,
                             bool loaded) {
    const struct layer sizes = {.index = index,
                                .mixer.sizes = student->config->layers[index].mixer};
    const struct layer *layer = &sizes;
    int mixer = mixer_group(student->config, teacher, index);
    bool norms = trains(phases, DISTILL_NORM), mlp = trains(phases, DISTILL_MLP);
    enum status status = STATUS_OK;
    if (!norms && !mlp && !trains(phases, mixer)) return STATUS_OK;
    if (loaded) status = model_layer(&layer, student, index);
    if (!status && norms) status = parameters_add_norms(parameters, DISTILL_NORM, layer);
    if (!status && mlp) status = parameters_add_mlp(parameters, DISTILL_MLP, layer);
    if (!status && trains(phases, mixer))
        status = parameters_add_mixer(parameters, mixer, index, &layer->mixer);
    return status;
}

enum status distill_phases_add(struct parameters *parameters, const struct distill_phases *phases,
                               struct model *student, const struct model_config *teacher,
                               bool loaded) {
    enum status status = STATUS_OK;
    bool own_head = !student->config->tie_word_embeddings;
    if (trains(phases, DISTILL_EMBEDDING))
        status = parameters_add_embedding(parameters, DISTILL_EMBEDDING);
    for (int l = 0; !status && l < student->config->n_layers; l++)
        status = add_layer(parameters, phases, student, teacher, l, loaded);
    if (!status && trains(phases, DISTILL_NORM))
        status = parameters_add_final_norm(parameters, DISTILL_NORM);
    if (!status && own_head && trains(phases, DISTILL_HEAD))
        status = parameters_add_head(parameters, DISTILL_HEAD);
    return status;
}
