/* model/adapter/adapter.h - what the files of this folder offer each other. */
#ifndef MODEL_ADAPTER_ADAPTER_H
#define MODEL_ADAPTER_ADAPTER_H

#include "model/format/store.h"
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
/* The modules that tensors belong to; free(). */
int modules_list(struct module **out, int *n, const struct tensor_spec *spec, int n_specs, struct err *err) MUST_CHECK;
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

/* ---- peft_in.c -------------------------------------------------------------------------------- */

struct peft {
    const char *dir;
    char *config_path, *data_path;
    const char *head;       // the base's name of its vocabulary head
    json_t *config;
    struct weights *w;      // the table, under the names the base's modules have
    bool score;             // the file has a scalar head
    bool rslora;
    int64_t r;
    double alpha, dropout;
};
/* Opens the folder of an adapter over a base of this config; close also after a failure. */
int peft_open(struct peft *r, const char *dir, const struct model_config *base, struct err *err) MUST_CHECK;
void peft_close(struct peft *r);
/* What it does to each module of these tensors, all checked; free(). */
int peft_modules(const struct peft *r, struct module **out, int *n, const struct tensor_spec *spec, int n_specs,
                 struct err *err) MUST_CHECK;
/* Whether head and embedding are no longer one. */
bool peft_unties(const struct peft *r, const struct model_config *c);

/* ---- facts.c: rlaif_adapter.json ------------------------------------------------------------------ */

/* Into a folder; and out of one, where it is there: ERR_VALUE where it speaks of another base (NULL: not looked at).  Only the
 * scale of scores is set in c. */
int facts_write(const struct model *m, const char *dir, struct err *err) MUST_CHECK;
int facts_read(struct model_config *c, const char *dir, const struct weights *base, struct err *err) MUST_CHECK;

#endif
