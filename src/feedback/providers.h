/* feedback/providers.h - who can be asked besides a model in this process: servers, people,
 * several at once.
 *
 * An endpoint is any server that speaks OpenAI's chat or completions: hosted ones, vLLM,
 * llama-server.  It is named https://HOST/v1#MODEL; the model may be left out where the server
 * has one.  What a server gives (log-probs, prefill, schemas, thoughts) is found out when it is
 * opened.  docs/labelers.md. */
#ifndef FEEDBACK_PROVIDERS_H
#define FEEDBACK_PROVIDERS_H

#include "feedback/ask.h"

/* ---- endpoints (provider/endpoint.c) ---------------------------------------------------- */

struct endpoint_options {
    const char *url; // https://HOST/v1, with #MODEL or without
    const char *key; // bearer; NULL: none.  In no message, no log and no store.
    int concurrency; // calls in flight; 0: found by trying, up to 256
    int retries;    // of one question after what may pass (429, 5xx, resets); 0: 8, below: none
    double timeout; // seconds for one reply; 0: 600
    double wait;    // seconds before the first retry, doubling; 0: 0.5
    const char *price_table; // YAML; NULL: nothing costs anything
    /* Instead of asking: questions are written to this file, for a host's batch interface
     * (their replies are failed, and asked again); or replies are read from files that came
     * back, with commas between. */
    const char *batch_file, *collect;
};
/* Asks the server what it can do; a wrong key, an unknown model, nobody there, or a bad
 * certificate fail here. */
int provider_endpoint_new(struct provider **out, const struct endpoint_options *o,
                          struct err *err) MUST_CHECK;
/* One line for people: what the server was found to give.  NULL for other providers; the
 * provider's own. */
const char *provider_endpoint_facts(const struct provider *p);
/* ---- prices (provider/price.c) ----------------------------------------------------------- */

/* Money per million tokens. */
struct price {
    double input, cached, output;
};
/* The first entry of a YAML file whose pattern fits the model:
 *     - {model: "gpt-4o-mini*", input: 0.15, cached_input: 0.075, output: 0.6}
 * A model that none fits is an error that names the file. */
int price_read(struct price *out, const char *path, const char *model,
               struct err *err) MUST_CHECK;
/* ---- names ------------------------------------------------------------------------------- */

/* Whether a labeler's name is the address of an endpoint. */
bool labeler_is_endpoint(const char *name);
/* The key: of a file's first line, else RLAIF_API_KEY, else, for api.openai.com alone,
 * OPENAI_API_KEY.  *out NULL where there is none; the caller's. */
int endpoint_key(char **out, const char *url, const char *file, struct err *err) MUST_CHECK;

/* ---- people (provider/annotate.c) -------------------------------------------------------- */

#define ANNOTATE_PROTOCOL "side by side 1"
struct annotator {
    const char *name; // labels are those of people:NAME
    struct store *store;
    uint64_t seed; // of the order in which two texts are shown
    int in, out;   // file descriptors: keys, screens
    int width;     // columns; 0: the terminal's
};
struct annotate_counts {
    int now;                           // answers of this sitting
    int answered, ties, skipped, open; // of all n; ties count as answered
};
struct label;
struct label_item;
/* Shows what this person has not answered yet, until all is or `q`; each answer is committed as
 * it is given.  out (n): P is 1, 0 or 0.5; LABEL_NO_ANSWER where it was skipped or not reached.
 */
int annotate_items(struct label *out, struct annotate_counts *c, const struct annotator *by,
                   const struct label_item *item, int n, struct err *err) MUST_CHECK;

/* ---- several together (provider/ensemble.c) ---------------------------------------------- */

enum ensemble_how {
    ENSEMBLE_MEAN,     // of the probabilities
    ENSEMBLE_MAJORITY, // share of the votes, ties one half
    ENSEMBLE_WEIGHTED, // votes weighted by log-odds of each one's accuracy: the posterior where
                       // they err independently
};
int ensemble_from_name(enum ensemble_how *out, const char *name, struct err *err) MUST_CHECK;
/* Log-odds of being right after `hits` of `rows` (ties one half). */
double ensemble_weight(double hits, int rows);
/* by (n): labels of one pair, NULL where one has none; what was not answered does not count.
 * weight (n): of ENSEMBLE_WEIGHTED, else NULL. */
void ensemble_label(struct label *out, const struct label *const *by, const double *weight,
                    int n, enum ensemble_how how);

#endif
