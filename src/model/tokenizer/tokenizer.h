/* model/tokenizer/tokenizer.h - byte-level BPE from the inside; callers use the door,
 * model/model.h.
 *
 *   text ─ added tokens cut out (added.c) ─ normal form ─ split into pieces (split.c) ─ bytes
 * merged (bpe.c) ─ ids
 *
 * A tokenizer is built by load_json.c (Hugging Face's tokenizer.json) or load_gguf.c (a GGUF's
 * metadata), then never changes, so any number of threads may use it.
 *
 * Tokens are kept as they are spelled in the file: bytes written in GPT-2's alphabet of 256
 * visible characters
 * ("Ġthe" for " the"), or literally where they are added tokens. */
#ifndef MODEL_TOKENIZER_TOKENIZER_H
#define MODEL_TOKENIZER_TOKENIZER_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "model/format/format.h"
#include "model/format/gguf.h"
#include "model/template/chat.h"

enum { TOKEN_LIMIT = 1 << 24, SPLITS_MAX = 8, TEMPLATE_MAX = 8, FILES_MAX = 40 };

struct token {
    const char *s; // spelling, NUL-terminated (may hold NUL inside); NULL: no token has this id
    uint32_t n;
    bool special, added;
};

/* Open-addressing tables, built once, at most half full. */
struct words {
    int *slot;
    size_t mask;
}; // spelling -> id; slots hold id + 1
struct merge {
    uint64_t key;
    int rank, id;
}; // key: left id << 32 | right id; id 0 and rank -1: empty
struct merges {
    struct merge *slot;
    size_t mask;
};

/* An added token: cut out of the text before anything else looks at it. */
struct added {
    const char *s;
    uint32_t n;
    int id;
    bool special, lstrip, rstrip, single_word, normalized;
};
struct added_set {
    struct added *item;
    int n;
    bool first[256];
}; // sorted by bytes; first: bytes one begins with

/* One step of splitting: pieces that `re` matches stand alone, what lies between them as well.
 */
struct split {
    pcre2_code *re;    // NULL: only the space below
    bool drop_matches; // matches disappear (behaviour Removed)
    bool drop_others;  // what lies between disappears (Removed, inverted)
    bool prefix_space; // first, a space is put before pieces that do not begin with one
};

struct saved_file {
    char *name, *bytes;
    size_t n;
};

struct tokenizer {
    char *path;
    struct arena arena;
    struct token *token;
    int vocab; // (vocab) by id
    struct words words;
    struct merges merges;
    int byte_id[256]; // token of a single byte, -1: none
    int unk;          // what stands for bytes without a token, -1: nothing does
    bool fuse_unk;
    bool ignore_merges; // a piece that is a token is that token, whatever the merges say
    bool gaps; // a byte without token keeps its neighbours apart (llama.cpp) or not (Hugging
               // Face)
    int normal_form; // utf8proc options, 0: none
    struct split split[SPLITS_MAX];
    int n_splits;
    struct added_set raw, normal; // matched before, and after the normal form
    int before[TEMPLATE_MAX], n_before, after[TEMPLATE_MAX],
        n_after;                  // ids around a text (post-processor)
    int bos, eos, pad, unk_named; // of a GGUF: what tokenizer_config.json should name; -1: none
    const struct pre *pre;        // of a GGUF: its pre-tokenizer
    struct chat *chat;            // templates and the tokens they see (template/chat.h)
    struct saved_file file[FILES_MAX];
    int n_files; // of a folder: its files as they were
};

/* ---- the byte alphabet (bytes.c) ------------------------------------------------ */
int byte_spell(char out[2], unsigned char b); // spelling of one byte; returns 1 or 2
/* Reads one character of a spelling: the byte it stands for, or -1; *n is the character's
 * length. */
int byte_unspell(const char *s, size_t left, size_t *n);
/* Appends the bytes a token stands for; tokens spelled outside the alphabet, and added ones,
 * stand for themselves. */
void token_bytes(struct buf *out, const struct token *t);

/* ---- tables (bytes.c) ----------------------------------------------------------- */
int words_build(struct tokenizer *t, struct err *err);
int words_find(const struct tokenizer *t, const char *s, size_t n); // id or -1
int merges_reserve(struct tokenizer *t, size_t n, struct err *err);
/* Rank `rank` merges these two spellings; ERR_FORMAT when they or their union are no tokens.
 * The first rank of a pair counts. */
int merges_add(struct tokenizer *t, const char *left, size_t nl, const char *right, size_t nr,
               int rank, struct err *err);
const struct merge *merges_find(const struct tokenizer *t, int left, int right);
/* Fills byte_id; called once all tokens are there. */
void bytes_index(struct tokenizer *t);

/* ---- pieces --------------------------------------------------------------------- */
struct piece {
    const char *s;
    size_t n;
};
struct pieces {
    struct piece *item;
    int n;
    size_t cap;
    struct arena arena;
}; // arena: pieces that got a space in front
int split_add(struct tokenizer *t, const char *regex, bool invert, bool removed,
              bool prefix_space, struct err *err);
int split_text(const struct tokenizer *t, struct pieces *out, const char *s, size_t n,
               struct err *err);
void pieces_release(struct pieces *p);
/* GPT-2's: contractions, words, numbers and signs with one space before them; a run of white
 * space gives its last character to what follows. */
#define SPLIT_GPT2                                                                             \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPLIT_DIGIT "\\p{N}"

/* ---- merging -------------------------------------------------------------------- */
struct bpe; // scratch memory for one call of tokenize
struct bpe *bpe_new(void);
void bpe_free(struct bpe *b);
int bpe_encode(const struct tokenizer *t, struct bpe *b, struct tokens *out, const char *s,
               size_t n, struct err *err);
int tokens_add(struct tokens *out, int id, struct err *err);

/* ---- added tokens --------------------------------------------------------------- */
struct found {
    int id;
    size_t start, end;
}; // id -1: plain text
struct founds {
    struct found *item;
    int n;
    size_t cap;
};
int added_put(struct added_set *set, size_t *cap, const struct added *a);
void added_sort(struct added_set *set);
/* Cuts s into plain text and added tokens.  parse_special false leaves special ones in the
 * text. */
int added_cut(const struct added_set *set, struct founds *out, const char *s, size_t n,
              bool parse_special, struct err *err);

/* ---- vocabulary and merges as a tokenizer.json spells them (scan.c, load_json.c)  */
struct vocab_item {
    const char *s;
    uint32_t n;
    int64_t id;
};
struct merge_item {
    const char *a, *b;
    uint32_t na, nb;
};
struct big {
    struct vocab_item *vocab;
    size_t n_vocab, vocab_cap;
    struct merge_item *merge;
    size_t n_merges, merge_cap;
    struct arena arena; // strings
};
/* Reads both out of text, which shrinks; false, with text untouched, where that cannot be done.
 */
bool scan_big(struct big *b, char *text, size_t *n);
bool merge_split(struct merge_item *m);
void big_release(struct big *b);

/* ---- loading -------------------------------------------------------------------- */
/* What llama.cpp means by a name in tokenizer.ggml.pre (load_gguf.c). */
struct pre {
    const char *names;    // separated by spaces
    const char *regex[5]; // applied one after the other, matches isolated
    bool ignore_merges, add_bos;
};
int tokenizer_load_folder(struct tokenizer *t, struct err *err);
int tokenizer_load_gguf(struct tokenizer *t, const struct gguf *g, struct err *err);
/* tokenizer.json and tokenizer_config.json of a GGUF's tokenizer. */
json_t *tokenizer_to_json(const struct tokenizer *t);
json_t *tokenizer_config_json(const struct tokenizer *t);

#endif
