/* recipe/training.h - what the training stages have in common: options in TRL's names, models,
 * results. */
#ifndef RECIPE_TRAINING_H
#define RECIPE_TRAINING_H

#include "learn/learn.h"
#include "recipe/adapting.h"
#include "recipe/recipe.h"

#define COMPUTE_OPTIONS                                                                                              \
    { "dtype", OPT_CHOICE, "auto", "of computation; auto: bfloat16 where the processor multiplies it",             \
      "auto|float32|bfloat16", false },                                                                            \
    { "dequantize", OPT_BOOL, "false", "of a GGUF file: weights in the dtype, not in the file's blocks", NULL, false }, \
    { "max_model_len", OPT_INT, "0", "tokens a sequence may have, where a model with longrope is to take its long factors", NULL, false }

#define TRAINING_MODEL_OPTIONS(what)                                                                              \
    { "model_name_or_path", OPT_MODEL, NULL, what ": a Hugging Face folder, a GGUF file, or ORG/NAME on the Hub", NULL, true }, \
    ADAPTER_OPTION,                                                                                                \
    COMPUTE_OPTIONS

#define TRAINING_DATASET_OPTIONS(what)                                                                            \
    { "dataset_name", OPT_DATA, NULL, what ": a file, or ORG/NAME on the Hub", NULL, true },                       \
    { "dataset_config", OPT_STRING, NULL, "configuration of a data set on the Hub", NULL, false },                 \
    { "dataset_split", OPT_STRING, NULL, "its split (default: train)", NULL, false }

#define TRAINING_OPTIONS(lr, schedule, batch, epochs, length, eps)                                                    \
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for the model, its log and checkpoints", NULL, true },           \
    PEFT_OPTIONS,                                                                                                  \
    { "learning_rate", OPT_FLOAT, lr, "peak of the schedule", NULL, false },                                       \
    { "lr_scheduler_type", OPT_CHOICE, schedule, "how the rate falls",                                             \
      "linear|cosine|constant|constant_with_warmup", false },                                                      \
    { "warmup_ratio", OPT_FLOAT, "0", "share of the steps in which the rate rises", NULL, false },                 \
    { "warmup_steps", OPT_INT, "0", "the same in steps; wins when above 0", NULL, false },                         \
    { "weight_decay", OPT_FLOAT, "0", "AdamW's, on matrices", NULL, false },                                       \
    { "adam_beta1", OPT_FLOAT, "0.9", "AdamW", NULL, false },                                                      \
    { "adam_beta2", OPT_FLOAT, "0.999", "AdamW", NULL, false },                                                    \
    { "adam_epsilon", OPT_FLOAT, eps, "AdamW", NULL, false },                                                      \
    { "optim", OPT_CHOICE, "adamw_torch", "AdamW with its moments in fp32, or in 8-bit blocks: a quarter of the bytes",  \
      "adamw_torch|adamw_8bit", false },                                                                           \
    { "gradient_checkpointing", OPT_BOOL, "false", "keep each layer's input only and compute it again in backward", NULL, false }, \
    { "max_grad_norm", OPT_FLOAT, "1.0", "clip the global norm of the gradient; 0: do not", NULL, false },         \
    { "per_device_train_batch_size", OPT_INT, batch, "items of a micro-batch", NULL, false },                      \
    { "gradient_accumulation_steps", OPT_INT, "1", "micro-batches of a step", NULL, false },                       \
    { "num_train_epochs", OPT_FLOAT, epochs, "passes over the data", NULL, false },                                \
    { "max_steps", OPT_INT, "-1", "number of steps; wins over epochs when above 0", NULL, false },                 \
    { "max_length", OPT_INT, length, "longer rows (in tokens) are dropped and listed; 0: none is", NULL, false },  \
    { "max_tokens_per_batch", OPT_INT, "0", "micro-batches are split above this; 0: from the model's size", NULL, false }, \
    { "memory", OPT_STRING, NULL, "such as 8G: micro-batch and gradient_checkpointing are chosen to fit", NULL, false },  \
    { "seed", OPT_INT, "42", "order of the data, new weights, sampling", NULL, false },                            \
    { "logging_steps", OPT_INT, "10", "steps between rows of log_history", NULL, false },                          \
    { "save_steps", OPT_INT, "500", "steps between checkpoints; 0: none", NULL, false },                           \
    { "save_total_limit", OPT_INT, NULL, "checkpoints kept (default: all)", NULL, false },                         \
    { "resume_from_checkpoint", OPT_BOOL, "false", "go on from the newest checkpoint in output_dir", NULL, false }, \
    { "overwrite_output_dir", OPT_BOOL, "false", "start anew where an earlier run left checkpoints", NULL, false }

/* Device, dtype and options of a training stage; checkpoints of an earlier run are removed where
 * asked. */
int training_begin(struct run *run, const json_t *opt, struct train_options *o, struct device **dev,
                   struct err *err);
/* --memory in bytes; 0: not given. */
int memory_option(const json_t *opt, double *bytes, struct err *err);
/* --dtype as a dtype. */
enum dtype training_dtype(const json_t *opt, const struct device *dev);
/* What a stage's COMPUTE_OPTIONS and its seed, where it has one, say of a model. */
struct model_options compute_options(const json_t *opt, const struct device *dev);
/* Opens a model by them, with an adapter where one is meant: to train, or, with trainable false,
 * to use. */
int stage_model(struct model **out, struct device *dev, const json_t *opt, const char *path,
                bool scalar_head, bool trainable, struct err *err);

/* The frozen base of adapters; mo as compute_options gives it. */
int stage_base(struct model **out, struct device *dev, const char *path,
               const struct model_options *mo, struct err *err);

#endif
