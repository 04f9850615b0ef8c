/* save.c - tokenizer files for a model folder.
 *
 * From a folder with a tokenizer.json: its files, byte for byte.  From a GGUF or a
 * tokenizer.model: a tokenizer.json with the same vocabulary, merges and steps, and a
 * tokenizer_config.json with the chat template, so that transformers gives the same ids. */
#include "model/tokenizer/tokenizer.h"

#include <math.h>

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

json_t *byte_level_json(bool regex)
{
    return json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", regex);
}

static json_t *replace_json(const char *from, const char *to)
{
    return json_pack("{ss s{ss} ss}", "type", "Replace", "pattern", "String", from, "content",
                     to);
}

json_t *metaspace_json(bool prefix)
{
    static const char mark[] = "\xE2\x96\x81";
    json_t *normal = json_array(), *decode = json_array();
    if (prefix)
        json_array_append_new(normal, json_pack("{ss ss}", "type", "Prepend", "prepend", mark));
    json_array_append_new(normal, replace_json(" ", mark));
    json_array_append_new(decode, replace_json(mark, " "));
    json_array_append_new(decode, json_pack("{ss}", "type", "ByteFallback"));
    json_array_append_new(decode, json_pack("{ss}", "type", "Fuse"));
    if (prefix)
        json_array_append_new(decode, json_pack("{ss ss si si}", "type", "Strip", "content",
                                                " ", "start", 1, "stop", 0));
    return json_pack("{s{ss so} sn s{ss so}}", "normalizer", "type", "Sequence", "normalizers",
                     normal, "pre_tokenizer", "decoder", "type", "Sequence", "decoders",
                     decode);
}

static void template_put(json_t *list, json_t *tokens, const struct tokenizer *t, int id)
{
    if (id < 0 || !t->token[id].s)
        return;
    const char *s = t->token[id].s;
    json_array_append_new(list, json_pack("{s{ss si}}", "SpecialToken", "id", s, "type_id", 0));
    json_object_set_new(tokens, s,
                        json_pack("{ss s[i] s[s]}", "id", s, "ids", id, "tokens", s));
}

json_t *template_json(const struct tokenizer *t, int bos, int eos)
{
    if (bos < 0 && eos < 0)
        return byte_level_json(true);
    json_t *single = json_array(), *pair = json_array(), *tokens = json_object();
    for (int half = 0; half < 2; half++) {
        json_t *seq =
            json_pack("{s{ss si}}", "Sequence", "id", half ? "B" : "A", "type_id", half);
        template_put(pair, tokens, t, bos);
        json_array_append(pair, seq);
        template_put(pair, tokens, t, eos);
        if (!half) {
            template_put(single, tokens, t, bos);
            json_array_append(single, seq);
            template_put(single, tokens, t, eos);
        }
        json_decref(seq);
    }
    return json_pack("{ss so so so}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", tokens);
}

static int by_rank(const void *a, const void *b)
{
    const struct merge *x = *(const struct merge *const *)a,
                       *y = *(const struct merge *const *)b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key; // ways to one token: in order of the ids
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
        if (t->token[id].s && !t->token[id].apart)
            json_object_set_new(o, t->token[id].s, json_integer(id));
    return o;
}

static json_t *unigram_json(const struct tokenizer *t)
{
    json_t *list = json_array();
    for (int id = 0; id < unigram_size(t->unigram); id++) {
        double score = unigram_score(t->unigram, id);
        json_array_append_new(list,
                              json_pack("[s f]", t->token[id].s, isnan(score) ? 0 : score));
    }
    return json_pack("{ss so? so sb}", "type", "Unigram", "unk_id",
                     t->unk >= 0 ? json_integer(t->unk) : json_null(), "vocab", list,
                     "byte_fallback", t->byte_fallback);
}

static json_t *bpe_json(const struct tokenizer *t)
{
    return json_pack("{ss sn ss? sn sn sb sb sb so so}", "type", "BPE", "dropout", "unk_token",
                     t->unk >= 0 ? t->token[t->unk].s : NULL, "continuing_subword_prefix",
                     "end_of_word_suffix", "fuse_unk", t->fuse_unk, "byte_fallback",
                     t->byte_fallback, "ignore_merges", t->ignore_merges, "vocab",
                     vocab_json(t), "merges", merges_json(t));
}

json_t *tokenizer_to_json(const struct tokenizer *t)
{
    json_t *o = json_pack("{ss sn sn so}", "version", "1.0", "truncation", "padding",
                          "added_tokens", added_json(t)),
           *model = t->model == MODEL_UNIGRAM ? unigram_json(t) : bpe_json(t);
    static const char *const steps[] = {"normalizer", "pre_tokenizer", "post_processor",
                                        "decoder"};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        json_object_set(o, steps[i], json_object_get(t->made, steps[i]));
    if (o && model && json_object_set_new(o, "model", model) == 0)
        return o;
    json_decref(o);
    return NULL;
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
    char *path = path_join(dir, name);
    int rc = path ? dir_make_parent(path, err) : err_set(err, ERR_MEMORY, "%s: no memory", dir);  // CHAT_DIR/NAME.jinja
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
    if (rc || !t->made)
        return rc;
    rc = write_json(dir, "tokenizer.json", tokenizer_to_json(t), err);
    bool config = false; // of a folder with a tokenizer.model: it has been copied
    for (int i = 0; i < t->n_files; i++)
        config |= !strcmp(t->file[i].name, "tokenizer_config.json");
    return rc || config
               ? rc
               : write_json(dir, "tokenizer_config.json", tokenizer_config_json(t), err);
}
