/* lab/bpe.c - a small byte-level BPE trainer.
 *
 * Text is cut the way the GPT-2 pattern cuts it, with digits one by one: an optional space and
 * letters, an optional space and other marks, a digit, white space.  Pieces are counted, and the
 * most frequent adjacent pair of symbols is merged until the vocabulary is full (ties: the pair
 * that sorts first), so the result depends on the text alone.  Generated text is ASCII; pieces
 * with other bytes never reach the trainer.  Pair counts are recomputed for every merge: a few
 * thousand distinct pieces make that cheap. */
#include "lab/world.h"

#include <ctype.h>

enum { MAX_PIECES = 1 << 14, MAX_TOKENS = 1 << 12 };

struct piece { char text[BPE_SYMBOL]; int64_t count; int n; uint16_t sym[BPE_SYMBOL]; };
struct bpe {
    struct piece piece[MAX_PIECES];         // (n)
    int n;
    int32_t slot[4 * MAX_PIECES];           // hash table of piece indices + 1
    char token[MAX_TOKENS][BPE_SYMBOL];     // (n_tokens) text of each symbol
    uint16_t merge[MAX_TOKENS][2];          // (n_tokens) the two parts of symbols from 256 on
    int n_tokens;
};

struct bpe *lab_bpe_new(void)
{
    struct bpe *b = mem_alloc(1, sizeof *b);
    for (int i = 0; b && i < 256; i++)
        b->token[i][0] = (char)i;
    if (b)
        b->n_tokens = 256;
    return b;
}

void lab_bpe_free(struct bpe *b)
{
    free(b);
}

int bpe_symbols(const struct bpe *b)
{
    return b->n_tokens;
}

const char *bpe_text(const struct bpe *b, int symbol)
{
    return b->token[symbol];
}

void bpe_merge(const struct bpe *b, int symbol, int part[2])
{
    part[0] = b->merge[symbol][0];
    part[1] = b->merge[symbol][1];
}

static uint32_t text_hash(const char *s, int n)
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h;
}

static void piece_count(struct bpe *b, const char *s, int n)
{
    if (n >= BPE_SYMBOL)
        return;
    uint32_t h = text_hash(s, n);
    for (;; h++) {
        int32_t *slot = &b->slot[h % (4 * MAX_PIECES)];
        if (*slot == 0) {
            if (b->n == MAX_PIECES)
                return;
            struct piece *p = &b->piece[b->n];
            memcpy(p->text, s, (size_t)n);
            p->n = n;
            for (int i = 0; i < n; i++)
                p->sym[i] = (unsigned char)s[i];
            *slot = ++b->n;
        }
        struct piece *p = &b->piece[*slot - 1];
        if ((int)strlen(p->text) == n && !memcmp(p->text, s, (size_t)n)) {
            p->count++;
            return;
        }
    }
}

/* The length of the piece that starts at s, in the order of the pattern's alternatives. */
static int piece_length(const char *s)
{
    int i = 0;
    if (isdigit((unsigned char)s[0]))
        return 1;
    if (s[0] == ' ' && s[1] && !isspace((unsigned char)s[1]) && !isdigit((unsigned char)s[1]))
        i = 1;
    int from = i;
    while (isalpha((unsigned char)s[i]))
        i++;
    if (i > from)
        return i;
    while (s[i] && !isalnum((unsigned char)s[i]) && !isspace((unsigned char)s[i]))
        i++;
    if (i > from)
        return i;
    i = 0;
    while (isspace((unsigned char)s[i]))
        i++;
    return i > 1 && s[i] ? i - 1 : i;       // the last of a run stands for itself, or leads the next piece
}

void bpe_count(struct bpe *b, const char *s)
{
    while (*s) {
        int n = piece_length(s);
        BUG_IF(n == 0);
        piece_count(b, s, n);
        s += n;
    }
}

/* Order of equally frequent pairs: by text, so that nothing depends on who was seen first. */
static bool pair_less(const struct bpe *b, int a0, int a1, int b0, int b1)
{
    int c = strcmp(b->token[a0], b->token[b0]);
    return c ? c < 0 : strcmp(b->token[a1], b->token[b1]) < 0;
}

static bool best_pair(const struct bpe *b, int64_t *count, int vocab, int best[2])
{
    memset(count, 0, sizeof *count * (size_t)vocab * (size_t)vocab);
    for (int i = 0; i < b->n; i++)
        for (int k = 0; k + 1 < b->piece[i].n; k++)
            count[b->piece[i].sym[k] * (size_t)vocab + b->piece[i].sym[k + 1]] += b->piece[i].count;
    int64_t most = 1;
    bool found = false;
    for (int i = 0; i < b->n; i++)
        for (int k = 0; k + 1 < b->piece[i].n; k++) {
            int x = b->piece[i].sym[k], y = b->piece[i].sym[k + 1];
            int64_t c = count[x * (size_t)vocab + y];
            if (c > most || (c == most && found && pair_less(b, x, y, best[0], best[1]))) {
                most = c;
                best[0] = x;
                best[1] = y;
                found = true;
            }
        }
    return found;
}

static void apply_merge(struct bpe *b, const int best[2], int id)
{
    for (int i = 0; i < b->n; i++) {
        struct piece *p = &b->piece[i];
        int to = 0;
        for (int k = 0; k < p->n; k++)
            if (k + 1 < p->n && p->sym[k] == best[0] && p->sym[k + 1] == best[1]) {
                p->sym[to++] = (uint16_t)id;
                k++;
            } else {
                p->sym[to++] = p->sym[k];
            }
        p->n = to;
    }
}

int bpe_train(struct bpe *b, int vocab, struct err *err)
{
    BUG_IF(vocab > MAX_TOKENS);
    int64_t *count = mem_alloc((size_t)vocab * (size_t)vocab, sizeof *count);
    if (!count)
        return err_set(err, ERR_MEMORY, "training a tokenizer of %d tokens", vocab);
    int best[2] = {0};
    while (b->n_tokens < vocab && best_pair(b, count, vocab, best)) {
        int id = b->n_tokens++;
        size_t head = strlen(b->token[best[0]]);
        memcpy(b->token[id], b->token[best[0]], head);
        strcpy(b->token[id] + head, b->token[best[1]]);     // within one piece, so it fits
        b->merge[id][0] = (uint16_t)best[0];
        b->merge[id][1] = (uint16_t)best[1];
        apply_merge(b, best, id);
    }
    free(count);
    return 0;
}
