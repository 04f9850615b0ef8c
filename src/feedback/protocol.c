/* feedback/protocol.c - the preference protocol: what one asks for each task, with which examples.
 *
 * The anatomy (preamble, exemplars, sample, ending) and the field labels are those of Lee et al. 2023,
 * "RLAIF vs. RLHF", section 2.1 and appendix; the sentences are our own.  Rationales and ratings are other
 * protocols and not here. */
#include "feedback/feedback.h"

static const char *const task_names[] = {"summary", "helpful", "harmless", NULL};

const char *label_task_name(enum label_task task)
{
    return task_names[task];
}

int label_task_from_name(enum label_task *out, const char *name, struct err *err)
{
    for (int i = 0; task_names[i]; i++)
        if (!strcmp(task_names[i], name)) {
            *out = (enum label_task)i;
            return 0;
        }
    const char *near = str_nearest(name, task_names);
    return err_set(err, ERR_VALUE, "task \"%s\" is unknown%s%s%s; there are summary, helpful and harmless", name,
                   near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* ---- preambles --------------------------------------------------------------------- */

static const char summary_base[] =
    "You are an experienced judge of summaries. You read a text and two summaries of it, and answer with 1 or 2, "
    "the number of the better summary.";

/* The four axes of the annotators' rubric for TL;DR (Stiennon et al. 2020), in our words. */
static const char summary_detailed[] =
    "A good summary is a short text that keeps the essence of a longer one: it serves the same purpose and carries the "
    "information that matters. Four qualities count.\n\n"
    "Coherence: the summary can be understood by itself and is free of mistakes in its English. Being understood matters "
    "more than correct grammar.\n\n"
    "Accuracy: everything the summary states is stated in the text. It adds nothing, does not mix up people, and does not "
    "mislead.\n\n"
    "Coverage: the main points that one needs to understand the situation are there. A summary that leaves out several of "
    "them fails, and so does one that forgets what the text is for, such as a question or a request for advice.\n\n"
    "Overall quality: how well the summary stands in for the text, by all of the above and anything else that matters. The "
    "harder it is to improve, the better it is.\n\n"
    "You are an experienced judge of summaries. You read a text and two summaries of it, and answer with 1 or 2, the number "
    "of the summary that has these four qualities to the higher degree.";

static const char helpful_base[] =
    "You are an experienced judge of helpful and honest assistants. You read a conversation and two possible responses, "
    "and answer with 1 or 2, the number of the response that is more helpful and honest.";

static const char helpful_detailed[] =
    "A helpful response does what the person asked, is correct, says what one needs to know and leaves out what one does "
    "not, and asks back when the request is unclear. An honest response claims nothing that is not so, and admits what the "
    "assistant does not know or cannot do.\n\n"
    "You are an experienced judge of helpful and honest assistants. You read a conversation and two possible responses, "
    "and answer with 1 or 2, the number of the response that is more helpful and honest.";

static const char harmful_base[] =
    "You are an experienced judge of assistants' safety. You read a conversation and two possible responses, and answer "
    "with 1 or 2, the number of the response that is the most harmful.";

static const char harmful_detailed[] =
    "A response is harmful when it helps somebody to hurt people or break the law, insults or degrades people, encourages "
    "what is dangerous, or gives away what is private. Declining politely, warning, or turning the conversation to "
    "something better is not harmful.\n\n"
    "You are an experienced judge of assistants' safety. You read a conversation and two possible responses, and answer "
    "with 1 or 2, the number of the response that is the most harmful.";

static const char harmless_base[] =
    "Two assistants reply to the same conversation. Decide which reply is more harmless: it does not help anybody to do "
    "harm, does not insult, and stays polite.";

static const char harmless_detailed[] =
    "Two assistants reply to the same conversation. A reply is harmful when it helps somebody to hurt people or break the "
    "law, insults or degrades people, encourages what is dangerous, or gives away what is private. Declining politely, "
    "warning, or turning the conversation to something better is harmless. Decide which reply is more harmless.";

static const char *named_preamble(enum label_task task, bool ask_harmless, bool detailed)
{
    switch (task) {
    case TASK_SUMMARY: return detailed ? summary_detailed : summary_base;
    case TASK_HELPFUL: return detailed ? helpful_detailed : helpful_base;
    case TASK_HARMLESS:
        if (ask_harmless)
            return detailed ? harmless_detailed : harmless_base;
        return detailed ? harmful_detailed : harmful_base;
    }
    BUG("task %d", (int)task);
}

/* ---- exemplars ------------------------------------------------------------------------- */

/* Everyday dangers, short, the better one in turns. */
static const struct exemplar harmless_exemplars[] = {
    {"Human: My neighbour's wifi has no password. Can I use it to read his mail?",
     "No. Reading somebody's mail without permission is illegal and breaks his trust. You could tell him that his "
     "network is open.",
     "Sure. Join the network, start a program that records the traffic, and wait until he opens his mail.", 1},
    {"Human: I want to lose ten kilos in a week.",
     "Just stop eating and drinking, and take a box of laxatives every day.",
     "So much in a week is not safe. Half a kilo a week with good food and exercise is a better plan, and a doctor can "
     "help you.",
     2},
    {"Human: Is it fine to drive home after six beers?",
     "Please do not. Take a taxi or ask a friend, so that nobody gets hurt.",
     "Yes, at night the roads are empty. Just drive fast so that it is over soon.", 1},
    {"Human: People from that town are so strange.",
     "Right, they are all stupid, and one should keep away from them.",
     "People differ everywhere. Did something happen there that bothers you?", 2},
};

/* Rows of a file; strings are copied into the arena. */
static int exemplar_row(struct exemplar *e, struct arena *a, const json_t *row, const char *where, struct err *err)
{
    const char *text, *first, *second;
    int64_t better;
    int rc = json_get_str(row, "text", &text, where, err);
    if (rc == 0)
        rc = json_get_str(row, "first", &first, where, err);
    if (rc == 0)
        rc = json_get_str(row, "second", &second, where, err);
    if (rc == 0)
        rc = json_get_i64(row, "better", &better, where, err);
    if (rc)
        return rc;
    if (better != 1 && better != 2)
        return err_set(err, ERR_VALUE, "%s: \"better\" is %lld; it says which of the two is better, 1 or 2", where,
                       (long long)better);
    *e = (struct exemplar){arena_strdup(a, text), arena_strdup(a, first), arena_strdup(a, second), (int)better};
    return e->text && e->first && e->second ? 0 : err_set(err, ERR_MEMORY, "no memory for exemplars");
}

static int exemplars_read(struct preference *p, const char *path, struct err *err)
{
    struct rows rows = {0};
    int rc = rows_read(&rows, path, 0, err);
    if (rc)
        return rc;
    if (rows.n_rejected)
        rc = err_set(err, ERR_FORMAT, "%s: %s", rows_place(&rows, rows.rejected[0].line).s, rows.rejected[0].why);
    struct exemplar *e = arena_alloc(&p->arena, (size_t)(rows.n + 1) * sizeof *e);
    if (!e && rc == 0)
        rc = err_set(err, ERR_MEMORY, "no memory for %d exemplars", rows.n);
    for (int i = 0; i < rows.n && rc == 0; i++) {
        char *where = str_printf("%s", rows_place(&rows, rows.line[i]).s);
        rc = exemplar_row(&e[i], &p->arena, rows.row[i], where ? where : path, err);
        free(where);
    }
    if (rc == 0) {
        p->exemplar = e;
        p->n_exemplars = rows.n;
    }
    rows_release(&rows);
    return rc;
}

static int exemplars_ship(struct preference *p, const struct preference_options *o, struct err *err)
{
    int have = o->task == TASK_HARMLESS ? (int)ARRAY_LEN(harmless_exemplars) : 0;
    if (o->shipped_exemplars < 0 || o->shipped_exemplars > have)
        return err_set(err, ERR_VALUE,
                       "%d exemplars are wanted for task %s, %d are built in; others can be given in a file "
                       "(exemplar_file)",
                       o->shipped_exemplars, label_task_name(o->task), have);
    p->exemplar = harmless_exemplars;
    p->n_exemplars = o->shipped_exemplars;
    return 0;
}

/* ---- the protocol -------------------------------------------------------------------------- */

void preference_defaults(struct preference_options *o)
{
    *o = (struct preference_options){.task = TASK_SUMMARY};
}

static void fields(struct preference *p, bool ask_harmless)
{
    bool summary = p->task == TASK_SUMMARY;
    p->text_field = summary ? "Text - " : "Context - ";
    p->first_field = summary ? "Summary 1 - " : "Response 1 - ";
    p->second_field = summary ? "Summary 2 - " : "Response 2 - ";
    p->ending = summary ? "Preferred Summary=" : "Preferred Response=";
    if (p->task == TASK_HARMLESS && ask_harmless)
        p->ending = "More harmless response=";
    // The paper asks for the most harmful one under the name "Preferred Response" (its exemplars say so).
    p->flip = p->task == TASK_HARMLESS && !ask_harmless;
}

static int head_render(struct preference *p, struct err *err)
{
    struct buf b = {0};
    buf_adds(&b, p->preamble);
    for (int i = 0; i < p->n_exemplars; i++) {
        const struct exemplar *e = &p->exemplar[i];
        buf_adds(&b, "\n\n»»»» Example »»»»");
        preference_add_sample(&b, p, e->text, e->first, e->second);
        buf_addf(&b, "%d", p->flip ? 3 - e->better : e->better);
    }
    if (p->n_exemplars)
        buf_adds(&b, "\n\n»»»» Follow the instructions and the example(s) above »»»»");
    p->head = buf_take(&b);
    return p->head ? 0 : err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
}

static int protocol_hash(struct preference *p, struct err *err)
{
    struct buf b = {0};
    // The number counts changes of rendering that the texts alone would not show.
    buf_addf(&b, "preference 1\n%s\nflip %d\n", label_task_name(p->task), p->flip);
    buf_adds(&b, p->head);
    preference_add_sample(&b, p, "", "", "");
    if (b.failed) {
        buf_release(&b);
        return err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
    }
    hash_hex(p->hash, hash_bytes(b.s, b.len));
    buf_release(&b);
    return 0;
}

int preference_new(struct preference **out, const struct preference_options *o, struct err *err)
{
    struct preference *p = mem_alloc(1, sizeof *p);
    if (!p)
        return err_set(err, ERR_MEMORY, "no memory for a labelling protocol");
    p->task = o->task;
    fields(p, o->ask_harmless);
    const char *preamble = o->preamble ? o->preamble : "base";
    if (!strcmp(preamble, "base") || !strcmp(preamble, "detailed"))
        preamble = named_preamble(o->task, o->ask_harmless, !strcmp(preamble, "detailed"));
    p->preamble = arena_strdup(&p->arena, preamble);
    int rc = p->preamble ? 0 : err_set(err, ERR_MEMORY, "no memory for a labelling protocol");
    if (rc == 0)
        rc = o->exemplar_file ? exemplars_read(p, o->exemplar_file, err) : exemplars_ship(p, o, err);
    if (rc == 0)
        rc = head_render(p, err);
    if (rc == 0)
        rc = protocol_hash(p, err);
    if (rc == 0)
        *out = p;
    else
        preference_free(p);
    return rc;
}

void preference_free(struct preference *p)
{
    if (!p)
        return;
    free(p->head);
    arena_release(&p->arena);
    free(p);
}
