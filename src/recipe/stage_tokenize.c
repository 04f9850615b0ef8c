/* recipe/stage_tokenize.c - `rlaif tokenize`: lines of text to lines of ids, and back.
 *
 * The plainest of tools, so that others can check the tokenizer: each line of text (its line
 * end taken away) becomes a JSON list of ids on a line of its own; --decode turns such lists
 * back into text. */
#include <errno.h>

#include "model/model.h"
#include "recipe/lines.h"

static const struct option options[] = {
    {"model_name_or_path", OPT_MODEL, NULL, "folder with tokenizer.json, GGUF file or ORG/NAME on the Hub (-m)",
     NULL, true},
    {"input", OPT_INPUT, NULL, "file of lines; without it, standard input", NULL, false},
    {"add_special_tokens", OPT_BOOL, "false",
     "add what the tokenizer puts around a text (BOS, EOS)", NULL, false},
    {"parse_special", OPT_BOOL, "false", "special tokens in the text become their ids", NULL,
     false},
    {"decode", OPT_BOOL, "false", "lists of ids in, text out", NULL, false},
    {"strings", OPT_BOOL, "false",
     "lines of text are JSON strings, so that they may hold line ends", NULL, false},
    {"save_tokenizer", OPT_STRING, NULL,
     "instead of reading lines: writes the tokenizer into this folder as a tokenizer.json", NULL,
     false},
    {"skip_special_tokens", OPT_BOOL, "false", "with --decode: leave special tokens out", NULL,
     false},
};

struct job {
    struct tokenizer *t;
    struct lines lines;
    struct tokens ids;
    struct buf line;
    bool skip_special, strings;
    int flags;
    int64_t tokens;
};

static int print_line(struct job *j, struct err *err)
{
    buf_adds(&j->line, "\n");
    if (j->line.failed)
        return err_set(err, ERR_MEMORY, "%s, line %d: no memory", j->lines.from, j->lines.number);
    if (fwrite(j->line.s, 1, j->line.len, stdout) != j->line.len)
        return err_set(err, ERR_IO, "writing to standard output: %s", strerror(errno));
    return 0;
}

static int encode_string(struct job *j, const char *s, size_t n, struct err *err)
{
    char where[64];
    snprintf(where, sizeof where, "line %d", j->lines.number);
    json_t *text = json_parse(s, n, where, err);
    if (!text)
        return err ? err->code : ERR_FORMAT;
    int rc = json_is_string(text)
                 ? tokenize(j->t, &j->ids, json_string_value(text), json_string_length(text),
                            j->flags, err)
                 : err_set(err, ERR_FORMAT, "expected a JSON string");
    json_decref(text);
    return rc;
}

static int encode_line(void *arg, const char *s, size_t n, struct err *err)
{
    struct job *j = arg;
    j->ids.n = 0;
    int rc = j->strings ? encode_string(j, s, n, err)
                        : tokenize(j->t, &j->ids, s, n, j->flags, err);
    if (rc) {
        err_prefix(err, "%s, line %d", j->lines.from, j->lines.number);
        return rc;
    }
    j->tokens += j->ids.n;
    if (j->lines.rows) {
        json_t *row = json_array();
        for (int i = 0; i < j->ids.n; i++)
            json_array_append_new(row, json_integer(j->ids.id[i]));
        return json_array_append_new(j->lines.rows, row)
                   ? err_set(err, ERR_MEMORY, "no memory for the ids of a line")
                   : 0;
    }
    buf_clear(&j->line);
    buf_adds(&j->line, "[");
    for (int i = 0; i < j->ids.n; i++)
        buf_addf(&j->line, i ? ", %d" : "%d", j->ids.id[i]);
    buf_adds(&j->line, "]");
    return print_line(j, err);
}

static int read_ids(struct job *j, const json_t *list, struct err *err)
{
    size_t n = json_array_size(list);
    int *id = mem_grow(j->ids.id, &j->ids.cap, n + 1, sizeof *id);
    if (!id)
        return err_set(err, ERR_MEMORY, "%s, line %d: no memory for %zu ids", j->lines.from,
                       j->lines.number, n);
    j->ids.id = id;
    j->ids.n = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        json_int_t x = json_integer_value(v);
        if (!json_is_integer(v) || x < 0 || x >= tokenizer_vocab(j->t))
            return err_set(err, ERR_VALUE, "%s, line %d: id %zu is no integer from 0 to %d",
                           j->lines.from, j->lines.number, i + 1, tokenizer_vocab(j->t) - 1);
        id[j->ids.n++] = (int)x;
    }
    return 0;
}

/* The text of j->ids as characters, and as a JSON string. */
static int decode_string(struct job *j)
{
    struct text_stream stream = {.skip_special = j->skip_special};
    struct buf text = {0};
    int rc = 0;
    for (int i = 0; i < j->ids.n && rc == 0; i++)
        rc = text_stream_push(&stream, j->t, &text, j->ids.id[i]);
    if (rc == 0)
        rc = text_stream_end(&stream, &text);
    json_t *v = rc ? NULL : json_stringn(text.s ? text.s : "", text.len);
    if (v)
        json_add_text(&j->line, v, 0);
    json_decref(v);
    buf_release(&text);
    text_stream_release(&stream);
    return v ? 0 : ERR_MEMORY;
}

static int decode_line(void *arg, const char *s, size_t n, struct err *err)
{
    struct job *j = arg;
    char where[64];
    snprintf(where, sizeof where, "line %d", j->lines.number);
    json_t *list = json_parse(s, n, where, err);
    if (!list)
        return err ? err->code : ERR_FORMAT;
    int rc = json_is_array(list)
                 ? read_ids(j, list, err)
                 : err_set(err, ERR_FORMAT, "%s, line %d: expected a list of ids", j->lines.from,
                           j->lines.number);
    json_decref(list);
    buf_clear(&j->line);
    if (rc == 0 && (j->strings ? decode_string(j)
                               : detokenize(j->t, &j->line, j->ids.id, j->ids.n,
                                            j->skip_special)))
        rc = err_set(err, ERR_MEMORY, "%s, line %d: no memory for the text", j->lines.from,
                     j->lines.number);
    if (rc)
        return rc;
    j->tokens += j->ids.n;
    if (!j->lines.rows)
        return print_line(j, err);
    // part of a character may be all there is; JSON cannot hold that
    size_t good = j->line.s ? utf8_valid(j->line.s, j->line.len) : 0;
    if (good < j->line.len)
        return err_set(err, ERR_VALUE,
                       "%s, line %d: the ids are not UTF-8 together; leave --json out", j->lines.from,
                       j->lines.number);
    return json_array_append_new(j->lines.rows, json_stringn(j->line.s ? j->line.s : "", good))
               ? err_set(err, ERR_MEMORY, "no memory for a line of text")
               : 0;
}

static int save(const struct tokenizer *t, const char *dir, struct err *err)
{
    char *tmp = NULL;
    int rc = dir_out_open(&tmp, dir, err);
    if (rc == 0)
        rc = tokenizer_save(t, tmp, err);
    if (rc == 0)
        return dir_out_commit(tmp, dir, err);
    dir_out_drop(tmp);
    return rc;
}

static int run_tokenize(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const char *input = opt_str(opt, "input");
    struct job j = {
        .skip_special = opt_bool(opt, "skip_special_tokens"),
        .strings = opt_bool(opt, "strings"),
        .flags = (opt_bool(opt, "add_special_tokens") ? TOKENIZE_SPECIAL : 0) |
                 (opt_bool(opt, "parse_special") ? TOKENIZE_PARSE_SPECIAL : 0),
    };
    lines_begin(&j.lines, run, input);
    int rc = tokenizer_open(&j.t, opt_str(opt, "model_name_or_path"), err);
    const char *dir = opt_str(opt, "save_tokenizer");
    if (rc == 0 && dir)
        rc = save(j.t, dir, err);
    if (rc == 0 && !dir)
        rc = lines_each(&j.lines, input, opt_bool(opt, "decode") ? decode_line : encode_line, &j,
                        err);
    if (rc == 0) {
        lines_figures(&j.lines, result, "lines");
        json_object_set_new(result, "tokens", json_integer(j.tokens));
    }
    lines_release(&j.lines);
    tokens_release(&j.ids);
    buf_release(&j.line);
    tokenizer_free(j.t);
    return rc;
}

const struct stage stage_tokenize = {
    .name = "tokenize",
    .summary = "lines of text to token ids, and back",
    .example = "rlaif tokenize -m models/s --input README.md",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_tokenize,
    .print = print_nothing,
};
