/* checkpoint.c - all that a run needs to go on, in one folder that appears whole or not at all.
 *
 *     checkpoint-<step>/
 *         config.json, model.safetensors, tokenizer files   the model of that moment, usable as it is
 *         optimizer.safetensors           fp32 masters and moments of the first network
 *         value_optimizer.safetensors     of the second, where there is one
 *         trainer_state.json              counters, log_history, meters that were not logged yet, key of the run
 *
 * The position in the data and in the schedule is the step number; random numbers are keyed by it.  The key
 * is a hash of options, data and starting weights: a checkpoint of another run is refused. */
#include "learn/internal.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "checkpoint: no memory");
}

/* ---- trainer_state.json ------------------------------------------------------------------- */

static json_t *meters_json(const struct trainer *t)
{
    json_t *list = json_array();
    for (int i = 0; i < t->n_meters; i++)
        json_array_append_new(list, json_pack("[s,f,f]", t->meter[i].name, t->meter[i].num, t->meter[i].den));
    return list;
}

json_t *trainer_state(const struct trainer *t)
{
    return json_pack("{s:n, s:n, s:f, s:i, s:i, s:f, s:i, s:i, s:i, s:I, s:O, s:{s:s, s:s, s:f, s:f, s:I, s:o}}",
                     "best_metric", "best_model_checkpoint", "epoch", t->step / t->steps_per_epoch, "global_step",
                     t->step, "max_steps", t->max_steps, "num_train_epochs", t->max_steps / t->steps_per_epoch,
                     "train_batch_size", t->o->per_device_train_batch_size, "logging_steps", t->o->logging_steps,
                     "save_steps", t->o->save_steps, "num_input_tokens_seen", (json_int_t)t->tokens, "log_history",
                     t->log, "rlaif", "kind", t->kind, "key", t->key, "loss_sum", t->loss_sum, "kl_coef", t->kl_coef, "num_tokens_submitted",
                     (json_int_t)t->submitted, "meters",
                     meters_json(t));
}

static int meters_load(struct trainer *t, const json_t *list, const char *path, struct err *err)
{
    size_t i;
    json_t *m;
    t->n_meters = 0;
    json_array_foreach(list, i, m) {
        const char *name;
        double num, den;
        if (json_unpack(m, "[s,F,F]", &name, &num, &den) || strlen(name) >= sizeof t->meter[0].name ||
            t->n_meters == MAX_METERS)
            return err_set(err, ERR_FORMAT, "%s: rlaif.meters[%zu] is not [name, number, number]", path, i);
        meter_add(t, name, num, den);
    }
    return 0;
}

static int state_load(struct trainer *t, const json_t *state, const char *path, struct err *err)
{
    const json_t *own = json_object_get(state, "rlaif");
    json_t *log = json_object_get(state, "log_history");
    const char *key, *kind;
    int64_t step, tokens, submitted;
    double loss_sum, kl_coef;
    int rc = json_get_str(own, "key", &key, path, err);
    if (rc == 0)
        rc = json_get_str(own, "kind", &kind, path, err);
    if (rc == 0)
        rc = json_get_i64(state, "global_step", &step, path, err);
    if (rc == 0)
        rc = json_get_i64(state, "num_input_tokens_seen", &tokens, path, err);
    if (rc == 0)
        rc = json_get_i64(own, "num_tokens_submitted", &submitted, path, err);
    if (rc == 0)
        rc = json_get_double(own, "loss_sum", &loss_sum, path, err);
    if (rc == 0)
        rc = json_get_double(own, "kl_coef", &kl_coef, path, err);
    if (rc)
        return rc;
    if (strcmp(key, t->key) != 0)
        return err_set(err, ERR_VALUE, "%s: written by a run with other options, data or starting weights (%s, %d steps "
                       "now): continue that one as it was, or remove its checkpoints", path, t->kind, t->max_steps);
    if (!json_is_array(log) || step < 0 || step > t->max_steps)
        return err_set(err, ERR_FORMAT, "%s: global_step or log_history is not usable", path);
    rc = meters_load(t, json_object_get(own, "meters"), path, err);
    if (rc)
        return rc;
    json_decref(t->log);
    t->log = json_incref(log);
    t->step = (int)step;
    t->tokens = tokens;
    t->submitted = submitted;
    t->loss_sum = loss_sum;
    t->kl_coef = kl_coef;
    return 0;
}

/* ---- the folders -------------------------------------------------------------------------------- */

/* Step numbers of the complete checkpoints, ascending; the caller frees. */
static int list_steps(const struct trainer *t, int **out, int *n, struct err *err)
{
    size_t cap = 0;
    *out = NULL;
    *n = 0;
    DIR *d = opendir(t->o->output_dir);
    if (!d)
        return errno == ENOENT ? 0 : err_set(err, ERR_IO, "%s: %s", t->o->output_dir, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        int64_t step;
        if (!str_starts(e->d_name, "checkpoint-") || !str_to_i64(e->d_name + 11, &step) || step < 0 || step > INT32_MAX)
            continue;
        char *state = str_printf("%s/%s/trainer_state.json", t->o->output_dir, e->d_name);
        int *p = state ? mem_grow(*out, &cap, (size_t)*n + 1, sizeof *p) : NULL;
        if (!p)
            rc = no_memory(err);
        else
            *out = p;
        if (rc == 0 && file_exists(state)) {
            int at = (*n)++;
            for (; at > 0 && p[at - 1] > step; at--)
                p[at] = p[at - 1];
            p[at] = (int)step;
        }
        free(state);
    }
    closedir(d);
    return rc;
}

static int remove_first(const struct trainer *t, const int *step, int n, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        char *dir = str_printf("%s/checkpoint-%d", t->o->output_dir, step[i]);
        rc = dir ? dir_remove(dir, err) : no_memory(err);
        free(dir);
    }
    return rc;
}

int checkpoint_trim(const struct trainer *t, struct err *err)
{
    int *step, n, keep = t->o->save_total_limit;
    if (keep <= 0)
        return 0;
    int rc = list_steps(t, &step, &n, err);
    if (rc == 0 && n > keep)
        rc = remove_first(t, step, n - keep, err);
    free(step);
    return rc;
}

int checkpoint_refuse_old(const struct trainer *t, struct err *err)
{
    int *step, n, rc = list_steps(t, &step, &n, err);
    if (rc == 0 && n > 0)
        rc = err_set(err, ERR_VALUE, "%s holds checkpoint-%d of an earlier run: go on from it with --resume_from_checkpoint "
                     "true, or start anew with --overwrite_output_dir true or in another folder", t->o->output_dir, step[n - 1]);
    free(step);
    return rc;
}

static int fill(struct trainer *t, const char *dir, struct err *err)
{
    int rc = save_into(t->net[0].model, dir, t->o->save_dtype, err);
    for (int i = 0; rc == 0 && i < t->n_nets; i++) {
        char *path = str_printf("%s/%s.safetensors", dir, t->net[i].name);
        rc = path ? trainable_save(t->net[i].t, path, err) : no_memory(err);
        free(path);
    }
    json_t *state = rc ? NULL : trainer_state(t);
    char *path = path_join(dir, "trainer_state.json");
    if (rc == 0)
        rc = state && path ? json_write_file(path, state, err) : no_memory(err);
    free(path);
    json_decref(state);
    return rc;
}

int checkpoint_save(struct trainer *t, struct err *err)
{
    char *tmp = NULL, *path = str_printf("%s/checkpoint-%d", t->o->output_dir, t->step);
    int rc = path ? dir_make(t->o->output_dir, err) : no_memory(err);
    if (rc == 0)
        rc = dir_out_open(&tmp, path, err);
    if (rc == 0)
        rc = fill(t, tmp, err);
    if (rc == 0) {
        rc = dir_out_commit(tmp, path, err);    // takes tmp
        tmp = NULL;
    }
    dir_out_drop(tmp);
    free(path);
    return rc ? rc : checkpoint_trim(t, err);
}

static int load(struct trainer *t, int step, struct err *err)
{
    char *path = str_printf("%s/checkpoint-%d/trainer_state.json", t->o->output_dir, step);
    struct err why = {0};
    json_t *state = path ? json_read_file(path, &why) : NULL;
    int rc = state ? 0 : path ? err_set(err, why.code, "%s", why.msg) : no_memory(err);
    if (rc == 0)
        rc = state_load(t, state, path, err);
    for (int i = 0; rc == 0 && i < t->n_nets; i++) {
        char *file = str_printf("%s/checkpoint-%d/%s.safetensors", t->o->output_dir, step, t->net[i].name);
        rc = file ? trainable_load(t->net[i].t, file, err) : no_memory(err);
        free(file);
    }
    json_decref(state);
    free(path);
    return rc;
}

int checkpoint_resume(struct trainer *t, struct err *err)
{
    int *step, n, rc = list_steps(t, &step, &n, err);
    if (rc == 0 && n > 0) {
        rc = load(t, step[n - 1], err);
        if (rc == 0 && !t->o->quiet)
            log_info("%s: going on from %s/checkpoint-%d of %d steps", t->kind, t->o->output_dir, step[n - 1], t->max_steps);
    }
    free(step);
    return rc;
}

/* ---- a model among other files ------------------------------------------------------------------------ */

static int move_all(const char *from, const char *to, struct err *err)
{
    DIR *d = opendir(from);
    if (!d)
        return err_set(err, ERR_IO, "%s: %s", from, strerror(errno));
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        char *a = path_join(from, e->d_name), *b = path_join(to, e->d_name);
        if (!a || !b)
            rc = no_memory(err);
        else if (rename(a, b))
            rc = err_set(err, ERR_IO, "%s: cannot be renamed into place: %s", b, strerror(errno));
        free(a);
        free(b);
    }
    closedir(d);
    return rc;
}

/* model_save replaces a whole folder, which here may hold checkpoints: the files are written in a folder of
 * their own and moved one by one, each whole. */
int save_into(const struct model *m, const char *dir, enum dtype dtype, struct err *err)
{
    char *tmp = path_join(dir, "model.partial");
    int rc = tmp ? dir_make(dir, err) : no_memory(err);
    if (rc == 0)
        rc = model_save(m, tmp, dtype, err);
    if (rc == 0)
        rc = move_all(tmp, dir, err);
    if (rc == 0)
        rc = dir_remove(tmp, err);
    else if (tmp)
        (void)dir_remove(tmp, NULL);
    free(tmp);
    return rc;
}
