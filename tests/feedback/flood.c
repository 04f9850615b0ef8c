/* feedback/flood.c - what the client of endpoints costs: N questions to URL, C at a time, in
 * rounds of 1000.
 *
 *     flood URL N C [text TOKENS]     words by default; text: TOKENS tokens sampled each, after
 * prompts of their own
 *
 * Prints questions and tokens per second, this process's share of one core, and its resident
 * memory after the first round and at the end.  The key comes from RLAIF_API_KEY. */
#include "feedback/feedback.h"

#include <sys/resource.h>
#include <unistd.h>

enum { ROUND = 1000 };

static double resident_mb(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fscanf(f, "%ld %ld", &all, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static bool told(void *arg, int i)
{
    *(int *)arg += i >= 0;
    return true;
}

static struct ask question(const char *prompt, int tokens)
{
    static const char *const word[] = {"1", "2"};
    struct ask a = {.kind = tokens ? ASK_TEXT : ASK_WORDS, .prompt = prompt};
    if (tokens)
        a.sampling = (struct sampling){.temperature = 0,
                                       .top_p = 1,
                                       .max_new_tokens = tokens,
                                       .seed = 1,
                                       .ignore_eos = true};
    else
        a.word = word, a.n_words = 2;
    return a;
}

struct sums {
    int64_t in, out;
    int failed, answered;
};

static int ask_round(struct provider *p, int from, int n, int tokens, struct sums *s,
                     struct err *err)
{
    static struct ask ask[ROUND];
    static struct reply reply[ROUND];
    static char prompt[ROUND][400];
    for (int i = 0; i < n; i++) {
        snprintf(prompt[i], sizeof prompt[i],
                 "Number %d: which of these two is the better answer to a question about the "
                 "weather in town %d? "
                 "The first says that it rains on most days, the second that nobody knows. "
                 "Answer 1 or 2.\nAnswer=",
                 from + i, (from + i) * 7919);
        ask[i] = question(prompt[i], tokens);
    }
    int rc = p->ask(p, reply, ask, n, told, &s->answered, err);
    for (int i = 0; i < n; i++) {
        s->in += reply[i].tokens_in - reply[i].tokens_cached; // what had to be computed
        s->out += reply[i].tokens_out;
        s->failed += reply[i].state != REPLY_OK;
    }
    replies_release(reply, n);
    memset(reply, 0, sizeof reply);
    return rc;
}

int main(int argc, char **argv)
{
    struct provider *p = NULL;
    struct err err = {0};
    struct sums s = {0};
    if (argc < 4)
        return 2;
    int n = atoi(argv[2]), tokens = argc > 5 ? atoi(argv[5]) : 0;
    struct endpoint_options o = {
        .url = argv[1], .key = getenv("RLAIF_API_KEY"), .concurrency = atoi(argv[3])};
    int rc = provider_endpoint_new(&p, &o, &err);
    double start = time_now(), cpu = cpu_seconds(), first = 0;
    for (int at = 0; at < n && rc == 0; at += ROUND) {
        rc = ask_round(p, at, n - at < ROUND ? n - at : ROUND, tokens, &s, &err);
        if (at == 0)
            first = resident_mb();
    }
    double seconds = time_now() - start;
    if (rc)
        fprintf(stderr, "%s\n", err.msg);
    else
        printf("%d questions, %d failed, %.2f s: %.1f/s, %.1f tokens in/s, %.1f tokens out/s, "
               "%.2f %% of one core "
               "(%.0f us each); resident %.1f MB after the first round, %.1f MB at the end\n",
               s.answered, s.failed, seconds, s.answered / seconds, (double)s.in / seconds,
               (double)s.out / seconds, 100 * (cpu_seconds() - cpu) / seconds,
               1e6 * (cpu_seconds() - cpu) / (s.answered ? s.answered : 1), first,
               resident_mb());
    provider_free(p);
    return rc != 0;
}
