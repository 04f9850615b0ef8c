/* recipe/training.c - options of the training stages, read once for all four. */
#include "recipe/training.h"

#include <dirent.h>

enum dtype training_dtype(const json_t *opt, const struct device *dev)
{
    const char *name = opt_str(opt, "dtype");
    if (!strcmp(name, "auto"))
        return device_fast_bf16(dev) ? DTYPE_BF16 : DTYPE_F32;
    return !strcmp(name, "bfloat16") ? DTYPE_BF16 : DTYPE_F32;
}

struct model_options compute_options(const json_t *opt, const struct device *dev)
{
    return (struct model_options){
        .dtype = training_dtype(opt, dev),
        .dequantize = opt_bool(opt, "dequantize"),
        .max_model_len = (int)opt_int(opt, "max_model_len"),
        .seed = json_object_get(opt, "seed") ? (uint64_t)opt_int(opt, "seed") : 0,
    };
}

static int int_option(const json_t *opt, const char *name, int64_t min, int *out, struct err *err)
{
    int64_t v = opt_given(opt, name) ? opt_int(opt, name) : 0;
    if (v < min || v > 1 << 30)
        return err_set(err, ERR_USAGE, "--%s is %lld, expected %lld to %d", name, (long long)v,
                       (long long)min, 1 << 30);
    *out = (int)v;
    return 0;
}

static int read_counts(struct train_options *o, const json_t *opt, struct err *err)
{
    const struct { const char *name; int64_t min; int *out; } counts[] = {
        {"warmup_steps", 0, &o->warmup_steps},
        {"per_device_train_batch_size", 1, &o->per_device_train_batch_size},
        {"gradient_accumulation_steps", 1, &o->gradient_accumulation_steps},
        {"max_steps", -1, &o->max_steps},
        {"max_length", 0, &o->max_length},
        {"max_tokens_per_batch", 0, &o->max_tokens_per_batch},
        {"logging_steps", 0, &o->logging_steps},
        {"save_steps", 0, &o->save_steps},
        {"save_total_limit", 0, &o->save_total_limit},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(counts); i++)
        rc = int_option(opt, counts[i].name, counts[i].min, counts[i].out, err);
    return rc;
}

static void read_rates(struct train_options *o, const json_t *opt)
{
    o->learning_rate = opt_float(opt, "learning_rate");
    o->lr_scheduler_type = (enum lr_schedule)lr_schedule_parse(opt_str(opt, "lr_scheduler_type"));
    o->warmup_ratio = opt_float(opt, "warmup_ratio");
    o->weight_decay = opt_float(opt, "weight_decay");
    o->adam_beta1 = opt_float(opt, "adam_beta1");
    o->adam_beta2 = opt_float(opt, "adam_beta2");
    o->adam_epsilon = opt_float(opt, "adam_epsilon");
    o->max_grad_norm = opt_float(opt, "max_grad_norm");
    o->num_train_epochs = opt_float(opt, "num_train_epochs");
}

static int remove_checkpoints(const char *dir, struct err *err)
{
    DIR *d = opendir(dir);
    int rc = 0;
    for (struct dirent *e; d && rc == 0 && (e = readdir(d));) {
        if (!str_starts(e->d_name, "checkpoint-"))
            continue;
        char *path = path_join(dir, e->d_name);
        rc = path ? dir_remove(path, err) : err_set(err, ERR_MEMORY, "%s: no memory", dir);
        free(path);
    }
    if (d)
        closedir(d);
    return rc;
}

int training_begin(struct run *run, const json_t *opt, struct train_options *o, struct device **dev,
                   struct err *err)
{
    train_defaults(o);
    read_rates(o, opt);
    int rc = read_counts(o, opt, err);
    if (rc == 0)
        rc = memory_option(opt, &o->memory_limit, err);
    if (rc == 0)
        rc = run_device(run, dev, err);
    if (rc)
        return rc;
    o->output_dir = opt_str(opt, "output_dir");
    o->optim = !strcmp(opt_str(opt, "optim"), "adamw_8bit") ? OPTIM_ADAMW_8BIT : OPTIM_ADAMW;
    o->gradient_checkpointing = opt_bool(opt, "gradient_checkpointing");
    o->seed = (uint64_t)opt_int(opt, "seed");
    o->resume = run->resume || opt_bool(opt, "resume_from_checkpoint");
    o->quiet = run->quiet || run->json;
    o->save_dtype = training_dtype(opt, *dev);
    if (device_is_plan(*dev))
        return 0;
    // A recipe that does not resume has decided that what lies there is stale.
    if (!o->resume && (run->out || opt_bool(opt, "overwrite_output_dir")))
        rc = remove_checkpoints(o->output_dir, err);
    return rc ? rc : dir_make(o->output_dir, err);
}

/* Merged models and adapters do not lie in one folder. */
static int check_unmixed(const char *dir, bool adapter, struct err *err)
{
    const char *other = adapter ? "config.json" : "adapter_config.json";
    char *path = path_join(dir, other);
    int rc = 0;
    if (!path || file_exists(path))
        rc = err_set(err, ERR_VALUE, "--output_dir: %s holds %s: %s; choose another folder", dir,
                     other,
                     adapter ? "a whole model lies there, an adapter needs a folder of its own"
                             : "an adapter lies there, a whole model needs a folder of its own");
    free(path);
    return rc;
}

int stage_base(struct model **out, struct device *dev, const char *path,
               const struct model_options *mo, struct err *err)
{
    struct model_options plain = *mo;
    int rc = model_open(out, dev, path, &plain, err);
    if (rc != ERR_UNSUPPORTED)
        return rc;
    plain.scalar_head = true;       // a reward model may be the base of another
    struct err again = {0};
    return model_open(out, dev, path, &plain, &again) ? rc : 0;
}

int stage_model(struct model **out, struct device *dev, const json_t *opt, const char *path,
                bool scalar_head, bool trainable, struct err *err)
{
    struct model_options mo = compute_options(opt, dev), frozen = mo;
    struct start s;
    struct model *base = NULL;
    mo.scalar_head = scalar_head;
    mo.trainable = trainable;
    int rc = start_read(&s, opt, path, trainable, err);
    if (rc == 0 && trainable)
        rc = check_unmixed(opt_str(opt, "output_dir"), start_adapted(&s), err);
    if (rc == 0 && !start_adapted(&s))
        rc = model_open(out, dev, s.base, &mo, err);
    else if (rc == 0)
        rc = stage_base(&base, dev, s.base, &frozen, err);
    if (rc == 0 && base)
        rc = start_over(out, base, &s, opt, &mo, err);
    model_close(base);      // lives on below the adapter
    start_release(&s);
    return rc;
}
