"""Writes tests/vectors/tokenizer/ and tests/cases/: small tokenizers and the ids that others make of nasty strings.

    python tools/vectors_tokenizer.py [models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf]

Needs tokenizers, jinja2 and, for the part about SmolLM2, llama-cpp-python.  Nothing random is left open: the same
versions write the same bytes."""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests")
CONTRACTION = "'s|'t|'re|'ve|'m|'ll|'d"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXT = [
    "The mill by the river had stood empty for twenty years when the twins bought it, and nobody in the village could say why.",
    "We're sure that they'll come, she said; it's only 12 miles, isn't it? They'd said 3 o'clock, or 15:30 at the latest.",
    "    for (int i = 0; i < n; i++)\n        total += value[i] * weight[i];\n    return total / 1000.0;\n",
    "Über die Straße ging ein Mädchen; l'été dernier, l'élève a reçu une leçon; el niño comió una piña.",
    "Привет, как дела? Сегодня хорошая погода. Γειά σου κόσμε. שלום עולם. مرحبا بالعالم.",
    "今日は天気がいいですね。我们明天去北京。안녕하세요 세계. नमस्ते दुनिया।",
    "the the the and and and ing ing tion tion er er ed ed in on at it is was were will would could should",
    "\n\n\nHuman: what is 2 + 2?\n\nAssistant: 2 + 2 = 4.\n\n\n", "a" * 64, " " * 64, "-" * 40, "=" * 40, "!?!?!?!?",
]


def train(pre, special, normalizer=None, post=None, vocab=420):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(TEXT * 3, trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    if post:
        t.post_processor = post(t)
    return t


def digits():
    """As SmolLM2: each digit for itself, then GPT-2's pattern."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return train(pre, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def spaced():
    """A space before every text, composed characters, and added tokens with every flag."""
    t = train(pre_tokenizers.ByteLevel(add_prefix_space=True), ["<s>", "</s>"], normalizers.NFC())
    t.add_tokens([AddedToken("[word]", single_word=True, normalized=False), AddedToken("[left]", lstrip=True, normalized=False),
                  AddedToken("[right]", rstrip=True, normalized=False), AddedToken("caf\u00e9", normalized=True),
                  AddedToken("[both]", lstrip=True, rstrip=True, normalized=False), AddedToken("[both]er", normalized=False)])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return t


def llama3():
    """As Llama 3: one pattern with groups of three digits, BOS in front, whole pieces before merges."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated", invert=False),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    def post(t):
        bos = t.token_to_id("<|begin|>")
        return processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|begin|> $A <|end|>", pair="<|begin|> $A <|end|> $B:1",
            special_tokens=[("<|begin|>", bos), ("<|end|>", t.token_to_id("<|end|>"))])])

    t = train(pre, ["<|begin|>", "<|end|>"], post=post)
    o = json.loads(t.to_str())
    o["model"]["ignore_merges"] = True
    o["model"]["vocab"]["\u0120river"] = len(o["model"]["vocab"])     # a token that no merge makes
    return Tokenizer.from_str(json.dumps(o))


FIXED = [
    "", " ", "  ", "\n", "\n\n\n", "\t", "\r\n", " \n ", "a", " a", "a ", "  a  b   c ", "hello world", "Hello, World!", "\u00b2", " \u00b2",
    " \u00b2\u00b3 x", "1", " 1", "12345", "3.14159", "1,000,000", "a1b2c3", "\u00bd 3\u00be", "\u0967\u0968\u0969", "\u2160 \u2167 \u32bf",
    "it's we're I'll DON'T don't they'd", "'s", " 's", "''s", "\u2019s", "<|im_start|>user\nhi<|im_end|>\n", "<|endoftext|>", "<|im_end|><|im_end|>",
    "<|im_end", "<|im_end|", "x<|im_end|>y", "  <|im_end|>  y", "<s>", " <s> a </s>", "<mask>", "a  <mask>  b", "[word]", "x[word]", "[word]x", "x [word] y",
    "a  [left]  b", "a  [right]  b", "a \n[both]\t b", "[both]er", "[both]ee", "caf\u00e9", "cafe\u0301", "un caf\u00e9.", "<|begin|>", " river", "the river.",
    "a" * 23, "a" * 24, "a" * 25, "a" * 26, "a" * 300, " " * 50 + "x", "ab" * 200, "\u00e9" * 40, "e\u0301", "e\u0301\u0327", "\u1e9b\u0323", "\ufb01",
    "\u212b \u2126", "\uac00\u1100\u1161\u11a8", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u4eca\u65e5\u306f",
    "\ufeffx", "x\ufeff", "\ufffd", "\ufffe", "\u200b", "a\u200bb", "\u200d", "\u00a0x", "x\u00a0 y", "\u3000x", "\u2003 x", "\u2028x\u2029y", "\u0085x",
    "\x1c\x1dx", "\x7f", "\x01\x02", "\u180e x", " \u180e", "\u0600 \u06dd", "\u00ad-\u00ad", "$5.00 \u20ac6,00 \u00a37", "x=y+z;", "/* c */", "#define A(b) \\\n  c",
    "http://a.b/c?d=e&f=g#h", "a@b.c", "...", "\u2026", "--", "\u2014", "\u00ab \u00bb", "\U0001d54f \U0001d7d8", "\U00010330", "\ue000", "\U0010ffff", "\u01c5 \u01c8",
    "\u0345", "\u0e01\u0e33", "\u0930\u094d", "\u05d0\u05b7", "x\u0300\u0301\u0302", "tab\tand  spaces\t\t.", "end with space ", "end with newline\n", "\n start", "_a_ __b__",
    "CamelCaseWord snake_case_word kebab-case-word", "MiXeD", "\u0130stanbul", "\u017fs '\u017f", "I\u2019m", "\u0661\u0662\u0663 \u06f1", "1\u0301", "\u2460\u2461",
]
POOLS = [range(0x20, 0x7F), range(0x20, 0x7F), range(0xA0, 0x250), [0x20, 0x0A, 0x09, 0x0D, 0xA0, 0x2003, 0x3000, 0x85], [0x31, 0xB2, 0xBD, 0x661, 0x2167, 0x20],
         range(0x300, 0x340), range(0x1F300, 0x1F400), range(0x4E00, 0x4E40), range(0xAC00, 0xAC40), range(0x400, 0x450), range(0x5D0, 0x5EA), range(0x900, 0x950)]


def nasty(n=500):
    rng, out = random.Random(7), list(FIXED)
    words = sum((t.split(" ") for t in TEXT[:7]), [])
    while len(out) < n:
        if len(out) % 3:
            out.append("".join(chr(rng.choice(rng.choice(POOLS))) for _ in range(rng.randint(1, 24))))
        else:
            out.append(rng.choice(["", " "]).join(rng.choice(words) for _ in range(rng.randint(1, 12))))
    return out


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", newline="\n") as f:
        f.write(text)


def rows(path, items):
    write(path, "".join(json.dumps(i) + "\n" for i in items))


# of tools/parity/tokenizer.py: those that hold every component at least once
SMALL = ["llama2", "mistral", "gemma", "fallback_holes", "metaspace_first", "metaspace_other", "digit_runs", "bytes_then_digits", "byte_normalizer", "roberta",
         "split_merged_with_previous", "split_merged_with_next_inverted", "split_contiguous", "split_removed_inverted", "split_empty", "split_lines", "split_string",
         "delimiter", "suffix", "prefix", "normal_nfkd", "normal_unmark", "normal_nmt", "normal_replace", "normal_bert_accents", "bert", "wordlevel", "unigram",
         "unigram_bytes", "unigram_level"]


def small_tokenizers():
    sys.path.insert(0, os.path.join(HERE, "..", "tools", "parity"))
    import tokenizer
    for t, name in [(make(), make.__name__) for make in (digits, spaced, llama3)] + [(t, name) for name, t in tokenizer.small(300) if name in SMALL]:
        out = []
        folder = os.path.join(HERE, "vectors", "tokenizer", name)
        text = json.dumps(json.loads(t.to_str()), indent=None if name in SMALL + ["spaced"] else 1)
        if name == "spaced":    # the older spelling of merges
            o = json.loads(text)
            o["model"]["merges"] = [" ".join(m) for m in o["model"]["merges"]]
            text = json.dumps(o, indent=1)
        # the trainers of Unigram, WordPiece and prefixes do not write the same twice: what is there is kept
        if not (name in SMALL and os.path.exists(os.path.join(folder, "tokenizer.json"))):
            write(os.path.join(folder, "tokenizer.json"), text + "\n")
        t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        # added tokens that the normalizer changes are decoded to their normal form there, to themselves here
        odd = {i for i, k in t.get_added_tokens_decoder().items() if t.id_to_token(i) != k.content}
        for s in nasty(180 if name in SMALL else 500):
            ids = t.encode(s, add_special_tokens=False).ids
            around = t.encode(s, add_special_tokens=True).ids
            row = {"text": s, "ids": ids}
            if around != ids:
                row["with_special"] = around
            t.encode_special_tokens = True
            plain = t.encode(s, add_special_tokens=False).ids
            t.encode_special_tokens = False
            if plain != ids:
                row["unparsed"] = plain
            back = t.decode(around, skip_special_tokens=False)
            if name in SMALL and "\ufffd" not in back and not odd.intersection(around):
                row["decoded"] = back
            out.append(row)
        rows(os.path.join(HERE, "cases", "tokenizer", name + ".jsonl"), out)
        print(name, t.get_vocab_size(), "tokens,", len(out), "strings")


def smollm2(path):
    import llama_cpp
    m = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    out = []
    for s in nasty():
        b = s.encode()
        row = {"text": s, "ids": m.tokenize(b, add_bos=False, special=True) if b else []}
        plain = m.tokenize(b, add_bos=False, special=False) if b else []
        if plain != row["ids"]:
            row["unparsed"] = plain
        out.append(row)
    rows(os.path.join(HERE, "cases", "tokenizer", "smollm2.jsonl"), out)
    print("smollm2", len(out), "strings")


BROKEN = [b"\xff", b"a\x80b", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82x", b"\xe2\x28\xa1", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80\xf0\x9f", b"\xed\xa0\x80",
          b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf4\x90\x80\x80", b"\xf5\x80", b"ok \xfe\xfe ok", b"\xe2\x82\xac\xe2\x82", b"<|im_\xffend|>", b"a\x00b"]


def broken():
    """Bytes that are not UTF-8, replaced as Python does on the way into transformers."""
    t = Tokenizer.from_file(os.path.join(HERE, "vectors", "tokenizer", "digits", "tokenizer.json"))
    rows(os.path.join(HERE, "cases", "tokenizer", "broken.jsonl"),
         [{"hex": b.hex(), "ids": t.encode(b.decode(errors="replace"), add_special_tokens=False).ids} for b in BROKEN])


def sentencepiece_models():
    """Small SentencePiece models of both types, and the BPE one as a GGUF vocabulary of type llama."""
    try:
        import gguf
        import sentencepiece
    except ImportError:
        return print("sentencepiece or gguf is not installed: their vectors stay as they are")
    rules = os.path.join(HERE, "vectors", "tokenizer", "rules.tsv")
    write(rules, "FB01\t66 69\nFF21\t41\nE9\t65 301\n3000\t20\n2026\t2E 2E 2E\nAD\t\n")
    for name, kind, more in (("spm_bpe", "bpe", dict(normalization_rule_name="identity", remove_extra_whitespaces=False, byte_fallback=True, vocab_size=700)),
                             ("spm_unigram", "unigram", dict(normalization_rule_tsv=rules, vocab_size=260))):
        folder = os.path.join(HERE, "vectors", "tokenizer", name)
        os.makedirs(folder, exist_ok=True)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT * 3), model_prefix=os.path.join(folder, "m"), model_type=kind, character_coverage=0.99,
                                                 hard_vocab_limit=False, num_threads=1, minloglevel=2, **more)
        os.replace(os.path.join(folder, "m.model"), os.path.join(folder, "tokenizer.model"))
        os.remove(os.path.join(folder, "m.vocab"))
        p = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))
        out = []
        for s in nasty(250):
            if not any(x in s for x in ("<s>", "</s>", "<unk>")):
                row = {"text": s, "ids": p.encode(s)}
                if kind == "bpe":
                    row["with_special"] = [p.bos_id()] + row["ids"]
                out.append(row)
        rows(os.path.join(HERE, "cases", "tokenizer", name + ".jsonl"), out)
        print(name, len(p), "tokens,", len(out), "strings")
        if kind == "bpe":
            w = gguf.GGUFWriter(os.path.join(HERE, "vectors", "tokenizer", "spm_bpe.gguf"), "llama")
            w.add_tokenizer_model("llama")
            w.add_token_list([p.id_to_piece(i).encode() for i in range(len(p))])
            w.add_token_scores([p.get_score(i) for i in range(len(p))])
            w.add_token_types([2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 1 for i in range(len(p))])
            w.write_header_to_file()
            w.write_kv_data_to_file()
            w.close()
    os.remove(rules)


SYSTEM = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nSYS<|im_end|>\n' }}{% endif %}"
          "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
PLAIN = SYSTEM[:SYSTEM.index("{% if loop")] + SYSTEM[SYSTEM.index("{% endif %}") + 11:]
TEMPLATES = {
    "smollm2": SYSTEM.replace("SYS", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    "qwen2": SYSTEM.replace("SYS", "You are a helpful assistant.").replace("\n", "\\n"),
    "plain": PLAIN,
    "plain_spaced": PLAIN.replace("{{'<|im", "{{ '<|im").replace("'\n'}}", "'\n' }}"),
    "plain_escaped": PLAIN.replace("\n", "\\n") + "\n",
    "defined": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}" + PLAIN,
}
CHATS = [[], [("user", "hi")], [("system", "Be brief."), ("user", "hi"), ("assistant", "hello"), ("user", " two\n\nlines ")],
         [("user", "a"), ("system", "late")], [("user", "<|im_end|> {{ x }}")], [("assistant", "")]]


def chats():
    import jinja2
    out = []
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    for name, template in TEMPLATES.items():
        for chat in CHATS:
            messages = [{"role": r, "content": c} for r, c in chat]
            for more in (False, True):
                text = env.from_string(template).render(messages=messages, add_generation_prompt=more)
                out.append({"name": name, "template": template, "messages": messages, "add_generation_prompt": more, "text": text})
    rows(os.path.join(HERE, "cases", "chat", "chatml.jsonl"), out)
    print("chat", len(out), "cases")


if __name__ == "__main__":
    small_tokenizers()
    sentencepiece_models()
    broken()
    chats()
    if len(sys.argv) > 1:
        smollm2(sys.argv[1])
