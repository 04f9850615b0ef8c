/* model/adapter/adapter.h - what the files of this folder offer each other. */
#ifndef MODEL_ADAPTER_ADAPTER_H
#define MODEL_ADAPTER_ADAPTER_H

#include "model/internal.h"

enum { ADAPTER_RANK_MAX = 4096 };

/* What is to become of one module of the base: the tensors of a checkpoint that share its path.
 */
struct module {
    const struct tensor_spec *spec; // its matrix, or a norm's gain
    char path[112]; // "model.layers.0.self_attn.q_proj": spec's name without ".weight"
    bool saved;     // trained whole
    int r;          // rank of its A and B; 0: none
    float scale;
};
/* The modules of a model with these choices; free(). */
int modules_list(struct module **out, int *n, const struct model *m,
                 struct err *err) MUST_CHECK;
/* PEFT's rule: the path itself, or its end after a dot. */
bool module_is(const struct module *mod, const char *name);
/* Whether a module can have A and B at all. */
bool module_fits(const struct module *mod);
/* "q_proj, k_proj, ...": the last words of the paths of what fits, for messages. */
void modules_names(struct buf *b, const struct module *mod, int n);

/* adapter_config.json for a new adapter that does to each module what mod (n) says; NULL
 * without memory. */
json_t *peft_config(const struct model *m, const struct adapter_options *o,
                    const struct module *mod, int n);

/* A model over base, by what `mod` (n, of modules_list on it) says; A and B are zero, saved
 * modules the base's. */
int adapter_build(struct model *m, const struct module *mod, int n, struct err *err) MUST_CHECK;
/* A light model over base with nothing adapted yet: config, parameters, slices.  untie: its
 * head is not its embedding. */
int adapter_begin(struct model **out, struct model *base, bool scalar, bool untie,
                  uint64_t seed, struct err *err) MUST_CHECK;

/* facts.c: rlaif_adapter.json into a folder; and out of one, where it is there: ERR_VALUE where
 * it speaks of another base. */
int facts_write(const struct model *m, const char *dir, struct err *err) MUST_CHECK;
int facts_read(struct model *m, const char *dir, struct err *err) MUST_CHECK;

#endif
