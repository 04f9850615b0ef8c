/* recipe/stage_template.c - `rlaif template`: what a chat template makes of conversations.
 *
 * Each line is a conversation: a list of messages, or an object with "messages" and, if wanted,
 * "tools", "documents", "variables", "add_generation_prompt", "continue_field" and "template".
 * Each becomes a line: the text as a JSON string, or with --text as it is. */
#include <errno.h>

#include "model/model.h"
#include "recipe/lines.h"

static const struct option options[] = {
    {"model_name_or_path", OPT_MODEL, NULL, "folder with tokenizer.json, GGUF file or ORG/NAME on the Hub (-m)",
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
    struct lines lines;
    bool generation_prompt, text, keep_going;
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
    if (!value || j->lines.rows)
        return value && json_array_append_new(j->lines.rows, value) == 0
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
    if (j->text && !j->lines.rows)
        return print(j, s, j->out.len, err);
    json_t *text = json_stringn(s, j->out.len);
    return text ? print_json(j, text, err)
                : err_set(err, ERR_VALUE, "the text is not UTF-8; --text prints it as it is");
}

static int render_line(struct job *j, const char *s, size_t n, struct err *err)
{
    struct chat_request q;
    char where[512];
    snprintf(where, sizeof where, "%s, line %d", j->lines.from, j->lines.number);
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

/* Empty lines are passed over. */
static int one_line(void *arg, const char *s, size_t n, struct err *err)
{
    struct job *j = arg;
    struct err why = {0};
    int rc = n == 0 ? 0 : render_line(j, s, n, &why);
    if (rc && j->keep_going && rc != ERR_MEMORY && rc != ERR_IO)
        return print_json(j, json_pack("{ss}", "error", why.msg), err);
    return rc ? err_set(err, rc, "%s", why.msg) : 0;
}

static int run_template(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const char *input = opt_str(opt, "input"), *choice = opt_str(opt, "chat_template");
    struct job j = {.generation_prompt = opt_bool(opt, "add_generation_prompt"),
                    .text = opt_bool(opt, "text"),
                    .keep_going = opt_bool(opt, "keep_going")};
    lines_begin(&j.lines, run, input);
    int rc = tokenizer_open(&j.t, opt_str(opt, "model_name_or_path"), err);
    if (rc == 0 && choice)
        rc = tokenizer_use_template(j.t, choice, err);
    if (rc == 0)
        rc = lines_each(&j.lines, input, one_line, &j, err);
    if (rc == 0)
        lines_figures(&j.lines, result, "conversations");
    lines_release(&j.lines);
    buf_release(&j.out);
    buf_release(&j.line);
    tokenizer_free(j.t);
    return rc;
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
