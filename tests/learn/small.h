/* learn/small.h - a model of a few thousand weights with letters for tokens, and data it can learn in seconds. */
#ifndef TEST_LEARN_SMALL_H
#define TEST_LEARN_SMALL_H

#include "kit/kit.h"

#include <math.h>

#include "learn/internal.h"

/* A tokenizer whose tokens are printable letters, space, line break and three special ones. */
enum { SMALL_END = 0, SMALL_IM_START = 96, SMALL_IM_END = 97, SMALL_VOCAB = 99 };
static inline void small_tokenizer(const char *dir)
{
    static const struct { int id; const char *text; } special[] = {
        {SMALL_END, "<|endoftext|>"}, {SMALL_IM_START, "<|im_start|>"}, {SMALL_IM_END, "<|im_end|>"}};
    struct buf b = {0};
    assert_int_equal(dir_make(dir, NULL), 0);
    buf_adds(&b, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (int i = 0; i < 3; i++)
        buf_addf(&b, "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                     "\"normalized\":false,\"special\":true}", i ? "," : "", special[i].id, special[i].text);
    buf_adds(&b, "],\"normalizer\":null,"
                 "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                 "\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{\"<|endoftext|>\":0,\"\u0120\":1");
    for (int c = 33, id = 2; c < 127; c++)
        buf_addf(&b, ",\"%s%c\":%d", c == '"' || c == '\\' ? "\\" : "", c, id++);
    buf_addf(&b, ",\"<|im_start|>\":%d,\"<|im_end|>\":%d,\"\u010a\":98},\"merges\":[]}}", SMALL_IM_START, SMALL_IM_END);
    char *path = path_join(dir, "tokenizer.json");
    assert_int_equal(file_write(path, b.s, b.len, NULL), 0);
    free(path);
    buf_release(&b);
}

/* A folder with config.json and that tokenizer. */
static inline const char *small_dir(void)
{
    static bool made;
    const char *dir = kit_path("small");
    if (made)
        return dir;
    small_tokenizer(dir);
    const char *config = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"vocab_size\":99,"
                         "\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":2,"
                         "\"num_key_value_heads\":1,\"max_position_embeddings\":256,\"rms_norm_eps\":1e-5,"
                         "\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"hidden_act\":\"silu\",\"bos_token_id\":null,"
                         "\"eos_token_id\":0,\"pad_token_id\":0}";
    char *path = path_join(dir, "config.json");
    assert_int_equal(file_write(path, config, strlen(config), NULL), 0);
    free(path);
    made = true;
    return dir;
}

static inline struct device *small_device(int threads)
{
    struct device *d;
    struct err err = {0};
    if (device_open(&d, NULL, threads, &err))
        fail_msg("%s", err.msg);
    return d;
}

static inline struct model *small_model(struct device *dev, enum dtype dtype, bool scalar)
{
    struct model *m;
    struct err err = {0};
    struct model_options o = {.dtype = dtype, .scalar_head = scalar, .trainable = true, .seed = 7};
    if (model_open_fresh(&m, dev, small_dir(), &o, &err))
        fail_msg("%s", err.msg);
    return m;
}

/* Rows from JSON lines. */
static inline struct rows small_rows(const char *name, const char *lines)
{
    struct rows r = {0};
    struct err err = {0};
    if (rows_read(&r, kit_text(name, lines), 0, &err))
        fail_msg("%s", err.msg);
    return r;
}

static const char SMALL_TEXTS[] =
    "{\"prompt\":\"say a:\",\"completion\":\" aaa\"}\n{\"prompt\":\"say b:\",\"completion\":\" bb\"}\n"
    "{\"prompt\":\"say c:\",\"completion\":\" cccc\"}\n{\"prompt\":\"say d:\",\"completion\":\" d\"}\n"
    "{\"prompt\":\"now e\",\"completion\":\" eee\"}\n{\"prompt\":\"f\",\"completion\":\" ff\"}\n"
    "{\"text\":\"only text\"}\n{\"prompt\":\"say g:\",\"completion\":\" ggg<|endoftext|>\"}\n"
    "{\"prompt\":\"say h:\",\"completion\":\" hh\"}\n{\"text\":\"more text here\"}\n";

static const char SMALL_PAIRS[] =
    "{\"prompt\":\"one:\",\"chosen\":\" good\",\"rejected\":\" bad\",\"label_prob\":0.9}\n"
    "{\"prompt\":\"two:\",\"chosen\":\" good one\",\"rejected\":\" bad\",\"label_prob\":0.8}\n"
    "{\"prompt\":\"three\",\"chosen\":\" good\",\"rejected\":\" bad one\"}\n"
    "{\"prompt\":\"four:\",\"chosen\":\" very good\",\"rejected\":\" very bad\",\"label_prob\":0.95}\n"
    "{\"prompt\":\"five:\",\"chosen\":\" so good\",\"rejected\":\" so so bad\",\"label_prob\":0.7}\n"
    "{\"prompt\":\"six:\",\"chosen\":\" bad\",\"rejected\":\" good\",\"label_prob\":0.1}\n";

static inline struct train_options small_options(const char *output_dir)
{
    struct train_options o;
    train_defaults(&o);
    o.output_dir = output_dir;
    o.learning_rate = 1e-2;
    o.per_device_train_batch_size = 4;
    o.max_steps = 8;
    o.logging_steps = 2;
    o.save_steps = 3;
    o.quiet = true;
    o.adam_epsilon = 1e-6;
    return o;
}

static inline const char *small_file(const char *dir, const char *name, size_t *n)
{
    char *path = path_join(dir, name);
    const char *s = kit_slurp(path, n);
    if (!s)
        fail_msg("%s is not there", path);
    free(path);
    return s;
}

static inline void same_file(const char *a, const char *b, const char *name)
{
    size_t na, nb;
    const char *pa = small_file(a, name, &na), *pb = small_file(b, name, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(pa, pb, na);
}

static inline int copy_dir(const char *to, const char *from)
{
    char *command = str_printf("cp -r '%s' '%s'", from, to);
    int rc = system(command);
    free(command);
    return rc;
}

/* The number `name` in the i-th row of log_history (negative: from the end). */
static inline double logged(const char *dir, int i, const char *name)
{
    char *path = path_join(dir, "trainer_state.json");
    json_t *state = json_read_file(path, NULL);
    free(path);
    const json_t *log = json_object_get(state, "log_history");
    const json_t *row = json_array_get(log, i >= 0 ? (size_t)i : json_array_size(log) - (size_t)-i);
    const json_t *x = json_object_get(row, name);
    if (!json_is_number(x))
        fail_msg("no number %s in row %d of %s", name, i, dir);
    double v = json_number_value(x);
    json_decref(state);
    return v;
}

#endif
