/* recipe/stage_chat.c - `rlaif chat MODEL`: a conversation, in a terminal or through a pipe.
 *
 * Answers go to standard output as they are written, notes to standard error.  Ctrl-C stops an
 * answer, not the program. With --json nothing is printed but the whole conversation at the
 * end. */
#include <signal.h>
#include <unistd.h>

#include "recipe/chat.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("model to talk with"),
    {"system", OPT_STRING, NULL, "system message", NULL, false},
    {"chat_template", OPT_STRING, NULL,
     "the name of one of the model's, chatml, a file, or none: the model continues each text "
     "(default: the model's own)",
     NULL, false},
    {"temperature", OPT_FLOAT, "0.7", "0: always the likeliest token", NULL, false},
    {"top_p", OPT_FLOAT, "0.95",
     "sample from the likeliest tokens that together have this probability", NULL, false},
    {"top_k", OPT_INT, "0", "sample from the k likeliest tokens; 0: from all", NULL, false},
    {"max_new_tokens", OPT_INT, "1024", "an answer's length at most", NULL, false},
    {"stop", OPT_LIST, NULL, "strings an answer ends before, beside the model's own end", NULL,
     false},
    {"max_length", OPT_INT, "0",
     "tokens there is room for; 0: the model's context, at most 4096", NULL, false},
    {"seed", OPT_INT, "42", "same seed and questions, same answers", NULL, false},
};

static volatile sig_atomic_t stop_asked;

static void on_interrupt(int sig)
{
    (void)sig;
    stop_asked = 1;
}

struct chat {
    struct talk talk;
    bool terminal_in, terminal_out, silent; // silent: the answers come with the result
    bool over;
    struct buf text; // as typed
};

/* ---- saying ---------------------------------------------------------------------------- */

/* What a model writes is not trusted with a terminal: control characters would be its commands.
 */
static void put_safely(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        bool control = (c < ' ' && c != '\n' && c != '\t') || c == 0x7F;
        // U+0080 to U+009F are controls too: C2 80 to C2 9F
        bool c1 = c == 0xC2 && i + 1 < n && (unsigned char)s[i + 1] < 0xA0;
        putchar(control || c1 ? '?' : c);
        i += c1;
    }
}

static bool say(void *arg, const char *text, size_t n)
{
    struct chat *c = arg;
    if (c->silent)
        return !stop_asked;
    if (c->terminal_out)
        put_safely(text, n);
    else
        fwrite(text, 1, n, stdout);
    return fflush(stdout) == 0 && !ferror(stdout) && !stop_asked;
}

static void note(const char *text)
{
    fprintf(stderr, "(%s)\n", text);
}

static int ask(struct chat *c, const char *text, struct err *err)
{
    static const char *const notes[] = {
        [TALK_CUT] = "cut at --max_new_tokens",
        [TALK_FULL] = "the context is full: the answer was cut; /reset begins anew",
        [TALK_STOPPED] = "stopped",
    };
    enum talk_end end = TALK_ENDED;
    struct err why = {0};
    stop_asked = 0;
    int rc = talk_ask(&c->talk, text, &end, say, c, &why);
    if (!c->silent && rc == 0)
        putchar('\n'), fflush(stdout);
    if (ferror(stdout))
        return err_set(err, ERR_IO, "writing to standard output: %m");
    if (rc == ERR_VALUE || rc == ERR_FORMAT || rc == ERR_UNSUPPORTED) {
        note(why.msg); // of this question; the next one may do
        return 0;
    }
    if (rc == 0 && notes[end])
        note(notes[end]);
    return rc ? err_set(err, rc, "%s", why.msg) : 0;
}

/* ---- commands -------------------------------------------------------------------------- */

static int do_system(struct chat *c, const char *arg, struct err *err)
{
    return talk_system(&c->talk, *arg ? arg : NULL, err);
}

static int do_reset(struct chat *c, const char *arg, struct err *err)
{
    return talk_reset(&c->talk, err);
}

static int do_save(struct chat *c, const char *arg, struct err *err)
{
    if (!*arg)
        return err_set(err, ERR_VALUE, "/save needs a file: /save talks.jsonl");
    int rc = talk_save(&c->talk, arg, err);
    if (rc == 0)
        fprintf(stderr, "(%zu messages are a row of %s)\n", json_array_size(c->talk.messages),
                arg);
    return rc;
}

static int do_load(struct chat *c, const char *arg, struct err *err)
{
    if (!*arg)
        return err_set(err, ERR_VALUE, "/load needs a file: /load talks.jsonl");
    return talk_load(&c->talk, arg, err);
}

static int do_quit(struct chat *c, const char *arg, struct err *err)
{
    c->over = true;
    return 0;
}

static int do_help(struct chat *c, const char *arg, struct err *err);

static const struct {
    const char *name, *arg, *help;
    int (*run)(struct chat *, const char *arg, struct err *);
} commands[] = {
    {"system", "TEXT", "sets the system message; without TEXT there is none", do_system},
    {"reset", "", "forgets the conversation, not the system message", do_reset},
    {"save", "FILE", "appends the conversation to FILE as a row {\"messages\"}", do_save},
    {"load", "FILE", "goes on with the last row of FILE", do_load},
    {"help", "", "this list", do_help},
    {"quit", "", "ends, as the end of input (Ctrl-D) does", do_quit},
};

static int do_help(struct chat *c, const char *arg, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(stderr, "  /%-7s %-5s %s\n", commands[i].name, commands[i].arg,
                commands[i].help);
    fprintf(
        stderr,
        "  a line ending in \\ goes on with the next; \"\"\" begins and ends a text of many "
        "lines; // is a /\n"
        "  Ctrl-C stops an answer\n");
    return 0;
}

static int command(struct chat *c, char *line, struct err *err)
{
    const char *names[ARRAY_LEN(commands) + 1] = {0};
    size_t n = strcspn(line, " \n\t");
    char *arg = line + n + strspn(line + n, " \n\t");
    for (char *end = arg + strlen(arg); end > arg && strchr(" \n\t", end[-1]);)
        *--end = 0;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        names[i] = commands[i].name;
        if (strlen(names[i]) == n && !strncmp(names[i], line, n))
            return commands[i].run(c, arg, err);
    }
    line[n] = 0;
    const char *near = str_nearest(line, names);
    return err_set(err, ERR_VALUE,
                   "there is no /%s%s%s%s (/help lists the commands, // begins a text with /)",
                   line, near ? "; did you mean /" : "", near ? near : "", near ? "?" : "");
}

/* ---- the loop -------------------------------------------------------------------------- */

static bool blank(const char *s)
{
    return !s[strspn(s, " \n\t")];
}

static int take_input(struct chat *c, struct err *err)
{
    char *s = c->text.s;
    if (blank(s))
        return 0;
    if (*s != '/')
        return ask(c, s, err);
    if (s[1] == '/')
        return ask(c, s + 1, err);
    struct err why = {0};
    if (command(c, s + 1, &why))
        note(why.msg); // a command that fails changes nothing
    return 0;
}

static int converse(struct chat *c, struct err *err)
{
    int rc = 0;
    while (rc == 0 && !c->over) {
        enum heard what;
        rc = chat_input(&what, &c->text, stdin, c->terminal_in && !c->silent, err);
        if (rc == 0 && what == HEARD_TEXT)
            rc = take_input(c, err);
        else if (rc == 0 && what == HEARD_INTERRUPT && c->terminal_in)
            note("/quit or Ctrl-D ends");
        else
            c->over = true;
    }
    if (rc == 0 && c->terminal_in && !c->silent)
        putchar('\n');
    return rc;
}

static void figures(json_t *result, const struct talk *t)
{
    json_object_set(result, "messages", t->messages);
    json_object_set_new(result, "turns", json_integer((json_int_t)t->turns));
    json_object_set_new(result, "prompt_tokens", json_integer(t->prompt_tokens));
    json_object_set_new(result, "computed_tokens", json_integer(t->computed_tokens));
    json_object_set_new(result, "new_tokens", json_integer(t->new_tokens));
}

static void greet(const struct chat *c, const char *path, const struct run *run)
{
    if (c->terminal_in && !c->silent && !run->quiet)
        fprintf(stderr, "%s, room for %d tokens. /help lists the commands.\n", path,
                writer_window(c->talk.writer));
}

static int run_chat(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct chat c = {.terminal_in = isatty(0), .terminal_out = isatty(1), .silent = run->json};
    const char *path = opt_str(opt, "model_name_or_path");
    struct sigaction act = {.sa_handler = on_interrupt}, before; // no SA_RESTART: waiting ends
    struct model *m = NULL;
    struct device *dev;
    int rc = run->out
                 ? err_set(err, ERR_USAGE, "chat is no stage of a recipe: somebody has to type")
                 : 0;
    if (rc == 0)
        rc = run_device(run, &dev, err);
    if (rc == 0)
        rc = stage_model(&m, dev, opt, path, false, false, err);
    if (rc == 0 && interrupted()) // while the model was loading
        rc = err_set(err, ERR_INTERRUPTED, "interrupted");
    if (rc == 0)
        rc = talk_open(&c.talk, m, opt, err);
    if (rc == 0) {
        sigemptyset(&act.sa_mask);
        sigaction(SIGINT, &act, &before);
        greet(&c, path, run);
        rc = converse(&c, err);
        sigaction(SIGINT, &before, NULL);
    }
    if (rc == 0)
        figures(result, &c.talk);
    talk_close(&c.talk);
    buf_release(&c.text);
    model_close(m);
    return rc;
}

const struct stage stage_chat = {
    .name = "chat",
    .summary = "talk with a model",
    .example = "rlaif chat models/s",
    .bare = "model_name_or_path",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_chat,
    .print = print_nothing,
};
