/* learn/learn.h - training: supervised, reward model, direct preference, reinforcement.
 *
 * One loop drives all four.  A step takes the next items in an order fixed by (seed, epoch), runs them as
 * forests in micro-batches, gets the derivative of its loss by each log-prob or score from objective/, and
 * updates once.  Losses are divided by what was counted over the whole step, so 8 micro-batches of one item
 * and one of 8 give the same gradient.  A run that was killed and resumed ends with the same bytes, models
 * and logs, as one that was not.
 *
 * An output folder looks like a Trainer's: the final model at the top, trainer_state.json with log_history,
 * train_results.json, and checkpoint-<step>/ with all that resuming needs.  Everything appears whole or not
 * at all.  trainer_state.json holds no times: it is the same for the same run.
 *
 * This room does not know feedback: online rewards come through a callback. */
#ifndef LEARN_LEARN_H
#define LEARN_LEARN_H

#include "base/base.h"
#include "data/data.h"
#include "model/model.h"

/* ---- options, in the names and with the meaning of transformers and TRL --------------------- */

enum lr_schedule { LR_LINEAR, LR_COSINE, LR_CONSTANT, LR_CONSTANT_WITH_WARMUP };
/* From its name in transformers; -1: unknown. */
int lr_schedule_parse(const char *name);

struct train_options {
    const char *output_dir;     // NULL: nothing is written (tests, library use)
    double learning_rate;
    enum lr_schedule lr_scheduler_type;
    double warmup_ratio;        // share of all steps; warmup_steps > 0 wins
    int warmup_steps;
    double weight_decay, adam_beta1, adam_beta2, adam_epsilon;
    double max_grad_norm;       // 0: no clipping
    enum optim optim;           // adamw_torch, or adamw_8bit: moments in 8 bits
    bool gradient_checkpointing;        // keep each layer's input only, and compute the layer again in backward: the same bits
    int per_device_train_batch_size;    // items of one micro-batch
    int gradient_accumulation_steps;    // micro-batches of one step
    double num_train_epochs;
    int max_steps;              // > 0 wins over num_train_epochs
    int max_length;             // rows with more tokens (prompt and completion) are dropped and counted; 0: no limit
    int max_tokens_per_batch;   // micro-batches are split so that activations stay bounded; 0: from the model's size
    uint64_t seed;
    int logging_steps, save_steps;      // save_steps 0: no checkpoints
    int save_total_limit;       // checkpoints kept, the newest; 0: all
    bool resume;                // go on from the newest complete checkpoint of output_dir, if there is one
    int in_flight;              // reinforcement learning: sequences sampled at a time; 0: all of the batch
    double memory_limit;        // bytes; on a planning device the above and max_tokens_per_batch are chosen to fit; 0: none
    bool quiet;                 // no progress line
    bool copy_prompts;          // each answer with a copy of its prompt, as a plain batch computes it: for comparing
    enum dtype save_dtype;      // of model.safetensors
};
void train_defaults(struct train_options *o);
/* Factor on learning_rate for the update after `done` finished ones, of `steps` in all: transformers' schedules. */
double lr_factor(enum lr_schedule s, int done, int warmup, int steps);

/* On a planning device (compute.h) a trainer takes all the memory it would take, in the order it would, and returns without a
 * step; result then says what was chosen: max_tokens_per_batch, gradient_checkpointing, and rollouts in flight where there are
 * some.  ERR_MEMORY: not even the smallest choice fits memory_limit; the message says what would. */

/* ---- the four trainers ----------------------------------------------------------------------
 * m is opened with .trainable and is trained in place; when a call returns 0 it holds the final weights and
 * output_dir the final folder.  result (an object, may be NULL) receives figures: train_loss, steps, epochs, items,
 * dropped, num_tokens, train_runtime, train_tokens_per_second, and what each trainer names.  Rows that cannot be used, too long
 * ones included, are moved to data->rejected and listed in output_dir/rejected.jsonl.
 * ERR_INTERRUPTED: a checkpoint was written and the message says how to go on.  ERR_NUMERIC: a loss or gradient was not
 * finite; the message names the step and the first tensor. */

/* Next-token loss on completions (rows with a prompt) or on everything (rows with `text`).  A completion, and a text, that
 * does not end with an end-of-sequence token is given one. */
int train_sft(struct model *m, struct rows *data, const struct train_options *o, json_t *result, struct err *err) MUST_CHECK;

/* Reward model on soft labels.  m has a scalar head.  Every completion is scored at its last token, which is an end-of-sequence
 * token: one is appended where it is missing, here and in scorer_texts alike. */
struct reward_options {
    double center_rewards_coefficient;      // 0: off
    struct rows *eval;          // held-out pairs; NULL: none.  Figures eval_loss, eval_accuracy, eval_ties, eval_label_entropy
    struct rows *normalize;     // rows {"prompt","completion"} or {"prompt","completions"}, samples of the SFT policy whose raw scores get mean 0
                                // and deviation 1: stored in the folder, applied wherever the model scores; NULL: not
};
int train_reward(struct model *m, struct rows *data, const struct reward_options *r, const struct train_options *o, json_t *result,
                 struct err *err) MUST_CHECK;

/* Direct preference optimisation with soft labels.  The reference is the model as it was given: its log-probs are computed before the
 * first step. */
struct dpo_options { double beta; };        // 0.1
int train_dpo(struct model *m, struct rows *data, const struct dpo_options *d, const struct train_options *o, json_t *result,
              struct err *err) MUST_CHECK;

/* ---- reinforcement learning ------------------------------------------------------------------ */

/* One sampled answer.  Strings and arrays live until the callback returns. */
struct rollout {
    int step;                   // of training, from 0
    const struct prompt *prompt;
    const char *text;           // the completion, without special tokens
    const int *prompt_id, *id;  // tokens of both
    int n_prompt, n;
    bool ended;                 // by an end-of-sequence token, not by length
};
/* Scores n rollouts; those of one prompt stand together.  Returns 0 or an error code.  n 0, on a planning device: only takes and
 * gives back the memory that scoring takes. */
typedef int reward_fn(void *arg, const struct rollout *r, int n, float *score, struct err *err);

struct rl_options {
    double beta;                // weight of the divergence: the reward is (1 - beta) score - beta KL; 0.05
    double temperature;         // of sampling, and of every log-prob; 0.9
    int num_generations;        // samples per prompt; divides the batch; 4
    int max_completion_length;  // 128 tokens
    double missing_eos_penalty; // subtracted where a completion did not end; 1
    double score_clip;          // scores are clipped to +- this before; 10; 0: off
    bool whiten_advantages;
    double value_learning_rate; // 0: learning_rate
    int value_warmup_steps;     // first steps in which only the value model learns
    double kl_target;           // nats per sequence: beta is adapted so that samples stay so far from the reference; 0: beta is fixed
    double kl_horizon;          // episodes in which beta may change by about a fifth (Ziegler et al. 2019); 10000
    bool log_completions;       // output_dir/completions/step-NNNNNN.jsonl
    reward_fn *reward;
    void *reward_arg;
};
void rl_defaults(struct rl_options *o);
/* The papers' REINFORCE with a learned baseline: no clipping, no importance ratio, Monte Carlo returns, one update per batch of
 * per_device_train_batch_size * gradient_accumulation_steps episodes, KL to the reference inside the reward, charged per token
 * (objective_returns).  policy and value start from the same SFT checkpoint, value with a scalar head; ref is that checkpoint, frozen.
 * num_train_epochs counts passes over the prompts.  Old log-probs are those of the sampling pass; val/ratio is exactly 1. */
int train_rl(struct model *policy, struct model *value, struct model *ref, struct rows *prompts, const struct rl_options *r,
             const struct train_options *o, json_t *result, struct err *err) MUST_CHECK;

/* ---- scoring with a reward model ---------------------------------------------------------------- */

struct scorer;
/* Borrows m, which has a scalar head.  max_tokens: rows of activations; 0: from the model's size. */
int scorer_new(struct scorer **out, const struct model *m, int max_tokens, struct err *err) MUST_CHECK;
void scorer_free(struct scorer *s);
void scorer_rest(struct scorer *s);     // gives the activations' memory back until the next call
struct scored { const struct text *prompt, *completion; };
/* raw (n) scores of prompt and completion, tokenised apart and joined, with an end-of-sequence token at the end.  Neighbours with the
 * same prompt pointer share its computation.  Scores do not depend on what else is in the call. */
int scorer_texts(struct scorer *s, const struct scored *t, int n, float *raw, struct err *err) MUST_CHECK;
/* The reward: (raw - reward_mean) / reward_std. */
float scorer_normalize(const struct scorer *s, float raw);
/* A reward_fn whose arg is a struct scorer: the normalised score of the completion's text.  Between calls the scorer rests. */
int scorer_reward(void *scorer, const struct rollout *r, int n, float *score, struct err *err);

/* ---- texts as token ids (shared with the stages) -------------------------------------------------- */

/* A prompt: a string as it is, with what the tokenizer adds by its own rules; messages through the chat template with the
 * assistant's turn opened. */
int encode_prompt(const struct tokenizer *t, struct tokens *out, const struct text *prompt, struct err *err) MUST_CHECK;
/* The completion of a prompt, tokenised apart.  end: append c->eos unless it ends with one of c's end-of-sequence ids. */
int encode_completion(const struct tokenizer *t, struct tokens *out, const struct text *prompt, const struct text *completion,
                      const struct model_config *c, bool end, struct err *err) MUST_CHECK;

#endif
