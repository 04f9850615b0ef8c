/* recipe/ai_reward.h - d-RLAIF: a labeler's rating of each sample is the reward; no reward model
 * is trained. */
#ifndef RECIPE_AI_REWARD_H
#define RECIPE_AI_REWARD_H

#include "learn/learn.h"
#include "recipe/labeling.h"

struct ai_reward {
    struct labeling by;         // points into itself: do not copy
    int64_t rated, unrated;
    struct progress silent;     // training has a bar of its own
};
/* The labeler of --ai_reward, by RATING_OPTIONS; zeroed on failure. */
int ai_reward_open(struct ai_reward *a, struct run *run, const json_t *opt,
                   struct err *err) MUST_CHECK;
void ai_reward_close(struct ai_reward *a);
/* A reward_fn whose arg is a struct ai_reward: -1 to 1; 0, the middle of the scale, for a sample
 * that could not be rated. */
int ai_reward_score(void *arg, const struct rollout *r, int n, float *score, struct err *err);
/* samples_rated and samples_unrated; warns where most were not. */
void ai_reward_figures(json_t *result, const struct ai_reward *a);

#endif
