/* recipe/stage_template.c - `rlaif template`: what a chat template makes of conversations.
 *
 * Each line is a conversation: a list of messages, or an object with "messages" and, if wanted,
 * "tools", "documents", "variables", "add_generation_prompt", "continue_field" and "template".
 * Each becomes a line: the text as a JSON string, or with --text as it is. */
#include <errno.h>

#include "model/model.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    {"model_name_or_path", OPT_INPUT, NULL, "folder with tokenizer.json, or a GGUF file (-m)",
     NULL, true},
    {"input", OPT_INPUT, NULL, "JSON Lines of conversations; without it, standard input", NULL,
     false},
    {"chat_template", OPT_STRING, NULL,
     "instead of the model's own: one of its templates by name, 'chatml', or a file", NULL,
     false},
    {"add_generation_prompt", OPT_BOOL, "false",
     "open the answer's turn, for conversations that do not say", NULL, false},
    {"keep_going", OPT_BOOL, "false",
     "a conversation that fails becomes {\"error\": ...}, and the next one follows", NULL,
     false},
    {"text", OPT_BOOL, "false", "the texts themselves, not as JSON strings", NULL, false},
};

struct job {
    struct tokenizer *t;
    const char *from; // for messages
    json_t *rows;     // with --json: what would be printed; else NULL
    bool generation_prompt, text, keep_going;
    int number; // line read last, from 1
    struct buf out, line;
};

static int print(struct job *j, const char *s, size_t n, struct err *err)
{
    if (fwrite(s, 1, n, stdout) != n || putchar('\n') == EOF)
        return err_set(err, ERR_IO, "writing to standard output: %s", strerror(errno));
    return 0;
}

/* A line of JSON; value is taken. */
static int print_json(struct job *j, json_t *value, struct err *err)
{
    if (!value || j->rows)
        return value && json_array_append_new(j->rows, value) == 0
                   ? 0
                   : err_set(err, ERR_MEMORY, "no memory for a row");
    buf_clear(&j->line);
    json_add_text(&j->line, value, 0);
    json_decref(value);
    return j->line.failed ? err_set(err, ERR_MEMORY, "no memory for a text")
                          : print(j, j->line.s, j->line.len, err);
}

static int print_rendered(struct job *j, struct err *err)
{
    const char *s = j->out.s ? j->out.s : "";
    if (j->text && !j->rows)
        return print(j, s, j->out.len, err);
    json_t *text = json_stringn(s, j->out.len);
    return text ? print_json(j, text, err)
                : err_set(err, ERR_VALUE, "the text is not UTF-8; --text prints it as it is");
}

static int render_line(struct job *j, const char *s, size_t n, struct err *err)
{
    struct chat_request q;
    char where[512];
    snprintf(where, sizeof where, "%s, line %d", j->from, j->number);
    json_t *o = json_parse(s, n, where, err);
    int rc = o ? chat_request_read(&q, o, err) : err ? err->code : ERR_FORMAT;
    if (rc == 0 && j->generation_prompt && !json_object_get(o, "add_generation_prompt"))
        q.add_generation_prompt = !q.continue_field;
    buf_clear(&j->out);
    if (rc == 0)
        rc = chat_apply(j->t, &j->out, &q, NULL, err);
    if (rc == 0)
        rc = print_rendered(j, err);
    if (rc && o)
        err_prefix(err, "%s", where);
    json_decref(o);
    return rc;
}

static int one_line(struct job *j, const char *s, size_t n, struct err *err)
{
    struct err why = {0};
    int rc = render_line(j, s, n, &why);
    if (rc && j->keep_going && rc != ERR_MEMORY && rc != ERR_IO)
        return print_json(j, json_pack("{ss}", "error", why.msg), err);
    return rc ? err_set(err, rc, "%s", why.msg) : 0;
}

static int each_line(struct job *j, FILE *f, struct err *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;
    while (rc == 0 && (n = getline(&line, &cap, f)) >= 0) {
        j->number++;
        if (n && line[n - 1] == '\n')
            n--;
        if (n)
            rc = one_line(j, line, (size_t)n, err);
        if (rc == 0 && interrupted())
            rc = err_set(err, ERR_INTERRUPTED, "interrupted after line %d", j->number);
    }
    if (rc == 0 && ferror(f))
        rc = err_set(err, ERR_IO, "%s: reading: %s", j->from, strerror(errno));
    free(line);
    return rc;
}

static int run_template(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const char *input = opt_str(opt, "input"), *choice = opt_str(opt, "chat_template");
    struct job j = {.from = input ? input : "standard input",
                    .rows = run->json ? json_array() : NULL,
                    .generation_prompt = opt_bool(opt, "add_generation_prompt"),
                    .text = opt_bool(opt, "text"),
                    .keep_going = opt_bool(opt, "keep_going")};
    int rc = tokenizer_open(&j.t, opt_str(opt, "model_name_or_path"), err);
    if (rc == 0 && choice)
        rc = tokenizer_use_template(j.t, choice, err);
    FILE *f = rc ? NULL : input ? fopen(input, "rb") : stdin;
    if (rc == 0 && !f)
        rc = err_set(err, ERR_IO, "%s: cannot be opened: %s", input, strerror(errno));
    if (rc == 0)
        rc = each_line(&j, f, err);
    if (f && f != stdin)
        fclose(f);
    if (rc == 0) {
        json_object_set_new(result, "conversations", json_integer(j.number));
        if (j.rows)
            json_object_set(result, "rows", j.rows);
    }
    json_decref(j.rows);
    buf_release(&j.out);
    buf_release(&j.line);
    tokenizer_free(j.t);
    return rc;
}

/* The rows are the output. */
static void print_nothing(const json_t *result, FILE *to)
{
}

const struct stage stage_template = {
    .name = "template",
    .summary = "conversations to text, through a model's chat template",
    .example = "rlaif template -m models/s --text <<< '[{\"role\": \"user\", \"content\": \"Hello\"}]'",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_template,
    .print = print_nothing,
};
