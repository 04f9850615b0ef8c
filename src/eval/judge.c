/* eval/judge.c - a labeler as a judge of policies: the same protocol, both orders, the same store. */
#include "eval/eval.h"

#include <math.h>

int model_judge(void *arg, double *win, const struct match *match, int n, struct err *err)
{
    struct model_judge *j = arg;
    struct label_item *item = mem_alloc((size_t)n, sizeof *item);
    struct label *label = mem_alloc((size_t)n, sizeof *label);
    int *which = mem_alloc((size_t)n, sizeof *which);
    int m = 0, rc = item && label && which
                        ? 0
                        : err_set(err, ERR_MEMORY, "no memory to judge %d pairs", n);
    for (int i = 0; i < n && rc == 0; i++) {
        win[i] = 0.5;           // equal texts tie without being asked about
        if (!strcmp(match[i].a, match[i].b))
            continue;
        which[m] = i;
        item[m++] = (struct label_item){j->prompt[match[i].prompt], match[i].a, match[i].b};
    }
    struct label_counts c = {0};
    if (rc == 0)
        rc = label_items(label, &c, j->labeler, item, m, err);
    for (int i = 0; i < m && rc == 0; i++)
        win[which[i]] = label[i].state == LABEL_ANSWERED ? label[i].p : NAN;
    j->asked += m;
    j->counts.replies_computed += c.replies_computed;
    j->counts.replies_found += c.replies_found;
    j->counts.unanswered += c.unanswered;
    j->counts.too_long += c.too_long;
    j->counts.refused += c.refused;
    j->counts.failed += c.failed;
    free(item);
    free(label);
    free(which);
    return rc;
}
