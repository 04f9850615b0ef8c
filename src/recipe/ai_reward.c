/* recipe/ai_reward.c - a labeler plugged into training as its reward.
 *
 * Ratings go through the store, so a run that was killed does not ask again for what it had paid
 * for: the samples of a resumed step are the same, and so are the questions. */
#include "recipe/ai_reward.h"

#include <math.h>

int ai_reward_open(struct ai_reward *a, struct run *run, const json_t *opt, struct err *err)
{
    *a = (struct ai_reward){ 0 };
    int rc = labeling_open(&a->by, run, opt, opt_str(opt, "ai_reward"),
                           opt_str(opt, "reward_store"), opt_str(opt, "output_dir"), err);
    if (rc)
        return err_prefix(err, "--ai_reward");
    if (a->by.protocol->kind != PROTOCOL_RATING) {
        rc = err_set(err, ERR_USAGE,
                     "--ai_reward: protocol %s compares pairs, a reward needs a rating",
                     a->by.protocol->name);
        ai_reward_close(a);
        return rc;
    }
    a->by.labeler.texts = NULL;         // nobody reads rationales here
    a->silent.last = INFINITY;
    a->by.asker.progress = &a->silent;
    return 0;
}

void ai_reward_close(struct ai_reward *a)
{
    labeling_close(&a->by);
    *a = (struct ai_reward){ 0 };
}

int ai_reward_score(void *arg, const struct rollout *r, int n, float *score, struct err *err)
{
    struct ai_reward *j = arg;
    struct arena a = { 0 };
    if (n == 0)
        return 0;
    struct label_item *item = arena_alloc(&a, (size_t)n * sizeof *item);
    struct rating *rating = arena_alloc(&a, (size_t)n * sizeof *rating);
    int rc = item && rating ? 0 : err_set(err, ERR_MEMORY, "no memory to rate %d samples", n);
    for (int i = 0; i < n && rc == 0; i++) {
        item[i] = (struct label_item){ text_transcript(&a, &r[i].prompt->text, true), r[i].text,
                                       NULL, NULL };
        rc = item[i].prompt ? 0 : err_set(err, ERR_MEMORY, "no memory to rate %d samples", n);
    }
    struct label_counts c = { 0 };
    if (rc == 0)
        rc = rate_items(rating, &c, &j->by.labeler, item, n, err);
    c.too_long = 0;         // a sample's own doing, and its reward is 0
    if (rc == 0)
        rc = labeling_covered(&j->by, &c, n, "samples", err);
    for (int i = 0; i < n && rc == 0; i++) {
        score[i] = (float)rating[i].score;
        j->rated += rating[i].state == LABEL_ANSWERED;
        j->unrated += rating[i].state != LABEL_ANSWERED;
    }
    arena_release(&a);
    return rc;
}

void ai_reward_figures(json_t *result, const struct ai_reward *a)
{
    set_number(result, "samples_rated", (double)a->rated);
    set_number(result, "samples_unrated", (double)a->unrated);
    if (a->unrated > a->rated)
        log_warn("--ai_reward: %lld of %lld samples could not be rated; their reward is 0",
                 (long long)a->unrated, (long long)(a->rated + a->unrated));
}
