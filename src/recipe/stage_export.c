/* recipe/stage_export.c - `rlaif export`: a model as a GGUF file for llama.cpp, or as a Hugging
 * Face folder of another dtype. */
#include <sys/stat.h>

#include "model/model.h"
#include "recipe/adapting.h"

static const struct option options[] = {
    {"model_name_or_path", OPT_MODEL, NULL, "model to write anew: folder, GGUF file or name on the Hub", NULL,
     true},
    ADAPTER_OPTION,
    {"gguf", OPT_CHOICE, NULL, "write a GGUF file of this type; needs --output",
     "F32|F16|BF16|Q8_0|Q4_0|Q4_1|Q4_K_M|Q6_K", false},
    {"output", OPT_OUTPUT, NULL, "the GGUF file that is written", NULL, false},
    {"dtype", OPT_CHOICE, "bfloat16", "of the folder's values", "float32|bfloat16|float16",
     false},
    {"output_dir", OPT_OUTPUT_DIR, NULL, "the model folder that is written", NULL, false},
    {"max_shard_size", OPT_STRING, "5GB",
     "most bytes of one file of the folder: 5GB, 200MB, 64KB", NULL, false},
};

/* "5GB" as transformers reads it: powers of ten. */
static int read_size(size_t *out, const char *text, struct err *err)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_ends(text, units[i].unit)) {
            double v;
            char *number =
                str_printf("%.*s", (int)(strlen(text) - strlen(units[i].unit)), text);
            bool ok = number && str_to_double(number, &v) && v > 0 && v * units[i].bytes < 1e18;
            free(number);
            if (ok) {
                *out = (size_t)(v * units[i].bytes);
                return 0;
            }
            break;
        }
    return err_set(err, ERR_USAGE, "--max_shard_size is '%s'; expected a size such as 5GB",
                   text);
}

static int run_export(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const char *model = opt_str(opt, "model_name_or_path"), *file = opt_str(opt, "output"),
               *dir = opt_str(opt, "output_dir"), *gguf = opt_str(opt, "gguf");
    struct model_export e = {.gguf = gguf, .dtype = opt_str(opt, "dtype")};
    struct stat st;
    int rc = read_size(&e.shard_bytes, opt_str(opt, "max_shard_size"), err);
    if (rc)
        return rc;
    if (!file == !dir || !gguf != !file)
        return err_set(
            err, ERR_USAGE,
            "rlaif export writes a GGUF file (--gguf TYPE --output FILE) or a folder "
            "(--dtype TYPE --output_dir DIR)");
    struct start s;
    rc = start_read(&s, opt, model, false, err);
    e.adapter = s.adapter;
    if (rc == 0)
        rc = model_export(s.base, file ? file : dir, &e, err);
    start_release(&s);
    if (rc)
        return rc;
    json_object_set_new(result, "model", json_string(model));
    json_object_set_new(result, file ? "output" : "output_dir", json_string(file ? file : dir));
    json_object_set_new(result, file ? "gguf" : "dtype", json_string(file ? gguf : e.dtype));
    if (opt_given(opt, "adapter"))
        json_object_set_new(result, "adapter", json_string(opt_str(opt, "adapter")));
    if (file && stat(file, &st) == 0)
        json_object_set_new(result, "bytes", json_integer((json_int_t)st.st_size));
    return 0;
}

const struct stage stage_export = {
    .name = "export",
    .summary = "a model as a GGUF file for llama.cpp, or as a folder of another dtype",
    .bare = "model_name_or_path",
    .example = "rlaif export models/s --gguf Q8_0 --output runs/s.gguf",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_export,
};
