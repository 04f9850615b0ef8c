/* options.c - defaults, and the learning-rate schedules of transformers. */
#include "learn/learn.h"

#include <math.h>

void train_defaults(struct train_options *o)
{
    *o = (struct train_options){
        .learning_rate = 2e-5,
        .lr_scheduler_type = LR_LINEAR,
        .adam_beta1 = 0.9,
        .adam_beta2 = 0.999,
        .adam_epsilon = 1e-8,
        .max_grad_norm = 1.0,
        .per_device_train_batch_size = 8,
        .gradient_accumulation_steps = 1,
        .num_train_epochs = 1,
        .max_length = 1024,
        .seed = 42,
        .logging_steps = 10,
        .save_steps = 500,
        .save_dtype = DTYPE_F32,
    };
}

int lr_schedule_parse(const char *name)
{
    static const char *const names[] = {"linear", "cosine", "constant", "constant_with_warmup"};
    for (int i = 0; i < (int)ARRAY_LEN(names); i++)
        if (!strcmp(name, names[i]))
            return i;
    return -1;
}

double lr_factor(enum lr_schedule s, int done, int warmup, int steps)
{
    if (s == LR_CONSTANT)
        return 1;
    if (done < warmup)
        return (double)done / warmup;
    if (s == LR_CONSTANT_WITH_WARMUP)
        return 1;
    double progress = (double)(done - warmup) / fmax(1, steps - warmup);
    if (s == LR_COSINE)
        return fmax(0, 0.5 * (1 + cos(M_PI * progress)));
    return fmax(0, 1 - progress);
}
