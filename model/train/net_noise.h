/* net_noise: numbers that look random and depend on what is mixed alone, so that a run finds those of another again. */
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

#endif
