/* feedback/protocol/protocol.c - a protocol out of options, and the questions it asks about an
 * item. */
#include "feedback/protocol/internal.h"

enum { RATIONALE_TOKENS = 512, VERDICT_TOKENS = 32, RATIONALE_TOP_K = 40 };

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
}

/* ---- making one ------------------------------------------------------------------------- */

void protocol_defaults(struct protocol_options *o)
{
    *o = (struct protocol_options){.task = TASK_SUMMARY, .temperature = -1, .clamp = -1};
}

static int draws(const struct protocol_options *o)
{
    int n = o->cot && o->rationales > 1 ? o->rationales : 1;
    return o->votes > n ? o->votes : n;
}

static int check_options(const struct protocol_options *o, struct err *err)
{
    if (o->rationales < 0 || o->rationales > PROTOCOL_MAX_DRAWS)
        return err_set(err, ERR_VALUE, "rationales is %d, expected 1 to %d", o->rationales,
                       PROTOCOL_MAX_DRAWS);
    if (o->votes < 0 || o->votes > PROTOCOL_MAX_DRAWS)
        return err_set(err, ERR_VALUE, "votes is %d, expected 0 to %d", o->votes,
                       PROTOCOL_MAX_DRAWS);
    if (o->rationales > 1 && !o->cot)
        return err_set(err, ERR_VALUE, "%d rationales are wanted without a chain of thought (cot)",
                       o->rationales);
    if (!(o->temperature <= 100))
        return err_set(err, ERR_VALUE, "temperature is %g, expected 0 to 100", o->temperature);
    if (draws(o) > 1 && o->temperature == 0)
        return err_set(err, ERR_VALUE, "%d samples at temperature 0 are the same one", draws(o));
    if (!(o->clamp <= 0.5))
        return err_set(err, ERR_VALUE, "clamp is %g, expected 0 to 0.5", o->clamp);
    return 0;
}

/* What was left to the protocol. */
static void settle(struct protocol *p, bool constitution)
{
    struct protocol_options *o = &p->how;
    if (o->temperature < 0)
        o->temperature = draws(o) == 1 ? 0 : o->votes > 0 && !o->cot ? 1 : 0.7;
    if (o->clamp < 0)
        o->clamp = constitution && o->cot ? 0.40 : 0;
    if (o->max_rationale <= 0)
        o->max_rationale = RATIONALE_TOKENS;
    if (o->rationales < 1)
        o->rationales = 1;
}

static void add_form(struct buf *b, const struct protocol *p)
{
    const struct ask_form *f = &p->form;
    struct shown_item nothing = {.prompt = ""};
    buf_adds(b, p->head);
    buf_adds(b, "\n\n");
    form_sample(b, f, &nothing);
    buf_addf(b, "\n%s", f->ending);
}

/* The first part is what labels were keyed by before there were more options; these are added
 * where they are used. */
static int protocol_hash(struct protocol *p, struct err *err)
{
    const struct protocol_options *o = &p->how;
    const struct ask_form *f = &p->form;
    struct buf b = {0};
    // The number counts changes of rendering that the texts alone would not show.
    buf_addf(&b, "preference 1\n%s\nflip %d\n", label_task_name(o->task), f->flip);
    add_form(&b, p);
    if (strcmp(p->name, "pairwise"))
        buf_addf(&b, "\nprotocol %s kind %d conversation %d", p->name, p->kind, f->conversation);
    for (int i = 0; i < f->n_words && (f->n_words != 2 || strcmp(f->word[0], "1")); i++)
        buf_addf(&b, "\nword %s %.17g", f->word[i], f->value[i]);
    if (f->referenced)
        buf_addf(&b, "\nreferenced %s", f->referenced);
    if (o->cot)
        buf_addf(&b, "\nrationale %s|%s|%s tokens %d draws %d", f->instruct, f->lead, f->gap,
                 o->max_rationale, o->rationales);
    if (o->order != ORDER_BOTH)
        buf_addf(&b, "\norder %d", o->order);
    if (o->votes)
        buf_addf(&b, "\nvotes %d", o->votes);
    if (o->cot || o->votes)
        buf_addf(&b, "\ntemperature %.17g seed %llu", o->temperature, (unsigned long long)o->seed);
    else if (o->order == ORDER_RANDOM || (f->n_principles && o->principle == PRINCIPLE_DRAWN))
        buf_addf(&b, "\nseed %llu", (unsigned long long)o->seed);
    if (f->n_principles)
        buf_addf(&b, "\nprinciple %d", o->principle);
    for (int i = 0; i < f->n_principles; i++)
        buf_addf(&b, "\n%s", f->principle[i]);
    if (o->chat)
        buf_adds(&b, "\nchat");
    if (o->clamp > 0)
        buf_addf(&b, "\nclamp %.17g", o->clamp);
    if (b.failed) {
        buf_release(&b);
        return no_memory(err);
    }
    hash_hex(p->hash, hash_bytes(b.s, b.len));
    buf_release(&b);
    return 0;
}

static int make_form(struct protocol *p, const char *name, struct err *err)
{
    static const char *const names[] = {"pairwise", "constitution", "rating", NULL};
    if (!strcmp(name, "pairwise"))
        return pairwise_form(p, err);
    if (!strcmp(name, "constitution"))
        return constitution_form(p, err);
    if (!strcmp(name, "rating"))
        return rating_form(p, err);
    if (str_ends(name, ".yaml") || str_ends(name, ".yml") || file_exists(name))
        return own_form(p, name, err);
    const char *near = str_nearest(name, names);
    return err_set(err, ERR_VALUE, "protocol \"%s\" is unknown%s%s%s; there are pairwise, constitution, rating, and files FILE.yaml",
                   name, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* {"verdict": one of the words}. */
static int make_schema(struct protocol *p, struct err *err)
{
    json_t *words = json_array();
    for (int i = 0; i < p->form.n_words; i++)
        json_array_append_new(words, json_string(p->form.word[i]));
    json_t *schema = json_pack("{s:s, s:{s:{s:s, s:o}}, s:[s], s:b}", "type", "object",
                               "properties", "verdict", "type", "string", "enum", words, "required",
                               "verdict", "additionalProperties", 0);
    struct buf b = {0};
    if (schema)
        json_add_text(&b, schema, 0);
    p->schema = schema && !b.failed ? arena_strdup(&p->arena, b.s) : NULL;
    buf_release(&b);
    json_decref(schema);
    return p->schema ? 0 : no_memory(err);
}

static int check_form(const struct protocol *p, struct err *err)
{
    const struct ask_form *f = &p->form;
    if (p->how.cot && !f->lead)
        return err_set(err, ERR_VALUE,
                       "protocol %s has no lead of a rationale, so it cannot ask for one (cot)",
                       p->name);
    for (int i = 0; i < f->n_exemplars && p->how.cot; i++)
        if (!f->exemplar[i].rationale)
            return err_set(err, ERR_VALUE, "a rationale is asked for, and example %d has none",
                           i + 1);
    return 0;
}

int protocol_new(struct protocol **out, const char *name, const struct protocol_options *o,
                 struct err *err)
{
    int rc = check_options(o, err);
    struct protocol *p = rc ? NULL : mem_alloc(1, sizeof *p);
    if (!p)
        return rc ? rc : err_set(err, ERR_MEMORY, "no memory for a labelling protocol");
    name = name ? name : "pairwise";
    p->how = *o;
    snprintf(p->name, sizeof p->name, "%s", name);
    rc = make_form(p, name, err);
    if (rc == 0)
        rc = check_form(p, err);
    if (rc == 0)
        rc = make_schema(p, err);
    settle(p, !strcmp(name, "constitution"));
    struct buf head = {0};
    if (rc == 0) {
        form_head(&head, p);
        buf_adds(&head, "");
        p->head = buf_take(&head);
        rc = p->head ? 0 : no_memory(err);
    }
    if (rc == 0)
        rc = protocol_hash(p, err);
    // Names of files die with the caller's options.
    p->how.preamble = p->how.exemplar_file = p->how.scale = NULL;
    if (rc == 0)
        *out = p;
    else
        protocol_free(p);
    return rc;
}

void protocol_free(struct protocol *p)
{
    if (!p)
        return;
    free(p->head);
    arena_release(&p->arena);
    free(p);
}

/* ---- views ----------------------------------------------------------------------------------- */

/* Of the texts whichever order they came in, so that a pair that is handed over the other way
 * round meets the same choices. */
static bool texts_stand_back(const struct label_item *item)
{
    return item->second && strcmp(item->first, item->second) > 0;
}

uint64_t item_number(const struct label_item *item)
{
    bool back = texts_stand_back(item);
    const char *text[] = {item->prompt, back ? item->second : item->first,
                          back ? item->first : item->second};
    struct hash128 each[3] = {{0}};
    for (int i = 0; i < 3; i++)
        if (text[i])
            each[i] = hash_bytes(text[i], strlen(text[i]));
    return hash_bytes(each, sizeof each).lo;
}

static bool drawn_swap(const struct protocol *p, const struct label_item *item)
{
    struct rng r;
    rng_init(&r, p->how.seed, RNG_ORDER, item_number(item), 0);
    return (rng_below(&r, 2) != 0) != texts_stand_back(item);
}

static int drawn_principle(const struct protocol *p, const struct label_item *item)
{
    struct rng r;
    rng_init(&r, p->how.seed, RNG_PRINCIPLE, item_number(item), 0);
    return (int)rng_below(&r, (uint32_t)p->form.n_principles);
}

int protocol_n_views(const struct protocol *p)
{
    int n = p->kind == PROTOCOL_PAIR && p->how.order == ORDER_BOTH ? 2 : 1;
    n *= p->form.n_principles && p->how.principle == PRINCIPLE_ALL ? p->form.n_principles : 1;
    return n * draws(&p->how);
}

int protocol_views(const struct protocol *p, const struct label_item *item, struct view *out)
{
    bool pair = p->kind == PROTOCOL_PAIR, all = p->how.principle == PRINCIPLE_ALL;
    int first = 0, last = pair && p->how.order == ORDER_BOTH ? 1 : 0, n = 0;
    if (pair && p->how.order == ORDER_RANDOM)
        first = last = drawn_swap(p, item);
    int from = 0, to = 0;
    if (p->form.n_principles) {
        from = all ? 0 : p->how.principle > 0 ? p->how.principle - 1 : drawn_principle(p, item);
        to = all ? p->form.n_principles - 1 : from;
    }
    // Orders stand side by side: they share the most.
    for (int principle = from; principle <= to; principle++)
        for (int draw = 0; draw < draws(&p->how); draw++)
            for (int swapped = first; swapped <= last; swapped++)
                out[n++] = (struct view){swapped, principle, draw};
    return n;
}

/* ---- asks -------------------------------------------------------------------------------- */

int protocol_passes(const struct protocol *p)
{
    return p->how.cot ? 2 : 1;
}

static struct shown_item show(const struct protocol *p, const struct label_item *item,
                              struct view v)
{
    return (struct shown_item){item->prompt, v.swapped ? item->second : item->first,
                               v.swapped ? item->first : item->second, item->reference,
                               p->form.n_principles ? p->form.principle[v.principle] : NULL};
}

/* Everything up to where the labeler goes on by itself. */
static void add_question(struct buf *b, const struct protocol *p, const struct shown_item *it)
{
    buf_adds(b, p->head);
    buf_adds(b, b->len ? "\n\n" : "");
    form_sample(b, &p->form, it);
    if (p->how.cot && *p->form.instruct)
        buf_addf(b, "\n%s", p->form.instruct);
}

/* What it has said already, as it were: the lead, or the lead, its rationale and the ending. */
static void add_begun(struct buf *b, const struct protocol *p, int pass, const char *said)
{
    const struct ask_form *f = &p->form;
    if (p->how.cot)
        buf_adds(b, f->lead);
    if (p->how.cot && pass == 1) {
        struct span t = span_trim(said ? said : "", said ? strlen(said) : 0);
        buf_adds(b, f->gap);
        buf_add(b, t.s, t.n);
        buf_adds(b, "\n");
    }
    if (!p->how.cot || pass == 1)
        buf_adds(b, f->ending);
}

static char *kept(struct arena *a, struct buf *b)
{
    char *s = b->failed ? NULL : arena_strdup(a, b->s ? b->s : "");
    buf_release(b);
    return s;
}

/* Plain: question, a line break and what is begun, in one.  Chat: the one is asked, the other is
 * said. */
static int place_texts(struct ask *out, const struct protocol *p, struct buf *question,
                       struct buf *begun, struct arena *a, struct err *err)
{
    if (!p->how.chat) {
        buf_addf(question, "\n%s", begun->s ? begun->s : "");
        question->failed |= begun->failed;
        buf_release(begun);
        out->prompt = kept(a, question);
        out->head = p->head;
        return out->prompt ? 0 : no_memory(err);
    }
    struct chat_message *m = arena_alloc(a, sizeof *m);
    char *asked = kept(a, question), *said = kept(a, begun);
    if (!m || !asked || !said)
        return no_memory(err);
    // Line breaks part what is one text; a turn needs none around it.
    for (size_t n = strlen(asked); n && asked[n - 1] == '\n'; )
        asked[--n] = '\0';
    said += strspn(said, "\n");
    *m = (struct chat_message){"user", asked};
    out->message = m;
    out->n_messages = 1;
    out->prefill = said;
    return 0;
}

static struct sampling rationale_sampling(const struct protocol *p, struct arena *a)
{
    struct sampling s;
    sampling_defaults(&s);
    const char **stop = arena_alloc(a, 2 * sizeof *stop);
    s.temperature = (float)p->how.temperature;
    s.top_k = s.temperature > 0 ? RATIONALE_TOP_K : 0;
    s.max_new_tokens = p->how.max_rationale;
    s.seed = p->how.seed;
    struct span ending = span_trim(p->form.ending, strlen(p->form.ending));
    if (stop && (stop[0] = arena_strndup(a, ending.s, ending.n))) {
        stop[1] = "»»»»";
        s.stop = stop;
        s.n_stop = *stop[0] ? 2 : 0;
    }
    return s;
}

static struct sampling verdict_sampling(const struct protocol *p)
{
    struct sampling s;
    sampling_defaults(&s);
    // A share of samples is a probability only where nothing is filtered.
    s.temperature = p->how.votes > 1 ? p->how.cot ? 1 : (float)p->how.temperature : 0;
    s.max_new_tokens = VERDICT_TOKENS;
    s.seed = p->how.votes > 1 ? p->how.seed : 0;    // nothing else here is drawn, and the seed is in the key
    return s;
}

int protocol_ask(struct ask *out, const struct protocol *p, const struct label_item *item,
                 struct view v, int pass, const char *said, struct arena *a, struct err *err)
{
    struct buf question = {0}, begun = {0};
    struct shown_item it = show(p, item, v);
    bool last = pass + 1 == protocol_passes(p);
    *out = (struct ask){.kind = last && !p->how.votes ? ASK_WORDS : ASK_TEXT,
                        .protocol = p->hash,
                        .order = v.swapped};
    add_question(&question, p, &it);
    add_begun(&begun, p, pass, said);
    int rc = place_texts(out, p, &question, &begun, a, err);
    if (out->kind == ASK_WORDS) {
        out->word = p->form.word;
        out->n_words = p->form.n_words;
    }
    if (last && p->how.chat)
        out->schema = p->schema;
    out->sampling = last ? verdict_sampling(p) : rationale_sampling(p, a);
    // After a rationale of its own, only a vote is still a sample.
    out->draw = out->kind == ASK_TEXT ? v.draw : 0;
    return rc;
}

int feedback_render_pair(struct buf *out, const struct protocol *p, const char *prompt,
                         const char *a, const char *b)
{
    struct shown_item it = {prompt, a, b, NULL, p->form.n_principles ? p->form.principle[0] : NULL};
    size_t before = out->len;
    buf_adds(out, p->head);
    buf_adds(out, out->len > before ? "\n\n" : "");
    form_sample(out, &p->form, &it);
    buf_addf(out, "\n%s", p->form.ending);
    return out->failed ? ERR_MEMORY : 0;
}
