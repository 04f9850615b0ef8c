/* recipe/adapting.h - models with adapters in stages: --adapter, folders of adapters as models,
 * --use_peft. */
#ifndef RECIPE_ADAPTING_H
#define RECIPE_ADAPTING_H

#include "model/model.h"
#include "recipe/recipe.h"

#define ADAPTER_OPTION                                                                                                 \
    { "adapter", OPT_MODEL, NULL, "adapter over that model: a PEFT folder, or ORG/NAME on the Hub", NULL, false }

#define PEFT_OPTIONS                                                                                                   \
    { "use_peft", OPT_BOOL, "false", "train a new adapter (LoRA) over the model, which stays as it is; output_dir becomes a PEFT folder", \
      NULL, false },                                                                                                   \
    { "lora_r", OPT_INT, "16", "rank of the adapter", NULL, false },                                                   \
    { "lora_alpha", OPT_FLOAT, "32", "its scale is lora_alpha / lora_r", NULL, false },                                \
    { "lora_dropout", OPT_FLOAT, "0", "0 only: log-probs of sampling and training are the same here", NULL, false },   \
    { "lora_target_modules", OPT_LIST, NULL, "modules it is on, by the ends of their names, or all-linear (default: queries and values)", \
      NULL, false },                                                                                                   \
    { "lora_modules_to_save", OPT_LIST, NULL, "modules trained whole beside it (a scalar head always is)", NULL, false }, \
    { "use_rslora", OPT_BOOL, "false", "the scale is lora_alpha / sqrt(lora_r)", NULL, false }

/* What a model that an option names is made of. */
struct start {
    char *base;                 // path of the weights
    char *adapter;              // folder of an adapter over them; NULL: none
    bool fresh;                 // a new adapter is to be trained over them
};
/* path is a model or the folder of an adapter, whose base is then found by
 * base_model_name_or_path (also on the Hub); --adapter and --use_peft belong to the stage's own
 * model, and to others not. */
int start_read(struct start *s, const json_t *opt, const char *path, bool trainable,
               struct err *err) MUST_CHECK;
void start_release(struct start *s);
static inline bool start_adapted(const struct start *s) { return s->adapter || s->fresh; }
/* The adapter over an open base: read, or new by the options.  mo: scalar_head and seed. */
int start_over(struct model **out, struct model *base, const struct start *s, const json_t *opt,
               const struct model_options *mo, struct err *err) MUST_CHECK;

#endif
