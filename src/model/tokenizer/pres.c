/* pres.c - what llama.cpp means by a name in tokenizer.ggml.pre: the regular expressions of the
 * pre-tokenizer, as the tokenizer.json of the model had them.
 *
 * Left out: names whose splitting is not made of regular expressions (afmoe, kimi-k2, superbpe,
 * whitespace) and of families that are not supported. */
#include "model/tokenizer/tokenizer.h"

#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
#define WORD_START "[^\\r\\n\\p{L}\\p{N}]?"
#define SIGNS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define SIGNS_SLASH " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(end)                                                                             \
    WORD_START UPPER "*" LOWER "+" end "|" WORD_START UPPER "+" LOWER "*" end "|"
#define CJK_SIGNS "[!-/:-~！-／：-～‘-‟　-。]+"
/* Cased letters, as DeepSeek's tokenizer lists them. */
#define CASED_LETTERS                                                                          \
    "[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ"         \
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎ"                 \
    "ↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"

static const struct pre PRE[] = {
    {.names = "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
     .regex = {"\\p{N}", SPLIT_GPT2}},
    {.names = "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat jina-es "
              "jina-de a.x-4.0 mellum modern-bert",
     .regex = {SPLIT_GPT2}},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
     .regex = {"(?i:" CONTRACTION ")|" WORD_START "\\p{L}+|\\p{N}{1,3}|" SIGNS "|" SPACES},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "dbrx smaug-bpe chatglm-bpe",
     .regex = {"(?i:" CONTRACTION ")|" WORD_START "\\p{L}+|\\p{N}{1,3}|" SIGNS "|" SPACES}},
    {.names = "glm4 glm5",
     .regex = {"(?i:" CONTRACTION ")|" WORD_START "\\p{L}+|\\p{N}{1,3}|" SIGNS "|" SPACES},
     .ignore_merges = true},
    {.names = "qwen2 deepseek-r1-qwen stablelm2 megrez hunyuan solar-open grok-2",
     .regex = {"(?i:" CONTRACTION ")|" WORD_START "\\p{L}+|\\p{N}|" SIGNS "|" SPACES}},
    {.names = "qwen35",
     .regex = {"(?i:" CONTRACTION ")|" WORD_START "[\\p{L}\\p{M}]+|\\p{N}| "
               "?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES}},
    {.names = "tekken",
     .regex = {CASED("") "\\p{N}|" SIGNS_SLASH "|" SPACES},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "gpt-4o llama4 kanana2 minimax-m2",
     .regex = {CASED("(?i:" CONTRACTION ")?") "\\p{N}{1,3}|" SIGNS_SLASH "|" SPACES}},
    {.names = "deepseek-llm",
     .regex = {"[\\r\\n]", "\\s?" CASED_LETTERS, "\\s?" CJK_SIGNS, "\\s+$",
               "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"}},
    {.names = "deepseek-coder",
     .regex = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm",
     .regex = {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
               "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
               "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES}},
    {.names = "falcon", .regex = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", SPLIT_GPT2, "[0-9][0-9][0-9]"}},
    {.names = "seed-coder",
     .regex = {"(?i:" CONTRACTION ")|" WORD_START "\\p{L}+|\\p{N}{1}| "
               "?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES}},
    {.names = "bailingmoe bailingmoe2 llada-moe",
     .regex = {"'(?i:[sdmt]|ll|ve|re)|" WORD_START "\\p{L}+|\\p{N}|" SIGNS
               "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = "default",
     .regex = {"[\\p{P}\\$\\+<=>\\^\\~\\|]+", SPLIT_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

static bool has_name(const char *names, const char *s, size_t n)
{
    for (const char *p = names; *p;) {
        size_t k = strcspn(p, " ");
        if (k == n && !memcmp(p, s, n))
            return true;
        p += k + (p[k] == ' ');
    }
    return false;
}

const struct pre *pre_find(const char *name, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(PRE); i++)
        if (has_name(PRE[i].names, name, n))
            return &PRE[i];
    return NULL;
}

json_t *pre_json(const struct pre *pre)
{
    json_t *list = json_array();
    for (int i = 0; pre->regex[i]; i++) {
        bool gpt2 = !pre->regex[i + 1] && !strcmp(pre->regex[i], SPLIT_GPT2);
        if (gpt2) // ByteLevel has it inside
            break;
        json_array_append_new(list, json_pack("{ss s{ss} ss sb}", "type", "Split", "pattern",
                                              "Regex", pre->regex[i], "behavior", "Isolated",
                                              "invert", 0));
    }
    int n = 0;
    while (pre->regex[n])
        n++;
    json_array_append_new(list, byte_level_json(!strcmp(pre->regex[n - 1], SPLIT_GPT2)));
    return json_pack("{ss so}", "type", "Sequence", "pretokenizers", list);
}
