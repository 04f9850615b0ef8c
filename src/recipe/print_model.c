/* recipe/print_model.c - a checkpoint in a dozen lines, then its tensors: what `rlaif inspect
 * MODEL` prints. */
#include "model/model.h"
#include "recipe/internal.h"

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void line(FILE *to, const char *label)
{
    fprintf(to, "%-12s", label);
}

static void print_count(double n, FILE *to)
{
    fprintf(to,
            n < 1e6   ? "%.1f thousand"
            : n < 1e9 ? "%.1f million"
                      : "%.2f billion",
            n / (n < 1e6   ? 1e3
                 : n < 1e9 ? 1e6
                           : 1e9));
}

static void print_size(double bytes, FILE *to)
{
    fprintf(to,
            bytes < 1e6   ? "%.1f kB"
            : bytes < 1e9 ? "%.1f MB"
                          : "%.2f GB",
            bytes / (bytes < 1e6   ? 1e3
                     : bytes < 1e9 ? 1e6
                                   : 1e9));
}

static void print_what(const json_t *r, FILE *to)
{
    const json_t *family = json_object_get(r, "family");
    line(to, "model"), fprintf(to, "%s\n", text(r, "path"));
    line(to, "family");
    if (text(family, "name"))
        fprintf(to, "%s (%s)\n", text(family, "name"), text(family, "model_type"));
    else
        fprintf(to, "unknown\n");
    line(to, "format");
    fprintf(to, "%s\n",
            strcmp(text(r, "format"), "gguf") ? "Hugging Face folder, safetensors" : "GGUF");
    line(to, "head");
    if (!strcmp(text(r, "head"), "scalar"))
        fprintf(to, "one number: a reward model\n");
    else
        fprintf(to, "vocabulary%s\n",
                json_is_true(json_object_get(r, "tied")) ? ", shared with the embedding" : "");
    line(to, "parameters");
    print_count((double)number(r, "parameters"), to);
    fprintf(to, " (%lld)\n", number(r, "parameters"));
}

static void print_shape(const json_t *s, FILE *to)
{
    line(to, "layers");
    fprintf(to, "%lld of width %lld, MLP %lld\n", number(s, "layers"), number(s, "width"),
            number(s, "ffn"));
    line(to, "heads");
    fprintf(to, "%lld of %lld, %lld for keys and values\n", number(s, "heads"),
            number(s, "head_size"), number(s, "kv_heads"));
    if (number(s, "experts"))
        line(to, "experts"), fprintf(to, "%lld, %lld of them for a token\n",
                                     number(s, "experts"), number(s, "experts_used"));
    line(to, "context");
    fprintf(to, "%lld tokens", number(s, "context"));
    if (number(s, "window"))
        fprintf(to, "; %lld layers see the last %lld", number(s, "windowed_layers"),
                number(s, "window"));
    fputc('\n', to);
}

static void print_storage(const json_t *r, FILE *to)
{
    const char *name;
    json_t *n;
    bool first = true;
    line(to, "size");
    print_size(json_number_value(json_object_get(r, "bytes")), to);
    fprintf(to, " in");
    json_object_foreach(json_object_get(r, "dtypes"), name, n)
    {
        fprintf(to, "%s %lld %s", first ? "" : ",", (long long)json_integer_value(n), name);
        first = false;
    }
    fprintf(to, " tensors\n");
    line(to, "hash"), fprintf(to, "%s\n", text(r, "hash"));
}

static void print_tokenizer(const json_t *r, FILE *to)
{
    static const char *const names[] = {"bos", "eos", "pad"};
    const json_t *t = json_object_get(r, "tokenizer");
    line(to, "tokenizer");
    if (!t) {
        fprintf(to, "none: %s\n", text(r, "tokenizer_error"));
        return;
    }
    fprintf(to, "%s, %lld tokens, %lld of them special", text(t, "kind"), number(t, "vocab"),
            number(t, "special_tokens"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (text(t, names[i]))
            fprintf(to, "; %s %s", names[i], text(t, names[i]));
    fputc('\n', to);
    line(to, "template");
    if (!json_is_true(json_object_get(t, "chat_template")))
        fprintf(to, "none\n");
    else if (text(t, "chat_template_error"))
        fprintf(to, "there is one, but: %s\n", text(t, "chat_template_error"));
    else
        fprintf(to, "yes: it renders conversations\n");
}

static void print_tensors(const json_t *list, FILE *to)
{
    size_t i;
    json_t *v;
    fprintf(to, "tensors\n");
    json_array_foreach((json_t *)list, i, v)
    {
        struct buf shape = {0};
        json_add_text(&shape, json_object_get(v, "shape"), 0);
        fprintf(to, "  %-52s %-5s %s\n", text(v, "name"), text(v, "dtype"),
                shape.s ? shape.s : "");
        buf_release(&shape);
    }
}

void print_model(const json_t *r, FILE *to)
{
    print_what(r, to);
    print_shape(json_object_get(r, "shape"), to);
    print_storage(r, to);
    print_tokenizer(r, to);
    print_tensors(json_object_get(r, "tensors"), to);
}
