/* kit/prompt_hash.h - how kit/judge.c names a prompt in its log. */
#ifndef KIT_PROMPT_HASH_H
#define KIT_PROMPT_HASH_H

#include <stdint.h>

/* splitmix64 */
static inline uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t prompt_hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u; // FNV-1a
    for (; s && *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return mix(h);
}

#endif
