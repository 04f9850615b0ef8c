/* gguf_mix.c - which type each tensor of a GGUF file has: the mix of llama.cpp's
 * llama-quantize.
 *
 * Vectors, routers and learned positions stay F32.  The head, or the embedding it is tied to,
 * is Q6_K in files of fewer bits.  Q4_K_M gives more bits to the matrices that suffer most, v
 * and the MLP's last, in the first and last eighth of the layers and in every third between. */
#include "model/format/gguf_out.h"

static const struct gguf_kind KINDS[] = {
    {"F32", 0, STORE_F32},    {"F16", 1, STORE_F16},   {"BF16", 32, STORE_BF16},
    {"Q8_0", 7, STORE_Q8_0},  {"Q4_0", 2, STORE_Q4_0}, {"Q4_1", 3, STORE_Q4_1},
    {"Q4_K_M", 15, STORE_Q4_K}, {"Q6_K", 18, STORE_Q6_K},
};

const struct gguf_kind *gguf_kind_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(KINDS); i++)
        if (!strcasecmp(name, KINDS[i].name))
            return &KINDS[i];
    return NULL;
}

static bool more_bits(int layer, int layers)
{
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

/* Llama 2 and 3 of 70 billion: eight queries share v, so more bits cost little. */
static bool is_70b(const struct model_config *c)
{
    return c->layers == 80 && c->heads != c->kv_heads &&
           !strcmp(family_of(c)->about.gguf, "llama");
}

static enum store_type q4_k_m(const struct tensor_spec *t, const struct model_config *c)
{
    bool more = more_bits(t->layer, c->layers), eight = c->choices.experts == 8;
    switch (t->part) {
    case PART_V:
    case PART_QKV:
        return eight ? STORE_Q8_0 : more ? STORE_Q6_K : is_70b(c) ? STORE_Q5_K : STORE_Q4_K;
    case PART_K:
        return eight ? STORE_Q8_0 : STORE_Q4_K;
    case PART_OUT:
        return eight ? STORE_Q5_K : STORE_Q4_K;
    case PART_DOWN:
    case PART_EXPERT_DOWN:
        return more ? STORE_Q6_K : STORE_Q4_K;
    default:
        return STORE_Q4_K;
    }
}

/* A type whose blocks the columns can be cut into. */
static enum store_type that_fits(enum store_type t, int cols)
{
    if ((size_t)cols % store_block(t) == 0)
        return t;
    t = t == STORE_Q4_K                      ? STORE_Q5_0
        : t == STORE_Q5_K || t == STORE_Q6_K ? STORE_Q8_0
                                             : STORE_F16;
    return (size_t)cols % store_block(t) == 0 ? t : STORE_F16;
}

enum store_type gguf_tensor_type(const struct gguf_kind *k, const struct tensor_spec *t,
                                 const struct model_config *c)
{
    bool head = t->part == PART_HEAD || (t->part == PART_EMBED && c->tied);
    if (t->vector || t->part == PART_ROUTER || t->part == PART_POSITIONS)
        return STORE_F32;
    if (store_block(k->type) == 1)
        return k->type;
    if (head && k->type != STORE_Q8_0)
        return (size_t)t->cols % store_block(k->type) ? that_fits(STORE_Q8_0, t->cols)
                                                      : that_fits(STORE_Q6_K, t->cols);
    return that_fits(k->type == STORE_Q4_K && !head ? q4_k_m(t, c) : k->type, t->cols);
}
