/* Recorded ops on a backend that only counts: when they are carried out, recorded and replayed. */
#include "check_main.h"
#include "model/recorded.h"

struct graph {
    int op; /* what the ops were when it was recorded */
};

struct counting {
    struct backend base;
    bool records; /* record has something to offer */
    bool keeps;   /* record_end gives a graph */
    bool moved;   /* what graphs refer to */
    bool recording;
    int op;                /* what the ops are now */
    int plain, replayed;   /* times carried out, one way and the other */
    int last;              /* the op that was carried out last */
    int recordings, alive; /* graphs that were recorded, and that were not freed */
};

static bool record(struct backend *backend) {
    struct counting *counting = (struct counting *)backend;
    counting->recording = counting->records;
    return counting->records;
}

static struct graph *record_end(struct backend *backend) {
    struct counting *counting = (struct counting *)backend;
    counting->recording = false;
    counting->recordings++;
    if (!counting->keeps) return NULL;
    struct graph *graph = calloc(1, sizeof *graph);
    ck_assert_ptr_nonnull(graph);
    graph->op = counting->op;
    counting->alive++;
    return graph;
}

static bool replay(struct backend *backend, struct graph *graph) {
    struct counting *counting = (struct counting *)backend;
    if (counting->moved) return false;
    counting->replayed++;
    counting->last = graph->op;
    return true;
}

static void graph_free(struct backend *backend, struct graph *graph) {
    struct counting *counting = (struct counting *)backend;
    counting->alive -= graph != NULL;
    free(graph);
}

static enum status ops(void *context) {
    struct counting *counting = context;
    if (counting->recording) return STATUS_OK;
    counting->plain++;
    counting->last = counting->op;
    return STATUS_OK;
}

static struct counting begin(bool records, bool keeps) {
    struct counting counting = {.records = records, .keeps = keeps, .op = 1};
    counting.base = (struct backend){
        .record = record, .record_end = record_end, .replay = replay, .graph_free = graph_free};
    return counting;
}

static void run(struct recorded *recorded, struct counting *counting, int times) {
    for (int i = 0; i < times; i++) {
        counting->last = 0;
        ck_assert_int_eq(recorded_run(recorded, &counting->base, ops, counting), STATUS_OK);
        ck_assert_int_eq(counting->last, counting->op);
    }
}

START_TEST(the_first_time_is_plain_the_others_are_replayed) {
    struct counting counting = begin(true, true);
    struct recorded recorded = {0};
    run(&recorded, &counting, 5);
    ck_assert_int_eq(counting.plain, 1);
    ck_assert_int_eq(counting.recordings, 1);
    ck_assert_int_eq(counting.replayed, 4);
    recorded_forget(&recorded, &counting.base);
    ck_assert_int_eq(counting.alive, 0);
    counting.op = 2; /* other ops: nothing of the old ones is replayed */
    run(&recorded, &counting, 2);
    ck_assert_int_eq(counting.plain, 2);
    ck_assert_int_eq(counting.recordings, 2);
    recorded_forget(&recorded, &counting.base);
    recorded_forget(&recorded, &counting.base);
    ck_assert_int_eq(counting.alive, 0);
}
END_TEST

START_TEST(memory_that_moved_begins_anew) {
    struct counting counting = begin(true, true);
    struct recorded recorded = {0};
    run(&recorded, &counting, 3);
    counting.moved = true;
    run(&recorded, &counting, 1);
    ck_assert_int_eq(counting.plain, 2);
    ck_assert_int_eq(counting.alive, 0);
    counting.moved = false;
    run(&recorded, &counting, 2);
    ck_assert_int_eq(counting.plain, 2);
    ck_assert_int_eq(counting.recordings, 2);
    recorded_forget(&recorded, &counting.base);
    ck_assert_int_eq(counting.alive, 0);
}
END_TEST

START_TEST(what_cannot_be_recorded_stays_plain) {
    struct counting without = begin(false, false), unkept = begin(true, false);
    struct recorded recorded = {0}, other = {0};
    run(&recorded, &without, 4);
    ck_assert_int_eq(without.plain, 4);
    run(&other, &unkept, 4);
    ck_assert_int_eq(unkept.plain, 4);
    ck_assert_int_eq(unkept.recordings, 1);
    recorded_forget(&other, &unkept.base);
    ck_assert_int_eq(unkept.alive, 0);
}
END_TEST

CHECK_MAIN("recorded", the_first_time_is_plain_the_others_are_replayed,
           memory_that_moved_begins_anew, what_cannot_be_recorded_stays_plain)
