/* mutate.c - a valid file in, a slightly wrong one out: the engine of `make fuzz`.
 *
 *     mutate SEED IN OUT
 *
 * One to six wounds per file, of the kinds that break parsers: flipped bits, lengths that lie (as binary
 * integers and as digits), pieces that are missing, doubled or moved, text that is no text.  Headers get most of
 * them.  The same seed makes the same file.  What is left out: feedback from coverage. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1 << 16 };    // how much a file may grow

struct file { unsigned char *p; size_t n, cap; };

static uint64_t state;

static uint64_t pick(uint64_t below)   // splitmix64
{
    uint64_t x = state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return below ? x % below : 0;
}

/* A position; three in four lie in the first 4 KiB. */
static size_t place(const struct file *f)
{
    size_t n = f->n && pick(4) && f->n > 4096 ? 4096 : f->n;
    return pick(n);
}

/* Replaces `cut` bytes at `at` by n others, as far as there is room. */
static void splice(struct file *f, size_t at, size_t cut, const void *bytes, size_t n)
{
    if (at > f->n)
        at = f->n;
    if (cut > f->n - at)
        cut = f->n - at;
    if (f->n - cut + n > f->cap)
        return;
    unsigned char copy[4096];
    if (n > sizeof copy)
        n = sizeof copy;
    memcpy(copy, bytes, n);     // bytes may lie inside f
    memmove(f->p + at + n, f->p + at + cut, f->n - at - cut);
    memcpy(f->p + at, copy, n);
    f->n += n - cut;
}

static void flip_bit(struct file *f)
{
    if (f->n)
        f->p[place(f)] ^= (unsigned char)(1u << pick(8));
}

static void odd_byte(struct file *f)
{
    static const unsigned char odd[] = {0, 1, 0x7f, 0x80, 0xff, '"', '\\', '{', '}', '[', ']', ',', ':', '\n', ' ', '-'};
    if (f->n)
        f->p[place(f)] = odd[pick(sizeof odd)];
}

static void cut_short(struct file *f)
{
    f->n = pick(3) ? pick(f->n + 1) : place(f);
}

static void remove_piece(struct file *f)
{
    splice(f, place(f), 1 + pick(pick(8) ? 16 : 4096), "", 0);
}

static void double_piece(struct file *f)
{
    size_t at = place(f), n = 1 + pick(pick(4) ? 32 : 2048);
    if (n > f->n - at)
        n = f->n - at;
    splice(f, pick(2) ? at : place(f), 0, f->p + at, n);
}

static void lying_integer(struct file *f)
{
    static const uint64_t lies[] = {0, 1, 2, 0xff, 0xffff, 0x7fffffff, 0x80000000u, 0xffffffffu, 0x100000000u,
                                    0x3fffffffffffffff, 0x7fffffffffffffff, 0x8000000000000000u, ~0ull, ~0ull - 7, 1ull << 40};
    uint64_t v = pick(3) ? lies[pick(sizeof lies / sizeof lies[0])] : pick(0);
    size_t width = (size_t)1 << pick(4), at = place(f);
    if (pick(4) == 0)
        at = 8 * pick(6);       // the counts at the very beginning of safetensors and GGUF
    if (at + width <= f->n)
        memcpy(f->p + at, &v, width);
}

static bool digit(unsigned char c)
{
    return (c >= '0' && c <= '9') || c == '.' || c == '-';
}

/* Finds a number written in digits at or after a random place. */
static bool find_number(const struct file *f, size_t *at, size_t *n)
{
    size_t i = place(f);
    while (i < f->n && !(f->p[i] >= '0' && f->p[i] <= '9'))
        i++;
    if (i >= f->n)
        return false;
    for (*n = 0; i + *n < f->n && digit(f->p[i + *n]); (*n)++)
        ;
    *at = i;
    return *n > 0;
}

static void lying_number(struct file *f)
{
    static const char *const lies[] = {"0", "-1", "1", "3", "1e999", "1e308", "-0.0", "4294967296", "2147483648",
                                       "9223372036854775807", "18446744073709551616", "99999999999", "1.5", "null",
                                       "\"7\"", "[]", "{}", "true", "[[[[[[", "1e-400", "0x10", "65536", "1000000000"};
    size_t at, n;
    if (!find_number(f, &at, &n))
        return;
    const char *lie = lies[pick(sizeof lies / sizeof lies[0])];
    splice(f, at, n, lie, strlen(lie));
}

/* Other digits, same length: headers that say how long they are stay readable. */
static void other_digits(struct file *f)
{
    size_t at, n;
    if (find_number(f, &at, &n))
        for (size_t i = 0; i < n; i++)
            f->p[at + i] = (unsigned char)('0' + (pick(2) ? pick(10) : 9));
}

static void odd_text(struct file *f)
{
    static const char *const odd[] = {"\xff\xfe", "\xc3", "\\ud800", "\\u0000", "\xed\xa0\x80", "\"\"", "null", "{{{{", "[[[[[[[[",
                                      "\xef\xbb\xbf", "\r\n", "\t", "&a *a", "!!x", "%s%n", "../../", "\\", "''"};
    const char *s = odd[pick(sizeof odd / sizeof odd[0])];
    splice(f, place(f), pick(2) ? 0 : strlen(s), s, strlen(s));
}

static void deep(struct file *f)
{
    char nest[4096];
    memset(nest, pick(2) ? '[' : '{', sizeof nest);
    splice(f, place(f), 0, nest, sizeof nest);
}

static void (*const wounds[])(struct file *) = {flip_bit, odd_byte, remove_piece, double_piece, lying_integer, lying_number,
                                                other_digits, odd_text, lying_integer, lying_number, cut_short, deep};

static bool load(struct file *f, const char *path)
{
    FILE *in = fopen(path, "rb");
    if (!in || fseek(in, 0, SEEK_END))
        return false;
    long n = ftell(in);
    rewind(in);
    f->n = n > 0 ? (size_t)n : 0;
    f->cap = f->n + ROOM;
    f->p = malloc(f->cap);
    bool ok = f->p && fread(f->p, 1, f->n, in) == f->n;
    fclose(in);
    return ok;
}

int main(int argc, char **argv)
{
    struct file f = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: mutate SEED IN OUT\n");
        return 2;
    }
    if (!load(&f, argv[2])) {
        perror(argv[2]);
        return 1;
    }
    state = strtoull(argv[1], NULL, 10) * 0xd1342543de82ef95u + 1;
    size_t times = 1 + pick(pick(2) ? 2 : 6), kinds = sizeof wounds / sizeof wounds[0];
    while (times--)
        wounds[pick(pick(3) ? kinds - 2 : kinds)](&f);   // the two crude ones are rarer
    FILE *out = fopen(argv[3], "wb");
    bool ok = out && fwrite(f.p, 1, f.n, out) == f.n;
    if (!out || fclose(out) || !ok) {
        perror(argv[3]);
        return 1;
    }
    free(f.p);
    return 0;
}
