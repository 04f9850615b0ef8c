/* lab/tokenizer.c - the tokenizer files of the lab models, in the form Hugging Face libraries read.
 *
 *     ids 0 to 3       special tokens
 *     ids 4 to 259     the bytes
 *     the rest         merges, in the order they were learned
 *
 * Training text is a corpus of the lab with its own seed, so a tokenizer is reproduced by its
 * options. */
#include "lab/world.h"

static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"};
enum { SPECIALS = ARRAY_LEN(specials) };

#define CHATML "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + " \
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

struct lab_tokenizer_options lab_tokenizer_defaults(void)
{
    return (struct lab_tokenizer_options){.seed = 1, .vocab_size = 2000, .documents = 20000};
}

/* Byte-level BPE writes bytes as printable characters: those of Latin-1 that can be seen stand for
 * themselves, the others are moved up from U+0100 on. */
static void byte_write(struct buf *b, unsigned char byte)
{
    static uint16_t map[256];
    if (!map[0]) {
        int moved = 256;
        for (int i = 0; i < 256; i++) {
            bool seen = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
            map[i] = (uint16_t)(seen ? i : moved++);
        }
    }
    int c = map[byte];
    if (c < 0x80)
        buf_addf(b, "%c", c);
    else
        buf_addf(b, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

static void symbol_write(struct buf *b, const struct bpe *bpe, int symbol)
{
    if (symbol < 256) {
        byte_write(b, (unsigned char)symbol);
        return;
    }
    for (const char *s = bpe_text(bpe, symbol); *s; s++)
        byte_write(b, (unsigned char)*s);
}

static json_t *vocab_json(const struct bpe *bpe)
{
    json_t *vocab = json_object();
    struct buf b = {0};
    for (int i = 0; i < SPECIALS; i++)
        json_object_set_new(vocab, specials[i], json_integer(i));
    for (int i = 0; i < bpe_symbols(bpe); i++) {
        buf_clear(&b);
        symbol_write(&b, bpe, i);
        json_object_set_new(vocab, b.s, json_integer(SPECIALS + i));
    }
    buf_release(&b);
    return vocab;
}

static json_t *merges_json(const struct bpe *bpe)
{
    json_t *merges = json_array();
    struct buf b = {0};
    for (int i = 256; i < bpe_symbols(bpe); i++) {
        int part[2];
        bpe_merge(bpe, i, part);
        buf_clear(&b);
        symbol_write(&b, bpe, part[0]);
        buf_adds(&b, " ");
        symbol_write(&b, bpe, part[1]);
        json_array_append_new(merges, json_string(b.s));
    }
    buf_release(&b);
    return merges;
}

static json_t *specials_json(void)
{
    json_t *list = json_array();
    for (int i = 0; i < SPECIALS; i++)
        json_array_append_new(list, json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", i, "content",
                                              specials[i], "single_word", 0, "lstrip", 0, "rstrip",
                                              0, "normalized", 0, "special", 1));
    return list;
}

static json_t *byte_level_json(void)
{
    return json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", 1);
}

static json_t *tokenizer_json(const struct bpe *bpe)
{
    json_t *digits = json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", 1);
    json_t *cut =
        json_pack("{s:s,s:[o,o]}", "type", "Sequence", "pretokenizers", digits, byte_level_json());
    json_t *model = json_pack("{s:s,s:n,s:n,s:n,s:n,s:b,s:b,s:b,s:o,s:o}", "type", "BPE", "dropout",
                              "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                              "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab",
                              vocab_json(bpe), "merges", merges_json(bpe));
    return json_pack("{s:s,s:n,s:n,s:o,s:n,s:o,s:n,s:o,s:o}", "version", "1.0", "truncation",
                     "padding", "added_tokens", specials_json(), "normalizer", "pre_tokenizer", cut,
                     "post_processor", "decoder", byte_level_json(), "model", model);
}

static json_t *config_json(void)
{
    return json_pack("{s:b,s:s,s:n,s:b,s:s,s:s,s:i,s:s,s:s}", "add_prefix_space", 0,
                     "chat_template", CHATML, "bos_token", "clean_up_tokenization_spaces", 0,
                     "eos_token", specials[0], "pad_token", specials[3], "model_max_length", 512,
                     "tokenizer_class", "PreTrainedTokenizerFast", "unk_token", specials[0]);
}

static int write_json(const char *dir, const char *name, json_t *value, struct err *err)
{
    char *path = path_join(dir, name);
    int rc = path && value ? json_write_file(path, value, err)
                           : err_set(err, ERR_MEMORY, "writing %s/%s", dir, name);
    free(path);
    json_decref(value);
    return rc;
}

static int see_document(void *ctx, const char *prompt, const char *completion, struct err *err)
{
    (void)err;
    bpe_count(ctx, prompt);
    bpe_count(ctx, completion);
    return 0;
}

int lab_tokenizer_write(const char *dir, const struct lab_tokenizer_options *o, struct err *err)
{
    struct lab_corpus_options text = lab_corpus_defaults();
    text.seed = o->seed;
    text.documents = o->documents;
    if (o->vocab_size < 512 || o->vocab_size > 4096)
        return err_set(err, ERR_VALUE, "vocab_size: expected 512 to 4096, found %d", o->vocab_size);
    struct bpe *bpe = lab_bpe_new();
    int rc = bpe ? corpus_visit(&text, see_document, bpe, err)
                 : err_set(err, ERR_MEMORY, "a tokenizer trainer");
    if (rc == 0)
        rc = bpe_train(bpe, o->vocab_size - SPECIALS, err);
    if (rc == 0)
        rc = dir_make(dir, err);
    if (rc == 0)
        rc = write_json(dir, "tokenizer.json", tokenizer_json(bpe), err);
    if (rc == 0)
        rc = write_json(dir, "tokenizer_config.json", config_json(), err);
    if (rc == 0)
        rc = write_json(dir, "special_tokens_map.json",
                        json_pack("{s:s,s:s}", "eos_token", specials[0], "pad_token", specials[3]),
                        err);
    lab_bpe_free(bpe);
    return rc;
}
