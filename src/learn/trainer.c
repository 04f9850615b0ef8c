/* trainer.c - the loop: next items, gradients, clipping, update, log, checkpoint.
 *
 * What a step computes is a function of (weights, optimiser state, step number), never of when the process
 * started; that is all there is to exact resuming.  Times are kept out of log_history for the same reason. */
#include "learn/internal.h"

#include <math.h>

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "training: no memory");
}

/* ---- setting up ------------------------------------------------------------------------- */

int default_max_tokens(const struct model *m, enum dtype dtype)
{
    const size_t limit = (size_t)2 << 30;   // bytes of activations
    int tokens = 4096;
    while (tokens > 512 && workspace_bytes(model_config(m), dtype, tokens, true) > limit)
        tokens /= 2;
    return tokens;
}

static int check_options(const struct train_options *o, struct err *err)
{
    if (o->per_device_train_batch_size < 1 || o->gradient_accumulation_steps < 1)
        return err_set(err, ERR_VALUE, "per_device_train_batch_size and gradient_accumulation_steps are at least 1");
    if (!(o->learning_rate >= 0) || !isfinite(o->learning_rate))
        return err_set(err, ERR_VALUE, "learning_rate is %g, expected a number from 0", o->learning_rate);
    if (o->max_steps <= 0 && !(o->num_train_epochs > 0 && o->num_train_epochs < 1e6))
        return err_set(err, ERR_VALUE, "num_train_epochs is %g and max_steps is not given: there is nothing to do",
                       o->num_train_epochs);
    if (!(o->adam_beta1 >= 0 && o->adam_beta1 < 1 && o->adam_beta2 >= 0 && o->adam_beta2 < 1))
        return err_set(err, ERR_VALUE, "adam_beta1 and adam_beta2 lie in [0,1)");
    if (!(o->warmup_ratio >= 0 && o->warmup_ratio <= 1))
        return err_set(err, ERR_VALUE, "warmup_ratio is %g, expected 0 to 1", o->warmup_ratio);
    return 0;
}

static void count_steps(struct trainer *t)
{
    const struct train_options *o = t->o;
    t->steps_per_epoch = ceil((double)t->n_items / t->batch);
    t->max_steps = o->max_steps > 0 ? o->max_steps : (int)ceil(t->steps_per_epoch * o->num_train_epochs);
    t->warmup = o->warmup_steps > 0 ? o->warmup_steps : (int)ceil(t->max_steps * o->warmup_ratio);
}

/* Everything that decides the result goes into the key, nothing that does not (where, how often logged or saved). */
static int make_key(struct trainer *t, struct hash128 data, const json_t *opt, struct err *err)
{
    const struct train_options *o = t->o;
    char hex[33];
    struct buf b = {0};
    hash_hex(hex, data);
    buf_addf(&b, "1 %s %s %s %.17g %d %d %.17g %.17g %.17g %.17g %.17g %d %d %d %d %llu ", t->kind, hex,
             model_fingerprint(t->net[0].model), o->learning_rate, (int)o->lr_scheduler_type, t->warmup,
             o->weight_decay, o->adam_beta1, o->adam_beta2, o->adam_epsilon, o->max_grad_norm, t->batch,
             o->per_device_train_batch_size, t->max_steps, t->max_tokens, (unsigned long long)o->seed);
    buf_addf(&b, "%d ", o->logging_steps);
    if (o->optim != OPTIM_ADAMW || o->copy_prompts)
        buf_addf(&b, "%d %d ", (int)o->optim, (int)o->copy_prompts);
    if (opt)
        json_add_text(&b, opt, 0);
    int rc = b.failed ? no_memory(err) : 0;
    if (rc == 0)
        hash_hex(t->key, hash_bytes(b.s, b.len));
    buf_release(&b);
    return rc;
}

static int desk_new(struct trainer *t, struct err *err)
{
    size_t n = (size_t)t->max_tokens + 1;
    t->item = mem_alloc(n, sizeof *t->item);
    t->logp = mem_alloc(n, sizeof *t->logp);
    t->entropy = mem_alloc(n, sizeof *t->entropy);
    t->dlogp = mem_alloc(n, sizeof *t->dlogp);
    t->score = mem_alloc(n, sizeof *t->score);
    t->dscore = mem_alloc(n, sizeof *t->dscore);
    t->row = mem_alloc(n, sizeof *t->row);
    t->start = mem_alloc(n, sizeof *t->start);
    t->order = mem_alloc((size_t)t->n_items + 1, sizeof *t->order);
    t->log = json_array();
    bool ok = t->item && t->logp && t->entropy && t->dlogp && t->score && t->dscore && t->row && t->start &&
              t->order && t->log;
    return ok ? 0 : no_memory(err);
}

int trainer_init(struct trainer *t, const char *kind, const struct train_options *o, struct model *m, int n_items,
                 int longest, struct err *err)
{
    *t = (struct trainer){.kind = kind, .o = o, .n_items = n_items, .order_epoch = -1, .plan = device_is_plan(model_device(m))};
    int rc = check_options(o, err);
    if (rc)
        return rc;
    int64_t batch = (int64_t)o->per_device_train_batch_size * o->gradient_accumulation_steps;
    if (batch > 1 << 24)
        return err_set(err, ERR_VALUE, "a batch of %lld items is beyond reason", (long long)batch);
    t->batch = (int)batch;
    t->keep = o->gradient_checkpointing ? KEEP_INPUTS : KEEP_ALL;
    t->max_tokens = o->max_tokens_per_batch > 0 ? o->max_tokens_per_batch : default_max_tokens(m, o->save_dtype);
    // Not more room than the largest micro-batch can fill, and enough for the longest item.
    if ((int64_t)o->per_device_train_batch_size * longest < t->max_tokens)
        t->max_tokens = o->per_device_train_batch_size * longest;
    if (t->max_tokens < longest)
        t->max_tokens = longest;
    count_steps(t);
    t->net[t->n_nets++] = (struct net){.name = "optimizer", .model = m, .learning_rate = o->learning_rate};
    return 0;
}

void trainer_add_net(struct trainer *t, const char *name, struct model *m, double learning_rate)
{
    BUG_IF(t->n_nets >= MAX_NETS);
    t->net[t->n_nets++] = (struct net){.name = name, .model = m, .learning_rate = learning_rate};
}

void trainer_rest(struct trainer *t)
{
    workspace_free(t->ws);
    t->ws = NULL;
}

int trainer_wake(struct trainer *t, struct err *err)
{
    int rc = t->ws ? 0 : workspace_new(&t->ws, t->net[0].model, t->max_tokens, t->keep, err);
    for (int i = 0; rc == 0 && i < t->n_nets; i++)
        workspace_prepare(t->ws, t->net[i].model, t->max_tokens);
    return rc;
}

int trainer_open(struct trainer *t, int longest, struct hash128 data, const json_t *opt, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < t->n_nets; i++)
        rc = trainable_new(&t->net[i].t, t->net[i].model, t->o->optim, err);
    if (rc == 0 && t->plan && t->o->memory_limit > 0)
        rc = trainer_fit(t, longest, err);
    if (rc == 0)
        rc = trainer_wake(t, err);
    if (rc == 0 && !t->plan)
        rc = make_key(t, data, opt, err);
    return rc ? rc : desk_new(t, err);
}

void trainer_release(struct trainer *t)
{
    for (int i = 0; i < t->n_nets; i++)
        trainable_free(t->net[i].t);
    workspace_free(t->ws);
    forest_release(&t->forest);
    json_decref(t->log);
    free(t->item);
    free(t->logp);
    free(t->entropy);
    free(t->dlogp);
    free(t->score);
    free(t->dscore);
    free(t->row);
    free(t->start);
    free(t->order);
    *t = (struct trainer){0};
}

/* ---- items of a step ------------------------------------------------------------------------ */

const int *trainer_items(struct trainer *t, int *n)
{
    int per_epoch = (int)t->steps_per_epoch, epoch = t->step / per_epoch;
    int first = t->step % per_epoch * t->batch;
    if (t->order_epoch != epoch)
        data_epoch_order(t->order, t->n_items, t->o->seed, epoch);
    t->order_epoch = epoch;
    *n = first + t->batch <= t->n_items ? t->batch : t->n_items - first;
    return t->order + first;
}

int trainer_micro(const struct trainer *t, const struct samples *s, const int *item, int n)
{
    int count = 0, tokens = 0;
    while (count < n && count < t->o->per_device_train_batch_size) {
        int more = sample_tokens(&s->s[item[count]], t->o->copy_prompts);
        if (count > 0 && tokens + more > t->max_tokens)
            break;
        tokens += more;
        count++;
    }
    return count;
}

void trainer_count(struct trainer *t, int plain)
{
    t->tokens += t->forest.tokens.n;
    t->submitted += plain;
}

/* ---- meters and log rows ---------------------------------------------------------------------- */

void meter_add(struct trainer *t, const char *name, double num, double den)
{
    int i = 0;
    while (i < t->n_meters && strcmp(t->meter[i].name, name) != 0)
        i++;
    BUG_IF(i == MAX_METERS || strlen(name) >= sizeof t->meter[i].name);
    if (i == t->n_meters)
        t->n_meters++;
    snprintf(t->meter[i].name, sizeof t->meter[i].name, "%s", name);
    t->meter[i].num += num;
    t->meter[i].den += den;
}

/* Seven digits: enough to compare, short enough to read. */
static json_t *number(double x)
{
    char s[32];
    snprintf(s, sizeof s, "%.7g", x);
    return isfinite(x) ? json_real(strtod(s, NULL)) : json_null();
}

static double epoch_now(const struct trainer *t)
{
    return t->step / t->steps_per_epoch;
}

int trainer_log_row(struct trainer *t, json_t *row, struct err *err)
{
    int bad = json_object_set_new(row, "epoch", number(epoch_now(t)));
    bad |= json_object_set_new(row, "step", json_integer(t->step));
    bad |= json_array_append_new(t->log, row);
    return bad ? no_memory(err) : 0;
}

static int log_step(struct trainer *t, const double *norm, double lr, struct err *err)
{
    json_t *row = json_object();
    for (int i = 0; row && i < t->n_meters; i++)
        if (t->meter[i].den != 0)
            json_object_set_new(row, t->meter[i].name, number(t->meter[i].num / t->meter[i].den));
    json_object_set_new(row, "grad_norm", number(norm[0]));
    if (t->n_nets > 1)
        json_object_set_new(row, "value_grad_norm", number(norm[1]));
    json_object_set_new(row, "learning_rate", number(lr));
    json_object_set_new(row, "num_tokens", json_integer(t->tokens));
    memset(t->meter, 0, sizeof t->meter);
    t->n_meters = 0;
    return row ? trainer_log_row(t, row, err) : no_memory(err);
}

/* ---- one step ----------------------------------------------------------------------------------- */

static int not_finite(const struct trainer *t, const struct net *n, double norm, struct err *err)
{
    const char *first = trainable_nonfinite(n->t);
    return err_set(err, ERR_NUMERIC,
                   "step %d of %d: the loss is %g and the gradient's norm %g; the first tensor with a gradient that is not "
                   "finite is %s; the weights before this step are intact (a smaller learning_rate often helps)",
                   t->step + 1, t->max_steps, t->loss, norm, first ? first : "none (the loss itself overflowed)");
}

/* Clips by each network's own global norm, as separate optimisers would. */
static int update(struct trainer *t, double *norm, double *lr, struct err *err)
{
    const struct train_options *o = t->o;
    double factor = lr_factor(o->lr_scheduler_type, t->step, t->warmup, t->max_steps);
    for (int i = 0; i < t->n_nets; i++) {
        norm[i] = trainable_grad_norm(t->net[i].t);
        if (!isfinite(norm[i]) || !isfinite(t->loss))
            return not_finite(t, &t->net[i], norm[i], err);
    }
    for (int i = 0; i < t->n_nets; i++) {
        const struct net *n = &t->net[i];
        if (t->step < n->from)
            continue;
        double scale = o->max_grad_norm > 0 ? fmin(1, o->max_grad_norm / (norm[i] + 1e-6)) : 1;
        struct adamw h = {
            .lr = (float)(n->learning_rate * factor),
            .beta1 = (float)o->adam_beta1,
            .beta2 = (float)o->adam_beta2,
            .eps = (float)o->adam_epsilon,
            .weight_decay = (float)o->weight_decay,
            .scale = (float)scale,
            .step = t->step - n->from + 1,
        };
        trainable_step(n->t, &h);
    }
    *lr = t->net[0].learning_rate * factor;
    return 0;
}

static int interrupted_now(struct trainer *t, struct err *err)
{
    if (!t->o->output_dir)
        return err_set(err, ERR_INTERRUPTED, "stopped after step %d of %d", t->step, t->max_steps);
    int rc = checkpoint_save(t, err);
    if (rc)
        return rc;
    return err_set(err, ERR_INTERRUPTED,
                   "stopped after step %d of %d; %s/checkpoint-%d holds everything: the same command with "
                   "--resume_from_checkpoint true goes on from there (a recipe does so by itself)",
                   t->step, t->max_steps, t->o->output_dir, t->step);
}

/* A step that was interrupted half-way leaves nothing behind: the weights are untouched, the meters are put back. */
static int one_step(struct trainer *t, step_fn *step, void *arg, struct err *err)
{
    double norm[MAX_NETS] = {0}, lr = 0;
    int64_t tokens = t->tokens, submitted = t->submitted;
    memcpy(t->saved, t->meter, sizeof t->saved);
    t->n_saved = t->n_meters;
    for (int i = 0; i < t->n_nets; i++)
        trainable_zero(t->net[i].t);
    t->loss = 0;
    int rc = step(t, arg, err);
    if (rc == ERR_INTERRUPTED) {
        memcpy(t->meter, t->saved, sizeof t->meter);
        t->n_meters = t->n_saved;
        t->tokens = tokens;
        t->submitted = submitted;
        return interrupted_now(t, err);
    }
    if (rc == 0)
        rc = update(t, norm, &lr, err);
    if (rc)
        return rc;
    t->loss_sum += t->loss;
    t->step++;
    bool due = t->o->logging_steps > 0 && t->step % t->o->logging_steps == 0;
    return due || t->step == t->max_steps ? log_step(t, norm, lr, err) : 0;
}

static int after_step(struct trainer *t, struct err *err)
{
    const struct train_options *o = t->o;
    char note[32];
    snprintf(note, sizeof note, "loss %.4g", t->loss);
    if (!o->quiet)
        progress_add(&t->progress, 1, note);
    if (t->step == t->max_steps)
        return 0;
    if (interrupted())
        return interrupted_now(t, err);
    if (o->output_dir && o->save_steps > 0 && t->step % o->save_steps == 0)
        return checkpoint_save(t, err);
    return 0;
}

static void say_size(const struct trainer *t)
{
    double weights = 0;
    for (int i = 0; i < t->n_nets; i++)
        weights += (double)model_trained_count(t->net[i].model);
    log_info("%s: %d items, %d steps of %d each; %.3g million trained weights, micro-batches of up to %d tokens%s", t->kind,
             t->n_items, t->max_steps, t->batch, weights / 1e6, t->max_tokens,
             t->keep == KEEP_INPUTS ? ", layers computed again in backward" : "");
}

int trainer_run(struct trainer *t, step_fn *step, void *arg, struct err *err)
{
    int rc = 0;
    if (t->plan)
        return 0;
    if (t->o->output_dir)
        rc = t->o->resume ? checkpoint_resume(t, err) : checkpoint_refuse_old(t, err);
    if (rc)
        return rc;
    t->started = time_now();
    t->started_tokens = t->tokens;
    t->started_step = t->step;
    if (!t->o->quiet) {
        say_size(t);
        progress_begin(&t->progress, t->kind, "step", t->max_steps);
        if (t->step > 0)
            progress_add(&t->progress, t->step, "resumed");
    }
    while (rc == 0 && t->step < t->max_steps) {
        rc = one_step(t, step, arg, err);
        if (rc == 0)
            rc = after_step(t, err);
    }
    if (!t->o->quiet)
        progress_end(&t->progress);
    return rc;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static int fill_result(const struct trainer *t, int items, int dropped, json_t *r)
{
    double seconds = time_now() - t->started;
    int steps = t->step - t->started_step;
    int bad = json_object_set_new(r, "train_loss", number(t->loss_sum / fmax(1, t->step)));
    bad |= json_object_set_new(r, "steps", json_integer(t->step));
    bad |= json_object_set_new(r, "epoch", number(epoch_now(t)));
    bad |= json_object_set_new(r, "items", json_integer(items));
    bad |= json_object_set_new(r, "dropped", json_integer(dropped));
    bad |= json_object_set_new(r, "num_tokens", json_integer(t->tokens));
    bad |= json_object_set_new(r, "num_tokens_submitted", json_integer(t->submitted));
    bad |= json_object_set_new(r, "train_runtime", number(seconds));
    bad |= json_object_set_new(r, "train_steps_per_second", number(steps / fmax(seconds, 1e-9)));
    bad |= json_object_set_new(r, "train_tokens_per_second",
                               number((double)(t->tokens - t->started_tokens) / fmax(seconds, 1e-9)));
    return bad;
}

static int write_json(const struct trainer *t, const char *name, const json_t *value, struct err *err)
{
    char *path = path_join(t->o->output_dir, name);
    int rc = path ? json_write_file(path, value, err) : no_memory(err);
    free(path);
    return rc;
}

/* What planning chose, and the activations of 8 sequences of 512 tokens, by which trainers are compared. */
static int say_choice(struct trainer *t, json_t *r, struct err *err)
{
    struct device *dev = model_device(t->net[0].model);
    const struct model *m = t->net[0].model, *base = model_base(m) ? model_base(m) : m;
    json_object_set_new(r, "base_parameters", json_integer((json_int_t)model_param_count(base)));
    json_object_set_new(r, "max_tokens_per_batch", json_integer(t->max_tokens));
    json_object_set_new(r, "gradient_checkpointing", json_boolean(t->keep == KEEP_INPUTS));
    trainer_rest(t);
    device_trial(dev, true);
    double without = (double)device_held_besides(dev, "activations");
    t->max_tokens = 8 * 512;
    int rc = trainer_wake(t, err);
    json_object_set_new(r, "activations_8x512_mb", json_real(((double)device_used(dev) - without) / 1e6));
    device_trial(dev, false);
    return rc;
}

int trainer_finish(struct trainer *t, const struct rows *data, int items, int dropped, json_t *result, struct err *err)
{
    if (t->plan)
        return result ? say_choice(t, result, err) : 0;
    json_t *own = result ? json_incref(result) : json_object();
    json_t *state = trainer_state(t);
    int rc = own && state && !fill_result(t, items, dropped, own) ? 0 : no_memory(err);
    if (rc == 0 && t->o->output_dir) {
        rc = save_into(t->net[0].model, t->o->output_dir, t->o->save_dtype, err);
        if (rc == 0 && data)
            rc = rows_write_rejected(data, t->o->output_dir, err);
        if (rc == 0)
            rc = write_json(t, "trainer_state.json", state, err);
        if (rc == 0)
            rc = write_json(t, "train_results.json", own, err);
        if (rc == 0)
            rc = checkpoint_trim(t, err);
    }
    json_decref(state);
    json_decref(own);
    return rc;
}
