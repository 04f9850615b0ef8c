/* model/family_folder.h - the tiny models of every family, as folders that can be opened. */
#ifndef TEST_MODEL_FAMILY_FOLDER_H
#define TEST_MODEL_FAMILY_FOLDER_H

#include <sys/stat.h>
#include <unistd.h>

#include "model/tiny.h"

static const char *const names[] = {
    "llama", "llama-linear", "llama-dynamic", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "phi3-long", "gpt2",
    "gpt_neox", "gpt_neox-serial", "olmo2", "granite", "smollm3",
};

/* The vector's files beside the tokenizer they share, in a folder called `as`. */
static inline const char *folder_as(const char *as, const char *name)
{
    const char *folder = kit_path(as), *files[] = {"config.json", "model.safetensors", "../tokenizer.json"};
    mkdir(folder, 0755);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char *from = str_printf("%s/vectors/families/%s/%s", kit_tests(""), name, files[i]);
        char *to = path_join(folder, i == 2 ? "tokenizer.json" : files[i]);
        assert_true(symlink(from, to) == 0 || access(to, R_OK) == 0);
        free(from);
        free(to);
    }
    return folder;
}

static inline int open_as(struct model **out, struct device *dev, const char *folder, bool trainable, enum dtype dtype)
{
    struct model_options opt = {.dtype = dtype, .trainable = trainable};
    struct err err = {0};
    if (strstr(folder, "phi3-long"))
        opt.max_model_len = 1280;       // its sequences are all longer than the original length, 8
    int rc = model_open(out, dev, folder, &opt, &err);
    if (rc)
        fail_msg("%s", err.msg);
    return rc;
}

#endif
