/* net_noise: numbers that look random and depend on a key and an index alone, so that the backward pass finds those of the forward
 * pass again, and a run those of another. */
#ifndef MODEL_TRAIN_NET_NOISE_H
#define MODEL_TRAIN_NET_NOISE_H

#include <stdint.h>

/* The mixer of splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t net_noise_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* 32 bits, in steps that vectors have; the constants are those of MurmurHash3's finaliser. */
static inline uint32_t net_noise_bits(uint32_t key, uint32_t i) {
    uint32_t x = i * 0x9e3779b9u ^ key;
    x = (x ^ (x >> 16)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    return x ^ (x >> 16);
}

#endif
