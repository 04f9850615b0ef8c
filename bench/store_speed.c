/* bench/store_speed.c - how many labels a second the store takes, and how long one of that size
 * takes to open.
 *
 *     store_speed FILE [LABELS [BYTES]]
 *
 * A provider that answers at once labels LABELS pairs (default 100000) of texts of BYTES bytes
 * (default 300) through the same calls as `rlaif label`: rendering, keys, lookups, two replies
 * and one label for each pair.  FILE is made anew.  Then the finished store is opened, and the
 * last thousand pairs are found again. */
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

#include "feedback/feedback.h"

static int at_once(struct provider *p, struct reply *out, const struct ask *ask, int n,
                   ask_done *done, void *arg, struct err *err)
{
    for (int i = 0; i < n; i++) {
        out[i] =
            (struct reply){.has_logps = true, .mass = 0.93, .tokens_in = 300, .seconds = 0.01};
        out[i].word[0] = (struct word_logp){-0.7182818284590452, -0.9};
        out[i].word[1] = (struct word_logp){-1.3141592653589793, NAN};
        if (!done(arg, i))
            break;
    }
    return 0;
}

/* Pairs `from` and on, whose texts are all different. */
static int label_part(const struct labeler *l, int from, int n, int bytes, struct err *err)
{
    struct arena a = {0};
    struct label_item *item = mem_alloc((size_t)n, sizeof *item);
    struct label *out = mem_alloc((size_t)n, sizeof *out);
    int rc = item && out ? 0 : err_set(err, ERR_MEMORY, "no memory");
    for (int i = 0; i < n && rc == 0; i++) {
        char *text[3];
        for (int k = 0; k < 3; k++) {
            text[k] = arena_alloc(&a, (size_t)bytes + 32);
            if (!text[k])
                return err_set(err, ERR_MEMORY, "no memory");
            memset(text[k], 'a' + (from + i) % 26, (size_t)bytes);
            snprintf(text[k] + bytes, 32, " %d of %d", k, from + i);
        }
        item[i] = (struct label_item){text[0], text[1], text[2], NULL};
    }
    if (rc == 0)
        rc = label_items(out, NULL, l, item, n, err);
    free(item);
    free(out);
    arena_release(&a);
    return rc;
}

static double processor_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int measure(const char *path, int n, int bytes, struct err *err)
{
    enum { PART = 10000 };
    struct protocol_options o;
    struct protocol *p = NULL;
    struct store *s = NULL;
    struct provider who = {.fingerprint = "at once", .name = "at once", .ask = at_once};
    protocol_defaults(&o);
    int rc = protocol_new(&p, "pairwise", &o, err);
    if (rc == 0)
        rc = store_open(&s, path, err);
    struct asker asker = {.provider = &who, .store = s};
    struct labeler l = {&asker, p, 0.5, NULL};
    double spent = 0, processor = 0;
    for (int at = 0; at < n && rc == 0; at += PART) {
        double start = time_now(), before = processor_seconds();
        rc = label_part(&l, at, n - at < PART ? n - at : PART, bytes, err);
        spent += time_now() - start;
        processor += processor_seconds() - before;
    }
    store_close(s);
    s = NULL;
    double start = time_now();
    if (rc == 0)
        rc = store_open(&s, path, err);
    asker.store = s;
    double opened = time_now() - start;
    if (rc == 0)
        rc = label_part(&l, n > 1000 ? n - 1000 : 0, n > 1000 ? 1000 : n, bytes, err);
    if (rc == 0)
        printf("labels,bytes,labels_per_second,labels_per_processor_second,open_seconds,open_and_find_1000_seconds\n"
               "%d,%d,%.0f,%.0f,%.4f,%.4f\n",
               n, bytes, n / spent, n / processor, opened, time_now() - start);
    store_close(s);
    protocol_free(p);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: store_speed FILE [LABELS [BYTES]]\n");
        return 2;
    }
    struct err err = {0};
    log_set_level(LOG_ERROR);
    unlink(argv[1]);
    int rc = measure(argv[1], argc > 2 ? atoi(argv[2]) : 100000, argc > 3 ? atoi(argv[3]) : 300,
                     &err);
    if (rc)
        fprintf(stderr, "store_speed: %s\n", err.msg);
    return rc != 0;
}
