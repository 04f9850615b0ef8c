/* Training as equivalences: batches and accumulation, resumed and straight, one thread and two; and what
 * it does with bad data, bad numbers and old folders. */
#include "learn/small.h"

#include <signal.h>
#include <sys/wait.h>

/* Trains on SMALL_TEXTS into dir with what `change` changes. */
static int run_sft(const char *dir, int threads, enum dtype dtype, void (*change)(struct train_options *), struct err *err)
{
    struct device *dev = small_device(threads);
    struct model *m = small_model(dev, dtype, false);
    struct rows r = small_rows("texts.jsonl", SMALL_TEXTS);
    struct train_options o = small_options(dir);
    if (change)
        change(&o);
    int rc = train_sft(m, &r, &o, NULL, err);
    rows_release(&r);
    model_close(m);
    device_close(dev);
    return rc;
}

static const char *sft_into(const char *name, int threads, enum dtype dtype, void (*change)(struct train_options *))
{
    struct err err = {0};
    const char *dir = kit_path(name);
    if (run_sft(dir, threads, dtype, change, &err))
        fail_msg("%s", err.msg);
    return dir;
}

static void one_by_eight(struct train_options *o)
{
    o->per_device_train_batch_size = 1;
    o->gradient_accumulation_steps = 8;
}
static void eight_by_one(struct train_options *o) { o->per_device_train_batch_size = 8; }
static void little_room(struct train_options *o)
{
    o->per_device_train_batch_size = 8;
    o->max_tokens_per_batch = 20;
}

/* Largest difference of two F32 safetensors files with equal headers. */
static double largest_difference(const char *a, const char *b)
{
    size_t na, nb;
    const char *pa = small_file(a, "model.safetensors", &na), *pb = small_file(b, "model.safetensors", &nb);
    uint64_t head;
    assert_int_equal(na, nb);
    memcpy(&head, pa, 8);
    assert_memory_equal(pa, pb, head + 8);
    double worst = 0;
    for (size_t at = head + 8; at + 4 <= na; at += 4) {
        float x, y;
        memcpy(&x, pa + at, 4);
        memcpy(&y, pb + at, 4);
        worst = fmax(worst, fabs((double)x - y));
    }
    return worst;
}

static void accumulation_equals_the_big_batch(void **state)
{
    const char *a = sft_into("acc-1x8", 1, DTYPE_F32, one_by_eight);
    const char *b = sft_into("acc-8x1", 1, DTYPE_F32, eight_by_one);
    const char *c = sft_into("acc-room", 1, DTYPE_F32, little_room);
    // Eight steps of 1e-2: weights moved by up to 0.05, and sums in another order by rounding only.
    assert_true(largest_difference(a, b) < 2e-4);
    assert_true(largest_difference(c, b) < 2e-4);
    assert_true(fabs(logged(a, 0, "loss") - logged(b, 0, "loss")) < 1e-5);
    assert_true(fabs(logged(a, 0, "grad_norm") - logged(b, 0, "grad_norm")) < 1e-4);
}

static void sft_learns(void **state)
{
    const char *dir = sft_into("learns", 0, DTYPE_F32, eight_by_one);
    assert_true(logged(dir, 0, "loss") > 4);
    assert_true(logged(dir, -1, "loss") < 3.3);
    assert_true(logged(dir, -1, "mean_token_accuracy") > logged(dir, 0, "mean_token_accuracy") + 0.1);
    assert_true(logged(dir, -1, "mean_token_accuracy") < 1);
}

static void threads_do_not_matter(void **state)
{
    for (int d = 0; d < 2; d++) {
        enum dtype dtype = d ? DTYPE_BF16 : DTYPE_F32;
        const char *a = sft_into(d ? "one-b" : "one", 1, dtype, NULL), *b = sft_into(d ? "two-b" : "two", 2, dtype, NULL);
        same_file(a, b, "model.safetensors");
        same_file(a, b, "trainer_state.json");
    }
}

static void resume_sft(struct train_options *o) { o->resume = true; }

static void resumed_run_equals_the_straight_one(void **state)
{
    const char *straight = sft_into("straight", 1, DTYPE_F32, NULL);
    const char *again = kit_path("again");
    assert_int_equal(dir_make(again, NULL), 0);
    // The checkpoint falls between two log rows, so half-filled meters must travel too.
    assert_int_equal(copy_dir(kit_path("again/checkpoint-3"), kit_path("straight/checkpoint-3")), 0);
    sft_into("again", 1, DTYPE_F32, resume_sft);
    same_file(straight, again, "model.safetensors");
    same_file(straight, again, "trainer_state.json");
    assert_true(kit_exists(kit_path("again/checkpoint-6/model.safetensors")));
}

static void resume_without_checkpoint_starts(void **state)
{
    const char *a = sft_into("fresh", 1, DTYPE_F32, resume_sft), *b = sft_into("fresh2", 1, DTYPE_F32, NULL);
    same_file(a, b, "model.safetensors");
}

static void half_written_checkpoint_is_not_taken(void **state)
{
    const char *straight = sft_into("whole", 1, DTYPE_F32, NULL);
    assert_int_equal(dir_make(kit_path("half"), NULL), 0);
    assert_int_equal(copy_dir(kit_path("half/checkpoint-3"), kit_path("whole/checkpoint-3")), 0);
    assert_int_equal(dir_make(kit_path("half/checkpoint-5.partial"), NULL), 0);
    assert_int_equal(dir_make(kit_path("half/checkpoint-7"), NULL), 0);      // no trainer_state.json in it
    sft_into("half", 1, DTYPE_F32, resume_sft);
    same_file(straight, kit_path("half"), "model.safetensors");
}

static void other_rate(struct train_options *o)
{
    o->resume = true;
    o->learning_rate = 2e-2;
}

static void checkpoint_of_another_run_is_refused(void **state)
{
    struct err err = {0};
    const char *dir = sft_into("other", 1, DTYPE_F32, NULL);
    assert_int_equal(run_sft(dir, 1, DTYPE_F32, other_rate, &err), ERR_VALUE);
    kit_contains(err.msg, "other options, data or starting weights");
}

static void old_checkpoints_are_not_overwritten_silently(void **state)
{
    struct err err = {0};
    const char *dir = sft_into("old", 1, DTYPE_F32, NULL);
    assert_int_equal(run_sft(dir, 1, DTYPE_F32, NULL, &err), ERR_VALUE);
    kit_contains(err.msg, "--resume_from_checkpoint");
}

static void keep_one(struct train_options *o) { o->save_total_limit = 1; }

static void save_total_limit_keeps_the_newest(void **state)
{
    sft_into("limit", 1, DTYPE_F32, keep_one);
    assert_false(dir_exists(kit_path("limit/checkpoint-3")));
    assert_true(dir_exists(kit_path("limit/checkpoint-6")));
}

static void save_often(struct train_options *o)
{
    o->max_steps = 100000;
    o->save_steps = 0;
}

static void interrupt_checkpoints_and_says_how_to_go_on(void **state)
{
    int status, tube[2];
    char said[1024] = "";
    assert_int_equal(pipe(tube), 0);
    pid_t child = fork();
    if (child == 0) {
        struct err err = {0};
        interrupt_install();
        raise(SIGINT);
        int rc = run_sft(kit_path("stop"), 1, DTYPE_F32, save_often, &err);
        ssize_t put = write(tube[1], err.msg, strlen(err.msg));
        _exit(rc == ERR_INTERRUPTED && put > 0 ? 0 : 1);
    }
    close(tube[1]);
    assert_true(read(tube[0], said, sizeof said - 1) > 0);
    close(tube[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    kit_contains(said, "--resume_from_checkpoint true");
    assert_true(kit_exists(kit_path("stop/checkpoint-1/optimizer.safetensors")));
    assert_false(kit_exists(kit_path("stop/model.safetensors")));
}

static void absurd_rate(struct train_options *o)
{
    o->learning_rate = 1e37;
    o->adam_epsilon = 0;
}

static void nan_loss_stops_and_names_a_tensor(void **state)
{
    struct err err = {0};
    assert_int_equal(run_sft(kit_path("nan"), 1, DTYPE_F32, absurd_rate, &err), ERR_NUMERIC);
    kit_contains(err.msg, "step 2 of 8");
    kit_contains(err.msg, "weight");
    assert_false(kit_exists(kit_path("nan/model.safetensors")));
}

static void short_rows(struct train_options *o) { o->max_length = 10; }

static void long_rows_are_dropped_and_listed(void **state)
{
    size_t n;
    const char *dir = sft_into("long", 1, DTYPE_F32, short_rows);
    kit_contains(small_file(dir, "rejected.jsonl", &n), "more than max_length 10");
    kit_contains(small_file(dir, "train_results.json", &n), "\"dropped\": 4");
}

static void end_is_appended_once(void **state)
{
    struct device *dev = small_device(1);
    struct model *m = small_model(dev, DTYPE_F32, false);
    struct rows r = small_rows("ends.jsonl", "{\"prompt\":\"p\",\"completion\":\" a\"}\n"
                                             "{\"prompt\":\"p\",\"completion\":\" a<|endoftext|>\"}\n{\"text\":\"xy\"}\n");
    struct samples s = {0};
    struct err err = {0};
    assert_int_equal(samples_from_examples(&s, &r, m, 0, &err), 0);
    assert_int_equal(s.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s.s[i].prompt, i < 2);
        assert_int_equal(s.s[i].first, 3);
        assert_int_equal(s.ids.id[s.s[i].at + (size_t)sample_tokens(&s.s[i], false) - 1], 0);
    }
    samples_release(&s);
    rows_release(&r);
    model_close(m);
    device_close(dev);
}

static void schedules_match_transformers(void **state)
{
    // get_scheduler(...) of transformers with 10 steps, 2 of them warm-up, factors of updates 0 .. 9
    const double linear[] = {0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125};
    const double cosine[] = {0, 0.5, 1, 0.96193977, 0.85355339, 0.69134172, 0.5, 0.30865828, 0.14644661, 0.03806023};
    for (int i = 0; i < 10; i++) {
        assert_true(fabs(lr_factor(LR_LINEAR, i, 2, 10) - linear[i]) < 1e-8);
        assert_true(fabs(lr_factor(LR_COSINE, i, 2, 10) - cosine[i]) < 1e-8);
        assert_true(lr_factor(LR_CONSTANT, i, 2, 10) == 1);
        assert_true(lr_factor(LR_CONSTANT_WITH_WARMUP, i, 2, 10) == (i < 2 ? i / 2.0 : 1));
    }
    assert_int_equal(lr_schedule_parse("cosine"), LR_COSINE);
    assert_int_equal(lr_schedule_parse("polynomial"), -1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(accumulation_equals_the_big_batch),
    cmocka_unit_test(sft_learns),
    cmocka_unit_test(threads_do_not_matter),
    cmocka_unit_test(resumed_run_equals_the_straight_one),
    cmocka_unit_test(resume_without_checkpoint_starts),
    cmocka_unit_test(half_written_checkpoint_is_not_taken),
    cmocka_unit_test(checkpoint_of_another_run_is_refused),
    cmocka_unit_test(old_checkpoints_are_not_overwritten_silently),
    cmocka_unit_test(save_total_limit_keeps_the_newest),
    cmocka_unit_test(interrupt_checkpoints_and_says_how_to_go_on),
    cmocka_unit_test(nan_loss_stops_and_names_a_tensor),
    cmocka_unit_test(long_rows_are_dropped_and_listed),
    cmocka_unit_test(end_is_appended_once),
    cmocka_unit_test(schedules_match_transformers),
};
KIT_MAIN(tests)
