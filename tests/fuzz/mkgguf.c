/* mkgguf.c - writes a whole GGUF model of a few kilobytes, so that fuzzing does not need 90 MB: one layer, width
 * 32, 260 tokens, its byte-level tokenizer, and tensors of several types; the last is of the type asked for.
 *
 *     mkgguf OUT [Q8_0|IQ4_NL|Q2_K|Q3_K|Q4_K|Q5_K|Q6_K|IQ4_XS]
 *
 * GGUF v3:  "GGUF" | u32 3 | u64 tensors | u64 pairs | pairs | infos | padding to 32 | data
 *   pair    string key | u32 type | value;     string  u64 length | bytes
 *   info    string name | u32 dims | u64 size[dims] | u32 type | u64 offset */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };
enum { T_F32 = 0, T_F16 = 1, T_Q4_1 = 3, T_Q8_0 = 8, T_BF16 = 30 };
enum { C = 32, F = 256, V = 260, HEADS = 2, KV = 1, D = 16 };

static FILE *out;

static void u32(uint32_t v) { fwrite(&v, 4, 1, out); }
static void u64(uint64_t v) { fwrite(&v, 8, 1, out); }
static void str(const char *s) { u64(strlen(s)); fputs(s, out); }
static void key(const char *k, uint32_t type) { str(k); u32(type); }
static void pair_u32(const char *k, uint32_t v) { key(k, U32); u32(v); }
static void pair_f32(const char *k, float v) { key(k, F32); fwrite(&v, 4, 1, out); }
static void pair_str(const char *k, const char *v) { key(k, STRING); str(v); }

/* GPT-2's printable stand-in for a byte, as UTF-8. */
static void byte_token(char s[4], int byte)
{
    int c = byte, shifted = 256;
    if (!((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)) {
        for (int b = 0; b < byte; b++)
            shifted += !((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae);
        c = shifted;
    }
    memset(s, 0, 4);
    if (c < 0x80)
        s[0] = (char)c;
    else
        s[0] = (char)(0xc0 | c >> 6), s[1] = (char)(0x80 | (c & 0x3f));
}

static void tokenizer(void)
{
    char s[4];
    pair_str("tokenizer.ggml.model", "gpt2");
    pair_str("tokenizer.ggml.pre", "smollm");
    key("tokenizer.ggml.tokens", ARRAY), u32(STRING), u64(V);
    str("<|endoftext|>");
    for (int b = 0; b < 256; b++) {
        byte_token(s, b);
        str(s);
    }
    str("th"), str("the"), str("in");
    key("tokenizer.ggml.token_type", ARRAY), u32(I32), u64(V);
    for (int i = 0; i < V; i++)
        u32(i == 0 ? 3 : 1);
    key("tokenizer.ggml.merges", ARRAY), u32(STRING), u64(3);
    str("t h"), str("th e"), str("i n");
    pair_u32("tokenizer.ggml.bos_token_id", 0);
    pair_u32("tokenizer.ggml.eos_token_id", 0);
    key("tokenizer.ggml.add_bos_token", BOOL), fputc(0, out);
}

/* Of the last tensor. */
static const struct block { const char *name; uint32_t type; uint64_t values, bytes; } blocks[] = {
    {"Q8_0", T_Q8_0, 32, 34}, {"IQ4_NL", 20, 32, 18},  {"Q2_K", 10, 256, 84},  {"Q3_K", 11, 256, 110},
    {"Q4_K", 12, 256, 144},   {"Q5_K", 13, 256, 176},  {"Q6_K", 14, 256, 210}, {"IQ4_XS", 23, 256, 136},
};
static const struct block *last = &blocks[0];

static struct tensor { const char *name; uint64_t cols, rows; uint32_t type; } tensors[] = {
    {"token_embd.weight", C, V, T_Q8_0},
    {"output_norm.weight", C, 0, T_F32},
    {"blk.0.attn_norm.weight", C, 0, T_F32},
    {"blk.0.ffn_norm.weight", C, 0, T_F32},
    {"blk.0.attn_q.weight", C, HEADS * D, T_F16},
    {"blk.0.attn_k.weight", C, KV * D, T_BF16},
    {"blk.0.attn_v.weight", C, KV * D, T_F32},
    {"blk.0.attn_output.weight", C, C, T_Q4_1},
    {"blk.0.ffn_gate.weight", C, F, T_Q4_1},
    {"blk.0.ffn_up.weight", C, F, T_Q8_0},
    {"blk.0.ffn_down.weight", F, C, T_Q8_0},
};
enum { N = sizeof tensors / sizeof tensors[0] };

static uint64_t bytes_of(const struct tensor *t)
{
    uint64_t n = t->cols * (t->rows ? t->rows : 1);
    if (t->type == last->type)
        return n / last->values * last->bytes;
    switch (t->type) {
    case T_F32: return n * 4;
    case T_Q8_0: return n / 32 * 34;
    case T_Q4_1: return n / 32 * 20;
    default: return n * 2;
    }
}

static uint64_t padded(uint64_t n) { return (n + 31) / 32 * 32; }

/* Small, varied values; scales of blocks and half floats stay far from infinity. */
static void tensor_data(const struct tensor *t)
{
    uint64_t n = bytes_of(t), block = t->type == T_Q8_0 ? 34 : t->type == T_Q4_1 ? 20 : 0;
    for (uint64_t i = 0; i < padded(n); i++) {
        int c = (int)(i * 37 % 251);
        if (i >= n)
            c = 0;
        else if (t->type == last->type && t->type != T_Q8_0)
            c &= 0x3b;                              // wherever a scale is, it is finite
        else if (block && i % block < (block == 34 ? 2 : 4))
            c = i % 2 ? 0x20 : 0x10;                // about 0.008 as a half
        else if (t->type == T_F32)
            c = (int[]){0, 0, 0x80, 0x3f}[i % 4];   // 1.0
        else if (!block && i % 2)
            c = t->type == T_F16 ? 0x24 | (c & 0x80) : 0x3c | (c & 0x80);
        fputc(c, out);
    }
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof blocks / sizeof blocks[0]; i++)
        if (!strcmp(argv[2], blocks[i].name))
            last = &blocks[i];
    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], last->name)) || !(out = fopen(argv[1], "wb"))) {
        fprintf(stderr, "usage: mkgguf OUT [TYPE]\n");
        return 2;
    }
    tensors[N - 1].type = last->type;
    fputs("GGUF", out), u32(3), u64(N), u64(17);
    pair_str("general.architecture", "llama");
    pair_u32("general.alignment", 32);
    pair_u32("llama.embedding_length", C);
    pair_u32("llama.block_count", 1);
    pair_u32("llama.feed_forward_length", F);
    pair_u32("llama.attention.head_count", HEADS);
    pair_u32("llama.attention.head_count_kv", KV);
    pair_u32("llama.context_length", 256);
    pair_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    tokenizer();
    uint64_t offset = 0;
    for (int i = 0; i < N; i++) {
        const struct tensor *t = &tensors[i];
        str(t->name), u32(t->rows ? 2 : 1), u64(t->cols);
        if (t->rows)
            u64(t->rows);
        u32(t->type), u64(offset);
        offset += padded(bytes_of(t));
    }
    while (ftell(out) % 32)
        fputc(0, out);
    for (int i = 0; i < N; i++)
        tensor_data(&tensors[i]);
    return fclose(out) ? 1 : 0;
}
