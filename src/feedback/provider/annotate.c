/* provider/annotate.c - pairs shown to a person one after the other; answers kept as those of
 * any labeler.
 *
 * An answer is a reply of the provider "people:NAME" to a question whose messages are the
 * conversation and the two texts as shown, so the order is part of its key, and is the same
 * whenever the pair is shown again. */
#include "feedback/feedback.h"
#include "feedback/provider/people.h"

#include <math.h>

static const char *const said[] = {"1", "2", "tie", "skip"};

struct sitting {
    const struct annotator *by;
    struct provider who;
    const struct label_item *item;
    int n;
    int *answer; // (n) index into said, -1: none yet
    int *given;  // answers of this sitting, in order: what undo takes back
    int n_given;
};

/* ---- one pair as a question -------------------------------------------------------------- */

struct shown {
    struct chat_message message[3];
    struct ask ask;
    struct hash128 key;
};

/* Which text stands left is drawn by the texts, not by when they are shown. */
static bool is_swapped(const struct label_item *it, uint64_t seed)
{
    struct hash128 part[] = {hash_bytes(it->prompt, strlen(it->prompt)),
                             hash_bytes(it->first, strlen(it->first)),
                             hash_bytes(it->second, strlen(it->second))};
    struct rng r;
    rng_init(&r, seed, RNG_ANNOTATOR, hash_bytes(part, sizeof part).lo, 0);
    return rng_below(&r, 2);
}

static void show(struct shown *q, const struct sitting *s, int i)
{
    const struct label_item *it = &s->item[i];
    bool swapped = is_swapped(it, s->by->seed);
    q->message[0] = (struct chat_message){"prompt", it->prompt};
    q->message[1] = (struct chat_message){"1", swapped ? it->second : it->first};
    q->message[2] = (struct chat_message){"2", swapped ? it->first : it->second};
    q->ask = (struct ask){.kind = ASK_TEXT,
                          .message = q->message,
                          .n_messages = 3,
                          .protocol = ANNOTATE_PROTOCOL,
                          .order = swapped};
    q->key = ask_key(s->who.fingerprint, &q->ask);
}

/* ---- the store --------------------------------------------------------------------------- */

static int look_up(struct sitting *s, struct err *err)
{
    for (int i = 0; i < s->n; i++) {
        struct shown q;
        struct reply r;
        show(&q, s, i);
        int found = store_find(s->by->store, &r, q.key, err);
        if (found < 0)
            return found;
        s->answer[i] = -1;
        for (size_t k = 0; found && r.text && k < ARRAY_LEN(said); k++)
            if (!strcmp(r.text, said[k]))
                s->answer[i] = (int)k;
        reply_release(&r);
    }
    return 0;
}

static int keep(struct sitting *s, int i, enum people_key key, double seconds, struct err *err)
{
    struct shown q;
    show(&q, s, i);
    struct reply r = {.key = q.key, .text = (char *)said[key], .seconds = seconds};
    int rc = store_begin(s->by->store, err);
    if (rc == 0)
        rc = store_add(s->by->store, &s->who, &q.ask, &r, err);
    if (rc == 0)
        rc = store_commit(s->by->store, err);
    if (rc == 0) {
        s->answer[i] = (int)key;
        s->given[s->n_given++] = i;
    }
    return rc;
}

/* Takes the last answer of this sitting back; returns its index, i where there is none,
 * negative on failure. */
static int undo(struct sitting *s, int i, struct err *err)
{
    struct shown q;
    if (s->n_given == 0)
        return i;
    int last = s->given[s->n_given - 1];
    show(&q, s, last);
    int rc = store_forget(s->by->store, q.key, err);
    if (rc)
        return rc;
    s->n_given--;
    s->answer[last] = -1;
    return last;
}

/* ---- a sitting --------------------------------------------------------------------------- */

static int sit(struct sitting *s, struct people_screen *screen, struct err *err)
{
    for (int i = 0; i < s->n;) {
        if (s->answer[i] >= 0) {
            i++;
            continue;
        }
        struct shown q;
        char status[64];
        show(&q, s, i);
        snprintf(status, sizeof status, "%d of %d", i + 1, s->n);
        struct people_pair p = {q.message[0].content, q.message[1].content,
                                q.message[2].content, status};
        double start = time_now();
        enum people_key key = people_show(screen, &p);
        if (key == PEOPLE_QUIT)
            return 0;
        int rc =
            key == PEOPLE_UNDO ? undo(s, i, err) : keep(s, i, key, time_now() - start, err);
        if (rc < 0)
            return rc;
        i = key == PEOPLE_UNDO ? rc : i + 1;
    }
    return 0;
}

static void make_label(struct label *out, const struct sitting *s, int i)
{
    int a = s->answer[i];
    bool swapped = is_swapped(&s->item[i], s->by->seed);
    double left = a == PEOPLE_ONE   ? 1
                  : a == PEOPLE_TWO ? 0
                                    : 0.5,
           p = swapped ? 1 - left : left;
    bool answered = a >= 0 && a != PEOPLE_SKIP;
    *out = (struct label){.p = p,
                          .order = {p, p},
                          .mass = answered,
                          .state = answered ? LABEL_ANSWERED : LABEL_NO_ANSWER};
}

static int keep_labels(const struct sitting *s, const struct label *label, struct err *err)
{
    int rc = store_begin(s->by->store, err);
    for (int i = 0; i < s->n && rc == 0; i++) {
        struct store_label l = {.labeler = s->who.fingerprint,
                                .protocol = ANNOTATE_PROTOCOL,
                                .prompt = s->item[i].prompt,
                                .first = s->item[i].first,
                                .second = s->item[i].second,
                                .value = label[i].p,
                                .state = label_state_name(label[i].state)};
        if (s->answer[i] >= 0)
            rc = store_add_label(s->by->store, &l, err);
    }
    if (rc == 0)
        rc = store_commit(s->by->store, err);
    if (rc)
        store_rollback(s->by->store);
    return rc;
}

int annotate_items(struct label *out, struct annotate_counts *c, const struct annotator *by,
                   const struct label_item *item, int n, struct err *err)
{
    struct sitting s = {.by = by, .item = item, .n = n};
    struct people_screen *screen = NULL;
    snprintf(s.who.fingerprint, sizeof s.who.fingerprint, "people:%s", by->name);
    snprintf(s.who.name, sizeof s.who.name, "people:%s", by->name);
    s.answer = mem_alloc((size_t)n + 1, sizeof *s.answer);
    s.given = mem_alloc((size_t)n + 1, sizeof *s.given);
    int rc =
        s.answer && s.given ? 0 : err_set(err, ERR_MEMORY, "no memory to annotate %d pairs", n);
    if (rc == 0)
        rc = look_up(&s, err);
    if (rc == 0)
        rc = people_open(&screen, by->in, by->out, by->width, err);
    if (rc == 0)
        rc = sit(&s, screen, err);
    people_close(screen);
    *c = (struct annotate_counts){.now = s.n_given};
    for (int i = 0; i < n && rc == 0; i++) {
        make_label(&out[i], &s, i);
        c->answered += s.answer[i] >= 0 && s.answer[i] != PEOPLE_SKIP;
        c->ties += s.answer[i] == PEOPLE_TIE;
        c->skipped += s.answer[i] == PEOPLE_SKIP;
        c->open += s.answer[i] < 0;
    }
    if (rc == 0)
        rc = keep_labels(&s, out, err);
    free(s.answer);
    free(s.given);
    return rc;
}
