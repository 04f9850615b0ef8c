/* save.c - tokenizer files for a model folder.
 *
 * From a folder: its files, byte for byte.  From a GGUF: a tokenizer.json with the same
 * vocabulary, merges and pre-tokenizer, and a tokenizer_config.json with the chat template, so
 * that transformers gives the same ids. */
#include "model/tokenizer/tokenizer.h"

/* ---- tokenizer.json ------------------------------------------------------------- */

static json_t *added_json(const struct tokenizer *t)
{
    json_t *list = json_array();
    for (int id = 0; id < t->vocab; id++) {
        const struct token *k = &t->token[id];
        if (k->s && k->added)
            json_array_append_new(list, json_pack("{si ss sb sb sb sb sb}", "id", id, "content",
                                                  k->s, "single_word", 0, "lstrip", 0, "rstrip",
                                                  0, "normalized", 0, "special", k->special));
    }
    return list;
}

static json_t *byte_level(bool regex)
{
    return json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", regex);
}

static json_t *pre_tokenizer_json(const struct pre *pre)
{
    json_t *list = json_array();
    bool gpt2_last = false;
    for (int i = 0; pre->regex[i]; i++) {
        gpt2_last = !pre->regex[i + 1] && !strcmp(pre->regex[i], SPLIT_GPT2);
        if (gpt2_last)
            break;
        if (!strcmp(pre->regex[i], SPLIT_DIGIT))
            json_array_append_new(
                list, json_pack("{ss sb}", "type", "Digits", "individual_digits", 1));
        else
            json_array_append_new(list, json_pack("{ss s{ss} ss sb}", "type", "Split",
                                                  "pattern", "Regex", pre->regex[i], "behavior",
                                                  "Isolated", "invert", 0));
    }
    json_array_append_new(list, byte_level(gpt2_last));
    return json_pack("{ss so}", "type", "Sequence", "pretokenizers", list);
}

static json_t *template_item(const struct tokenizer *t, int id)
{
    return json_pack("{s{ss si}}", "SpecialToken", "id", t->token[id].s, "type_id", 0);
}

static json_t *post_processor_json(const struct tokenizer *t)
{
    if (!t->n_before && !t->n_after)
        return byte_level(true);
    json_t *single = json_array(), *pair = json_array(), *tokens = json_object();
    for (int half = 0; half < 2; half++) {
        json_t *seq =
            json_pack("{s{ss si}}", "Sequence", "id", half ? "B" : "A", "type_id", half);
        for (int i = 0; i < t->n_before; i++) {
            if (!half)
                json_array_append_new(single, template_item(t, t->before[i]));
            json_array_append_new(pair, template_item(t, t->before[i]));
        }
        if (!half)
            json_array_append(single, seq);
        json_array_append_new(pair, seq);
        for (int i = 0; i < t->n_after; i++) {
            if (!half)
                json_array_append_new(single, template_item(t, t->after[i]));
            json_array_append_new(pair, template_item(t, t->after[i]));
        }
    }
    for (int i = 0; i < t->n_before + t->n_after; i++) {
        int id = i < t->n_before ? t->before[i] : t->after[i - t->n_before];
        const char *s = t->token[id].s;
        json_object_set_new(tokens, s,
                            json_pack("{ss s[i] s[s]}", "id", s, "ids", id, "tokens", s));
    }
    return json_pack("{ss so so so}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", tokens);
}

static int by_rank(const void *a, const void *b)
{
    const struct merge *x = *(const struct merge *const *)a,
                       *y = *(const struct merge *const *)b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static json_t *merges_json(const struct tokenizer *t)
{
    size_t n = 0;
    const struct merge **list = mem_alloc(t->merges.mask + 1, sizeof *list);
    json_t *out = list ? json_array() : NULL;
    for (size_t i = 0; list && i <= t->merges.mask; i++)
        if (t->merges.slot[i].key)
            list[n++] = &t->merges.slot[i];
    if (n)
        qsort(list, n, sizeof *list, by_rank);
    for (size_t i = 0; i < n; i++) {
        const struct token *a = &t->token[(list[i]->key >> 32) - 1],
                           *b = &t->token[(uint32_t)list[i]->key - 1];
        char *pair = str_printf(
            "%s %s", a->s, b->s); // the older spelling: every version of tokenizers reads it
        json_array_append_new(out, pair ? json_string(pair) : NULL);
        free(pair);
    }
    free(list);
    return out;
}

static json_t *vocab_json(const struct tokenizer *t)
{
    json_t *o = json_object();
    for (int id = 0; id < t->vocab; id++)
        if (t->token[id].s)
            json_object_set_new(o, t->token[id].s, json_integer(id));
    return o;
}

json_t *tokenizer_to_json(const struct tokenizer *t)
{
    return json_pack(
        "{ss sn sn so sn so so so s{ss sn sn sn sn sb sb sb so so}}", "version", "1.0",
        "truncation", "padding", "added_tokens", added_json(t), "normalizer", "pre_tokenizer",
        pre_tokenizer_json(t->pre), "post_processor", post_processor_json(t), "decoder",
        byte_level(true), "model", "type", "BPE", "dropout", "unk_token",
        "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
        "ignore_merges", t->ignore_merges, "vocab", vocab_json(t), "merges", merges_json(t));
}

/* ---- tokenizer_config.json ------------------------------------------------------ */

static void name_token(json_t *o, const char *key, const struct tokenizer *t, int id)
{
    if (id >= 0 && t->token[id].s)
        json_object_set_new(o, key, json_string(t->token[id].s));
}

json_t *tokenizer_config_json(const struct tokenizer *t)
{
    json_t *o = json_pack("{sb ss}", "clean_up_tokenization_spaces", 0, "tokenizer_class",
                          "PreTrainedTokenizerFast");
    name_token(o, "bos_token", t, t->bos);
    name_token(o, "eos_token", t, t->eos);
    int pad = tokenizer_pad(t, t->pad, t->bos, &t->eos, t->eos >= 0);
    name_token(o, "pad_token", t, pad >= 0 ? pad : t->pad);
    name_token(o, "unk_token", t, t->unk_named);
    if (t->chat && t->chat->n && !strcmp(t->chat->item[0].name, "default"))
        json_object_set_new(o, "chat_template", json_stringn(t->chat->item[0].text, t->chat->item[0].n));
    return o;
}

/* ---- files ---------------------------------------------------------------------- */

static int write_one(const char *dir, const char *name, const void *bytes, size_t n,
                     struct err *err)
{
    char *path = path_join(dir, name), *below = path ? strrchr(path, '/') : NULL;
    int rc = path ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", dir);
    if (rc == 0 && strchr(name, '/')) { // chat_templates/NAME.jinja
        *below = 0;
        rc = dir_make(path, err);
        *below = '/';
    }
    if (rc == 0)
        rc = file_write(path, bytes, n, err);
    free(path);
    return rc;
}

static int write_json(const char *dir, const char *name, json_t *o, struct err *err)
{
    struct buf b = {0};
    if (o)
        json_add_text(&b, o, 2);
    buf_adds(&b, "\n");
    int rc = !o || b.failed ? err_set(err, ERR_MEMORY, "%s: no memory for %s", dir, name)
                            : write_one(dir, name, b.s, b.len, err);
    buf_release(&b);
    json_decref(o);
    return rc;
}

int tokenizer_save(const struct tokenizer *t, const char *dir, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < t->n_files && rc == 0; i++)
        rc = write_one(dir, t->file[i].name, t->file[i].bytes, t->file[i].n, err);
    if (rc || !t->pre)
        return rc;
    rc = write_json(dir, "tokenizer.json", tokenizer_to_json(t), err);
    return rc ? rc : write_json(dir, "tokenizer_config.json", tokenizer_config_json(t), err);
}
