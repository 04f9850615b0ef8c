/* model/tokenizer/tokenizer.h - tokenizers from the inside; callers use the door,
 * model/model.h.
 *
 *   text ─ added tokens cut out (added.c) ─ normal form (normal.c) ─ split into pieces (split.c)
 *   ─ pieces to ids (bpe.c, unigram.c, wordpiece.c) ─ ids around them;  ids ─ text (decode.c)
 *
 * Each of these steps is a list read from Hugging Face's tokenizer.json (load_json.c, steps.c).
 * Where a tokenizer comes from elsewhere (load_gguf.c, load_spm.c), the same lists are written
 * as JSON first and read by the same code, so that it can be saved as a tokenizer.json.  A
 * tokenizer never changes once it is built; any number of threads may use it.
 *
 * Tokens are kept as they are spelled in the file: in a byte-level vocabulary, bytes are written
 * in GPT-2's alphabet of 256 visible characters ("Ġthe" for " the"). */
#ifndef MODEL_TOKENIZER_TOKENIZER_H
#define MODEL_TOKENIZER_TOKENIZER_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "model/format/format.h"
#include "model/format/gguf.h"
#include "model/template/chat.h"

enum { TOKEN_LIMIT = 1 << 24, STEPS_MAX = 32, TEMPLATE_MAX = 8, FILES_MAX = 40 };

struct token {
    const char *s; // spelling, NUL-terminated (may hold NUL inside); NULL: no token has this id
    uint32_t n;
    bool special, added;
    bool apart; // an added token that the model's vocabulary does not have
};

/* Open-addressing tables, built once, at most half full. */
struct words {
    int *slot;
    size_t mask;
}; // spelling -> id; slots hold id + 1
struct merge {
    uint64_t key;
    int rank, id;
}; // key: left id + 1 << 32 | right id + 1; 0: empty
struct merges {
    struct merge *slot;
    size_t mask;
};

/* ---- patterns (regex.c) ----------------------------------------------------------- */

struct regex {
    pcre2_code *code; // NULL: the literal
    char *literal;
    size_t n;
};
/* Memory for matching, of one thread; zero-initialise. */
struct matching {
    pcre2_match_data *data;
    pcre2_match_context *limits;
};
/* Matches of one pattern in one text, one after the other, as Oniguruma's iteration finds them:
 * an empty match does not follow directly on another match. */
struct finder {
    const struct regex *re;
    struct matching *m;
    const char *s;
    size_t n, from, last; // last: where the last match ended, + 1; 0: there was none
};
int regex_compile(struct regex *out, const char *re, const char *where,
                  struct err *err) MUST_CHECK;
int regex_literal(struct regex *out, const char *s, struct err *err) MUST_CHECK;
void regex_release(struct regex *re);
/* 1: found, 0: no more, negative: an error. */
int finder_next(struct finder *f, size_t *start, size_t *end, struct err *err) MUST_CHECK;
void matching_release(struct matching *m);

/* ---- steps -------------------------------------------------------------------------- */

enum normal_kind {
    NORMAL_FORM,    // utf8proc options
    NORMAL_PREPEND, // text in front of what is not empty
    NORMAL_REPLACE, // every match of re by text
    NORMAL_STRIP,   // white space left and/or right
    NORMAL_LOWER,
    NORMAL_UNMARK,   // no combining marks
    NORMAL_UNACCENT, // BERT: no combining marks without a width
    NORMAL_NMT,
    NORMAL_CHARSMAP, // SentencePiece's table
    NORMAL_CLEAN,    // BERT: no control characters, plain spaces
    NORMAL_CHINESE,  // BERT: spaces around ideographs
    NORMAL_BYTES,    // bytes in GPT-2's alphabet
};
struct charsmap {
    const uint32_t *trie; // double array of Darts
    size_t units;
    const char *text; // replacements, each ended by a NUL
    size_t n;
};
struct normal {
    enum normal_kind kind;
    int form;
    struct regex re;
    const char *text;
    size_t n;
    bool left, right;
    struct charsmap map;
};

enum split_kind {
    SPLIT_PATTERN,
    SPLIT_SPACE,     // a space in front of pieces that do not begin with one
    SPLIT_BYTES,     // pieces written in GPT-2's alphabet
    SPLIT_METASPACE, // spaces become `mark`, one is put in front, pieces begin at marks
};
enum behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_WITH_PREVIOUS,
    SPLIT_WITH_NEXT,
    SPLIT_CONTIGUOUS,
};
enum prepend { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };
struct split {
    enum split_kind kind;
    struct regex re;
    enum behavior behavior;
    bool invert;
    const char *mark;
    enum prepend prepend;
    bool cut; // metaspace: split at the marks
};

enum decode_kind {
    DECODE_BYTE_LEVEL,
    DECODE_BYTE_FALLBACK,
    DECODE_FUSE,
    DECODE_STRIP,
    DECODE_REPLACE,
    DECODE_METASPACE,
    DECODE_WORDPIECE,
    DECODE_SUFFIX,
};
struct decode {
    enum decode_kind kind;
    struct regex re;
    const char *text; // replacement, prefix, suffix or mark
    size_t n;
    int start, stop;    // STRIP: how many of text at most
    bool first, tidy;   // METASPACE: the first token loses its marks; WORDPIECE: cleanup
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
    size_t cap;
    bool first[256];
}; // sorted by bytes; first: bytes one begins with

enum token_model { MODEL_BPE, MODEL_UNIGRAM, MODEL_WORDPIECE, MODEL_WORDLEVEL };

struct saved_file {
    char *name, *bytes;
    size_t n;
};

struct unigram;
struct tokenizer {
    char *path, where[300]; // where: the file, for messages
    struct arena arena;
    struct token *token;
    int vocab; // (vocab) by id
    struct words words;
    enum token_model model;
    struct merges merges;
    struct unigram *unigram;
    bool byte_level;  // pieces reach the merges as bytes, of which byte_id holds the tokens
    int byte_id[256]; // token of a single byte: byte-level, or "<0x0A>"; -1: none
    int unk;          // what stands for what has no token, -1: nothing does
    bool byte_fallback, fuse_unk;
    bool ignore_merges; // a piece that is a token is that token, whatever the merges say
    bool gaps; // what has no token keeps its neighbours apart (llama.cpp) or not (Hugging Face)
    const char *prefix, *suffix; // of characters inside and at the end of a word, NULL: none
    int longest;                 // WordPiece: characters of the longest word
    struct normal normal[STEPS_MAX];
    int n_normal;
    struct split split[STEPS_MAX];
    int n_splits;
    struct decode decode[STEPS_MAX];
    int n_decode;
    bool spaced; // no decoder: tokens with a space between
    struct added_set raw, late; // matched before, and after the normal form
    int before[TEMPLATE_MAX], n_before, after[TEMPLATE_MAX],
        n_after;                  // ids around a text (post-processor)
    int bos, eos, pad, unk_named; // what a tokenizer_config.json should name; -1: none
    json_t *made; // from elsewhere than a tokenizer.json: the steps as one would write them
    struct chat *chat; // templates and the tokens they see (template/chat.h)
    struct saved_file file[FILES_MAX];
    int n_files; // of a folder: its files as they were
};

/* ---- characters (bytes.c) --------------------------------------------------------- */
int byte_spell(char out[2], unsigned char b); // spelling of one byte; returns 1 or 2
/* Reads one character of a spelling: the byte it stands for, or -1; *n is the character's
 * length. */
int byte_unspell(const char *s, size_t left, size_t *n);
int byte_named(const char *s, size_t n); // "<0x0A>" -> 10; else -1
size_t char_length(const char *s);       // of the character that valid UTF-8 begins with
int32_t char_code(const char *s, size_t n, size_t *length); // -1: broken, of length 1
/* Length of the broken character at s: the bytes that could still have become one, at least 1.
 * *unfinished: more bytes could still make it one. */
size_t char_broken(const char *s, size_t n, bool *unfinished);
size_t char_previous(const char *s, size_t at);               // start of the character before
size_t char_put(char out[4], int32_t c);
bool char_is_space(int32_t c); // White_Space
bool char_is_mark(int32_t c);  // combining: M

/* ---- tables (bytes.c) ------------------------------------------------------------- */
/* last: of tokens spelled alike the last is found; otherwise they are an error. */
int words_build(struct tokenizer *t, bool last, struct err *err);
int words_find(const struct tokenizer *t, const char *s, size_t n); // id or -1
int model_find(const struct tokenizer *t, const char *s, size_t n); // no added tokens apart
int merges_reserve(struct tokenizer *t, size_t n, struct err *err);
/* Rank `rank` merges these two spellings; ERR_FORMAT when they or their union are no tokens.
 * Of equal pairs, a BPE file's last counts. */
int merges_add(struct tokenizer *t, const char *left, size_t nl, const char *right, size_t nr,
               int rank, struct err *err);
void merges_put(struct tokenizer *t, int left, int right, int rank, int id);
const struct merge *merges_find(const struct tokenizer *t, int left, int right);
/* Fills byte_id; called once all tokens are there and byte_level is known. */
void bytes_index(struct tokenizer *t);

/* ---- normal form (normal.c, charsmap.c) ------------------------------------------- */
/* out receives the normal form of s.  *moved: its first character was not the first of s. */
int normalize(const struct tokenizer *t, struct matching *m, struct buf *out, const char *s,
              size_t n, bool *moved, struct err *err);
/* Decoded into the arena; ERR_FORMAT where it is none, ERR_MEMORY. */
int base64_read(struct arena *a, char **out, size_t *n, const char *text);
int charsmap_read(struct charsmap *map, const char *blob, size_t n, const char *where,
                  struct err *err);
void charsmap_apply(const struct charsmap *map, struct buf *out, const char *s, size_t n);

/* ---- pieces (split.c) ------------------------------------------------------------- */
struct piece {
    const char *s;
    size_t n;
    bool first; // begins where the text begins
};
struct pieces {
    struct piece *item;
    int n;
    size_t cap;
    struct arena arena; // pieces that are not as they were in the text
};
struct splitting {
    struct pieces now, next;
    struct matching matching;
};
/* Leaves what becomes of s in w->now. */
int split_text(const struct tokenizer *t, struct splitting *w, const char *s, size_t n,
               bool first, struct err *err);
void splitting_release(struct splitting *w);
/* GPT-2's: contractions, words, numbers and signs with one space before them; a run of white
 * space gives its last character to what follows. */
#define SPLIT_GPT2                                                                             \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* ---- pieces to ids ---------------------------------------------------------------- */
struct bpe; // scratch memory for one call of tokenize
struct bpe *bpe_new(void);
void bpe_free(struct bpe *b);
int bpe_encode(const struct tokenizer *t, struct bpe *b, struct tokens *out, const char *s,
               size_t n, struct err *err);
/* score (n): of the ids below n, NaN: the token is no piece of text.  single: sums are floats. */
int unigram_build(struct tokenizer *t, const double *score, int n, bool single,
                  struct err *err);
void unigram_free(struct unigram *u);
double unigram_score(const struct unigram *u, int id);
int unigram_size(const struct unigram *u); // n
int unigram_encode(const struct tokenizer *t, struct buf *scratch, struct tokens *out,
                   const char *s, size_t n, struct err *err);
int wordpiece_encode(const struct tokenizer *t, struct buf *scratch, struct tokens *out,
                     const char *s, size_t n, struct err *err);
int tokens_add(struct tokens *out, int id, struct err *err);

/* ---- added tokens (added.c) ------------------------------------------------------- */
struct found {
    int id;
    size_t start, end;
}; // id -1: plain text
struct founds {
    struct found *item;
    int n;
    size_t cap;
};
int added_put(struct added_set *set, const struct added *a);
void added_sort(struct added_set *set);
/* Cuts s into plain text and added tokens.  parse_special false leaves special ones in the
 * text. */
int added_cut(const struct added_set *set, struct founds *out, const char *s, size_t n,
              bool parse_special, struct err *err);

/* ---- ids to text (decode.c) ------------------------------------------------------- */
/* What a token stands for in the middle of a text. */
int token_text(const struct tokenizer *t, struct buf *out, int id);

/* ---- vocabulary and merges as a tokenizer.json spells them (scan.c, load_json.c)  */
struct vocab_item {
    const char *s;
    uint32_t n;
    int64_t id;
    double score; // Unigram
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
    bool listed;        // the vocabulary is a list of pieces and scores
    struct arena arena; // strings
};
/* Reads both out of text, which shrinks; false, with text untouched, where that cannot be done.
 */
bool scan_big(struct big *b, char *text, size_t *n);
bool merge_split(struct merge_item *m);
void big_release(struct big *b);

/* ---- loading ---------------------------------------------------------------------- */
int tokenizer_load_folder(struct tokenizer *t, struct err *err);
int tokenizer_load_file(struct tokenizer *t, struct err *err); // a SentencePiece model alone
int tokenizer_load_json(struct tokenizer *t, const struct saved_file *f, struct err *err);
/* config, added: what is beside the file (tokenizer_config.json, added_tokens.json), or NULL. */
int tokenizer_load_spm(struct tokenizer *t, const struct saved_file *f, const json_t *config,
                       const json_t *added, struct err *err);
int tokenizer_load_gguf(struct tokenizer *t, const struct gguf *g, struct err *err);
/* normalizer, pre_tokenizer and decoder of a tokenizer.json (steps.c); needs no vocabulary. */
int steps_load(struct tokenizer *t, const json_t *root, struct err *err);
/* post_processor (post.c); needs the vocabulary. */
int post_load(struct tokenizer *t, const json_t *o, struct err *err);
int put_added(struct tokenizer *t, struct added *a, struct err *err);
/* Merges of a vocabulary that only has scores, as SentencePiece merges: of all pairs that make
 * a token the one with the highest score, the leftmost of equals.  usable (vocab): may be made
 * and be part of others. */
int merges_from_scores(struct tokenizer *t, const float *score, const bool *usable,
                       struct err *err);

/* What llama.cpp means by a name in tokenizer.ggml.pre (pres.c). */
struct pre {
    const char *names;    // separated by spaces
    const char *regex[8]; // applied one after the other, matches isolated; a NULL ends them
    bool ignore_merges, add_bos;
};
const struct pre *pre_find(const char *name, size_t n); // NULL: not known
json_t *pre_json(const struct pre *pre);

/* Steps as a tokenizer.json has them (save.c). */
json_t *byte_level_json(bool regex);
json_t *template_json(const struct tokenizer *t, int bos, int eos); // -1: without
/* Normalizer and decoder of a vocabulary whose spaces are U+2581; prefix: one in front. */
json_t *metaspace_json(bool prefix);
/* tokenizer.json and tokenizer_config.json of a tokenizer that came from elsewhere. */
json_t *tokenizer_to_json(const struct tokenizer *t);
json_t *tokenizer_config_json(const struct tokenizer *t);

#endif
