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
#define CASED(end) WORD_START UPPER "*" LOWER "+" end "|" WORD_START UPPER "+" LOWER "*" end "|"
#define CJK_SIGNS                                                                              \
    "[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+"
#define CJK "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define HAN_AND_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
/* Cased letters, as DeepSeek's tokenizer lists them. */
static const char CASED_LETTERS[] =
    "\\s?"
    "[A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"
    "\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}"
    "\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}"
    "\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}"
    "\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}"
    "\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}"
    "\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}"
    "\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}"
    "\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}"
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}"
    "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}"
    "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}]+";

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
     .regex = {"[\\r\\n]", CASED_LETTERS, "\\s?" CJK_SIGNS, "\\s+$", CJK, "\\p{N}+"}},
    {.names = "deepseek-coder",
     .regex = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}"}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm",
     .regex =
         {"\\p{N}{1,3}", HAN_AND_KANA,
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
        json_array_append_new(list,
                              json_pack("{ss s{ss} ss sb}", "type", "Split", "pattern", "Regex",
                                        pre->regex[i], "behavior", "Isolated", "invert", 0));
    }
    int n = 0;
    while (pre->regex[n])
        n++;
    json_array_append_new(list, byte_level_json(!strcmp(pre->regex[n - 1], SPLIT_GPT2)));
    return json_pack("{ss so}", "type", "Sequence", "pretokenizers", list);
}
