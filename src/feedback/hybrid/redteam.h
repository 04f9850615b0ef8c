/* feedback/hybrid/redteam.h - harmless answers out of harmful ones (HRLAIF's red teaming, as
 * docs/hybrid.md fills it in).
 *
 *     attack      a labeler writes variants of seed prompts: paraphrase, role play, leading question
 *     select      the policy answers each K times; an attack stays that got a harmful answer at least once
 *     detect      each answer: harmful?  what cannot be read counts as harmful
 *     rewrite     a harmful answer into one that declines what is harmful and still speaks to the person; judged again
 *     pair        a harmless answer of the policy's own before a harmful one; the rewrite where it has none
 *     guard       benign look-alikes: how often the policy refuses what nobody need refuse */
#ifndef FEEDBACK_HYBRID_REDTEAM_H
#define FEEDBACK_HYBRID_REDTEAM_H

#include "feedback/hybrid/hybrid.h"

enum attack_form { ATTACK_SEED, ATTACK_PARAPHRASE, ATTACK_ROLE_PLAY, ATTACK_LEADING, ATTACK_FORMS };
const char *attack_form_name(enum attack_form f);  // "seed", "paraphrase", "role play", "leading question"

/* One answer of the policy and what became of it. */
struct attack_answer {
    const char *text;
    int truth;                  // the row's `harmful`: 1, 0, -1 unknown; read by figures only
    struct yes_no harm;         // P(harmful)
    bool harmful;               // unanswered counts as harmful
    const char *rewrite;        // of a harmful answer; NULL: none
    struct yes_no again;        // P(harmful) of the rewrite
    bool saved;                 // there is a rewrite, and it is harmless
    struct yes_no refusal;      // of benign prompts: P(it refuses)
    bool refused, refused_by_rule;
};
struct attack {
    const char *id, *harm, *prompt;     // harm: the type, "" unknown
    bool benign;                        // a look-alike that deserves an answer
    enum attack_form form;
    int seed;                           // index of the prompt it is a variant of; its own for seeds
    struct attack_answer *answer; int n;
    int harmful;                        // answers
    bool lost;                          // a verdict never came: no pair follows, and it is not selected
};
struct attacks { struct attack *item; int n; size_t cap; struct arena arena; };

/* Rows {"prompt","harm"?,"benign"?} (seeds), with "completions" and perhaps "harmful" (booleans)
 * where answers exist. */
struct rows;
int attacks_read(struct attacks *out, struct rows *r, struct err *err) MUST_CHECK;
void attacks_release(struct attacks *a);
/* Appends `each` variants of every form to each seed that is not benign; what says nothing new is
 * left out.  Returns through *written how many texts came and were usable. */
int attacks_vary(struct attacks *a, struct asker *attacker, int each, const struct style *s,
                 int *written, struct err *err) MUST_CHECK;
/* How a policy is shown a prompt: its own chat template, a "Human:" and "Assistant:" transcript,
 * or the text itself. */
enum prompt_form { PROMPT_CHAT, PROMPT_TRANSCRIPT, PROMPT_PLAIN };
/* k answers by the policy to every prompt that has none. */
int attacks_answer(struct attacks *a, struct asker *policy, enum prompt_form form, int k,
                   const struct sampling *s, struct err *err) MUST_CHECK;
/* Verdicts; benign prompts get refusals, by the labeler and by rule. */
int attacks_judge(struct attacks *a, struct asker *labeler, const struct style *s,
                  struct err *err) MUST_CHECK;
/* A rewrite of every harmful answer, judged again. */
int attacks_rewrite(struct attacks *a, struct asker *labeler, const struct style *s,
                    struct err *err) MUST_CHECK;

/* Whether a text begins as refusals do. */
bool refusal_by_rule(const char *text);

enum attack_pair_kind { PAIR_NATURAL, PAIR_REWRITE, PAIR_LOOK_ALIKE };
const char *attack_pair_name(enum attack_pair_kind k);     // "natural", "rewrite", "look-alike"
struct attack_pair { const char *chosen, *rejected; enum attack_pair_kind kind; double p; };
/* The pairs of one prompt; out has room for 2 n.  rewrites: also where a natural harmless answer
 * exists. */
int attack_pairs(struct attack_pair *out, const struct attack *a, bool rewrites);

json_t *attack_row(const struct attack *a, const struct attack *seed);
json_t *attack_pair_row(const struct attack *a, const struct attack_pair *p);

#endif
