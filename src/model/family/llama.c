/* family/llama.c - Llama 2 and 3, and the many models of the same shape: the family all others are compared with. */
#include "model/family/family.h"

static int read(struct model_config *c, const json_t *o, const char *where, struct err *err)
{
    c->choices.out_bias = c->choices.qkv_bias;      // attention_bias is for all four
    return 0;
}

const struct family FAMILY_LLAMA = {
    .about = {"llama", "Llama 2, 3, 3.1, 3.2", "meta-llama/Llama-3.2-1B-Instruct, HuggingFaceTB/SmolLM2-135M-Instruct, "
              "01-ai/Yi-1.5-6B-Chat, deepseek-ai/deepseek-llm-7b-chat, TinyLlama/TinyLlama-1.1B-Chat-v1.0",
              "also SmolLM2, Yi, DeepSeek-LLM and others of the same shape", "llama"},
    .causal = "LlamaForCausalLM",
    .classifier = "LlamaForSequenceClassification",
    .base = "model.",
    .parts = LLAMA_PARTS,
    .keys = LLAMA_KEYS,
    .gguf_interleaved = true,
    .read = read,
};
