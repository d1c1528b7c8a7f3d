#include "base/random.h"

#include <math.h>

static void philox(uint32_t counter[4], uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * counter[0];
        uint64_t product1 = (uint64_t)0xCD9E8D57u * counter[2];
        uint32_t next[4] = {(uint32_t)(product1 >> 32) ^ counter[1] ^ key0, (uint32_t)product1,
                            (uint32_t)(product0 >> 32) ^ counter[3] ^ key1, (uint32_t)product0};
        for (int i = 0; i < 4; i++) counter[i] = next[i];
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

/* FNV-1a over the name, then the layer: spreads the streams over the counter's high half. */
static uint64_t hash_name(int layer, const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    for (int byte = 0; byte < 4; byte++)
        hash = (hash ^ ((uint32_t)layer >> (8 * byte) & 0xffu)) * 0x100000001b3u;
    return hash;
}

struct random_stream random_stream_for(uint64_t seed, int layer, const char *name) {
    uint64_t hash = hash_name(layer, name);
    return (struct random_stream){{(uint32_t)seed, (uint32_t)(seed >> 32)},
                                  {(uint32_t)hash, (uint32_t)(hash >> 32)}};
}

static double unit(uint32_t high, uint32_t low) {
    uint64_t bits = ((uint64_t)high << 32 | low) >> 12; /* 52 bits, so that + 0.5 is exact */
    return ((double)bits + 0.5) * 0x1p-52;
}

void random_block(uint32_t out[4], const struct random_stream *stream, uint64_t index) {
    out[0] = (uint32_t)index;
    out[1] = (uint32_t)(index >> 32);
    out[2] = stream->counter[0];
    out[3] = stream->counter[1];
    philox(out, stream->key[0], stream->key[1]);
}

double random_uniform(const struct random_stream *stream, uint64_t index) {
    uint32_t block[4];
    random_block(block, stream, index);
    return unit(block[0], block[1]);
}

double random_normal(const struct random_stream *stream, uint64_t index) {
    uint32_t block[4];
    random_block(block, stream, index);
    double radius = sqrt(-2 * log(unit(block[0], block[1])));
    return radius * cos(6.283185307179586477 * unit(block[2], block[3]));
}

/* Compiled for several generations of x86 as the CPU ops are; whole numbers: the same bits. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__)
#define RANDOM_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RANDOM_CLONES
#endif

RANDOM_CLONES
void random_blocks(uint32_t out[4][RANDOM_BLOCKS], const struct random_stream *stream,
                   uint64_t index) {
    uint32_t key0 = stream->key[0], key1 = stream->key[1];
    for (int i = 0; i < RANDOM_BLOCKS; i++) {
        uint64_t block = index + (uint64_t)i;
        out[0][i] = (uint32_t)block;
        out[1][i] = (uint32_t)(block >> 32);
        out[2][i] = stream->counter[0];
        out[3][i] = stream->counter[1];
    }
    for (int round = 0; round < 10; round++) {
#pragma omp simd
        for (int i = 0; i < RANDOM_BLOCKS; i++) {
            uint64_t product0 = (uint64_t)0xD2511F53u * out[0][i];
            uint64_t product1 = (uint64_t)0xCD9E8D57u * out[2][i];
            out[0][i] = (uint32_t)(product1 >> 32) ^ out[1][i] ^ key0;
            out[2][i] = (uint32_t)(product0 >> 32) ^ out[3][i] ^ key1;
            out[1][i] = (uint32_t)product1;
            out[3][i] = (uint32_t)product0;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}
