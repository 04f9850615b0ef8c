/* feedback/hybrid/redteam_pairs.c - what red teaming leaves: pairs, and a row of everything about
 * a prompt. */
#include <math.h>

#include "feedback/hybrid/redteam.h"

const char *attack_pair_name(enum attack_pair_kind k)
{
    static const char *const names[] = {"natural", "rewrite", "look-alike"};
    return names[k];
}

/* P(chosen harmless, rejected harmful), given that one of them is harmful. */
static double surer(const struct yes_no *better, const struct yes_no *worse)
{
    if (!better->answered || !worse->answered)
        return 1;
    double yes = (1 - better->p) * worse->p, no = better->p * (1 - worse->p);
    return yes + no > 0 ? yes / (yes + no) : 0.5;
}

/* The j-th answer that is none of the bad kind, counted around; NULL: there is none. */
static const struct attack_answer *good(const struct attack *a, int j)
{
    int n = 0;
    for (int i = 0; i < a->n; i++)
        n += a->benign ? !a->answer[i].refused : !a->answer[i].harmful;
    for (int i = 0, k = n ? j % n : 0; i < a->n && n; i++)
        if ((a->benign ? !a->answer[i].refused : !a->answer[i].harmful) && k-- == 0)
            return &a->answer[i];
    return NULL;
}

int attack_pairs(struct attack_pair *out, const struct attack *a, bool rewrites)
{
    int n = 0, bad = 0;
    for (int i = 0; i < a->n && !a->lost; i++) {
        const struct attack_answer *x = &a->answer[i], *natural;
        if (!(a->benign ? x->refused : x->harmful))
            continue;
        natural = good(a, bad++);       // another one for each, so that one text does not win all
        if (natural)
            out[n++] = (struct attack_pair){natural->text, x->text,
                                            a->benign ? PAIR_LOOK_ALIKE : PAIR_NATURAL,
                                            a->benign ? surer(&natural->refusal, &x->refusal)
                                                      : surer(&natural->harm, &x->harm)};
        if (x->saved && (rewrites || !natural) && strcmp(x->rewrite, x->text))
            out[n++] =
                (struct attack_pair){x->rewrite, x->text, PAIR_REWRITE, surer(&x->again, &x->harm)};
    }
    return n;
}

/* ---- rows ------------------------------------------------------------------------------ */

static json_t *verdict(const struct yes_no *v, bool asked)
{
    if (!asked)
        return json_null();
    return json_pack("{s:b, s:o, s:f}", "answered", v->answered, "p",
                     v->answered ? json_real(v->p) : json_null(), "mass", v->mass);
}

static json_t *answer_row(const struct attack *a, const struct attack_answer *x)
{
    json_t *o = json_pack("{s:s, s:o}", "text", x->text, a->benign ? "refusal" : "harm",
                          verdict(a->benign ? &x->refusal : &x->harm, true));
    if (a->benign) {
        json_object_set_new(o, "refused", json_boolean(x->refused));
        json_object_set_new(o, "refused_by_rule", json_boolean(x->refused_by_rule));
        return o;
    }
    json_object_set_new(o, "harmful", json_boolean(x->harmful));
    json_object_set_new(o, "rewrite", x->rewrite ? json_string(x->rewrite) : json_null());
    json_object_set_new(o, "rewrite_harm", verdict(&x->again, x->rewrite != NULL));
    json_object_set_new(o, "rewrite_kept", json_boolean(x->saved));
    if (x->truth >= 0)
        json_object_set_new(o, "truth", json_boolean(x->truth));
    return o;
}

json_t *attack_row(const struct attack *a, const struct attack *seed)
{
    json_t *o = json_object(), *answers = json_array();
    for (int i = 0; i < a->n; i++)
        json_array_append_new(answers, answer_row(a, &a->answer[i]));
    json_object_set_new(o, "id", json_string(a->id));
    json_object_set_new(o, "harm", json_string(a->harm));
    json_object_set_new(o, "benign", json_boolean(a->benign));
    json_object_set_new(o, "prompt", json_string(a->prompt));
    json_object_set_new(o, "form", json_string(attack_form_name(a->form)));
    json_object_set_new(o, "seed", json_string(seed->id));
    json_object_set_new(o, "success",
                        a->n && !a->benign ? json_real((double)a->harmful / a->n) : json_null());
    json_object_set_new(o, "selected", json_boolean(!a->benign && !a->lost && a->harmful > 0));
    json_object_set_new(o, "answers", answers);
    return o;
}

json_t *attack_pair_row(const struct attack *a, const struct attack_pair *p)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:s, s:s, s:s}", "id", a->id, "prompt", a->prompt,
                     "chosen", p->chosen, "rejected", p->rejected, "label_prob", p->p, "stage",
                     attack_pair_name(p->kind), "harm", a->harm, "category",
                     a->benign ? category_name(CATEGORY_OPEN_QA)
                               : category_name(CATEGORY_TOXICITY_REJECTION));
}
