#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/tokenizer/cases.json: small byte-level BPE tokenizers and the ids that the library `tokenizers` gives.

Needs the Python package `tokenizers`. Each tokenizer is one variant of the demo model's, with its vocabulary cut down;
the variants differ in normalizer, pre-tokenizer, added tokens and options. All variants share the vocabulary and merges.
"""

import argparse
import json
import pathlib

import tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
MERGES = 400
QWEN_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA_PATTERN = QWEN_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|")
PLAIN_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2_BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}

TEXTS = [
    "", " ", "  ", "Hello, world!", "the cat sat on the mat", " leading and trailing ", "tabs\tand\r\nline\n\n\nbreaks \n x",
    "DON'T don't we'LL they'Re I'M it'\u017f", "1234567890 12,345.67", "\u0661\u0662\u0663 \u2167 \u00bd \u00b2",
    "e\u0301 \u00e9 a\u0323\u0302 a\u0302\u0323 \u212b \u1e9b\u0323", "\ufb01ne \u2460 \uff21\uff22 \u33a5",
    "\u6f22\u5b57\u304b\u306a\uff76\uff85 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\U0001F600 \U0001F469\u200d\U0001F469\u200d\U0001F467 \U0001F1E9\U0001F1EA \U0001F44D\U0001F3FD",
    "nul\x00inside\x00", "\x1c\x1f\x7f\x85\xa0\u1680\u180e\u2003\u2028\u3000\u200b", "\ufffd\ufeffbom",
    "<|end|>", "a<|end|>b", "<|end|><|end|>", " <|end|> ", "<|en", "<|end|", "x <|left|> y", "x  <|right|>  y", "x <|both|> y",
    "word wordy sword word.word word\u0301 _word word9 word\u24d0", "<|both|>  <|left|>", "a \uff37ide b Wide", "longlonger long longest",
    "-x--y---z-", "--", "a-b - c", "....", "!?!?", "https://example.com/a?b=c&d=e#f", "int main(void) {\n\treturn 0;\n}\n",
    "\u05d0\u05b7\u05d1 \u0915\u094d\u0937 \u0e01\u0e33 \u0f71\u0f72", "zz\u0345\u0301\u0323zz", " the the  the   the",
]


def added(token_id, content, **flags):
    out = {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    out.update(flags)
    return out


def split(pattern, behavior, invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def variants(first_id):
    end = added(first_id, "<|end|>", special=True)
    flags = [end, added(first_id + 1, "<|left|>", lstrip=True), added(first_id + 2, "<|right|>", rstrip=True),
             added(first_id + 3, "<|both|>", lstrip=True, rstrip=True, special=True), added(first_id + 4, "word", single_word=True),
             added(first_id + 5, "\uff37ide", normalized=True), added(first_id + 6, "long"), added(first_id + 7, "longer"),
             added(first_id + 8, " x", normalized=True)]
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [first_id], "tokens": ["<|end|>"]}}}
    qwen = sequence(split(QWEN_PATTERN, "Isolated"), PLAIN_BYTES)
    yield "qwen", {"normalizer": {"type": "NFC"}, "pre_tokenizer": qwen, "post_processor": PLAIN_BYTES, "added_tokens": [end]}, {}
    yield "llama3", {"pre_tokenizer": sequence(split(LLAMA_PATTERN, "Isolated"), PLAIN_BYTES), "added_tokens": [end],
                     "post_processor": {"type": "Sequence", "processors": [PLAIN_BYTES, template]}}, {"ignore_merges": True}
    yield "gpt2", {"pre_tokenizer": GPT2_BYTES, "post_processor": template, "added_tokens": [end]}, {}
    yield "flags", {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}]}, "pre_tokenizer": qwen, "added_tokens": flags}, {}
    yield "nfd", {"normalizer": {"type": "NFD"}, "pre_tokenizer": qwen, "added_tokens": [end]}, {}
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield f"split_{behavior}", {"pre_tokenizer": sequence(split("-", behavior, kind="String"), PLAIN_BYTES), "added_tokens": [end]}, {}
        yield f"split_{behavior}_inverted", {"pre_tokenizer": sequence(split(r"\w+|\d*", behavior, invert=True), PLAIN_BYTES), "added_tokens": [end]}, {}
    yield "lines", {"pre_tokenizer": sequence(split(r"(?m:^.+$)|\S+\Z", "Isolated"), PLAIN_BYTES), "added_tokens": [end]}, {}
    yield "no_bytes", {"added_tokens": [end]}, {"unk_token": "?", "fuse_unk": True}
    yield "no_bytes_unfused", {"added_tokens": [end]}, {"unk_token": "?"}
    yield "no_unk", {"added_tokens": [end]}, {}


def tokenizer_json(components, options, vocab, merges):
    out = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None,
           "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}
    out.update(components)
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    model.update(options)
    out["model"] = dict(model, vocab=vocab, merges=merges)
    return out


def case(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return {"text": text, "ids": ids, "decoded": tokenizer.decode(ids), "decoded_with_special": tokenizer.decode(ids, skip_special_tokens=False)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "tests/data/tokenizer/cases.json")
    parser.add_argument("--tokenizers", type=pathlib.Path, help="also write each variant as FOLDER/NAME/tokenizer.json")
    args = parser.parse_args()

    demo = ROOT / "models/demo/tokenizer.json"
    model = json.loads(demo.read_text(encoding="utf-8"))["model"]
    merges = model["merges"][:MERGES]
    tokens = [t for t in model["vocab"] if len(t) == 1] + [a + b for a, b in merges]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}

    suites = []
    for name, components, options in variants(len(vocab)):
        text = json.dumps(tokenizer_json(components, options, vocab, merges))
        reference = tokenizers.Tokenizer.from_str(text)
        suites.append({"name": name, "tokenizer": tokenizer_json(components, options, {}, []), "cases": [case(reference, t) for t in TEXTS]})
        if args.tokenizers:
            (args.tokenizers / name).mkdir(parents=True, exist_ok=True)
            (args.tokenizers / name / "tokenizer.json").write_text(text, encoding="utf-8")
    whole = tokenizers.Tokenizer.from_file(str(demo))
    out = {"made_by": f"scripts/make_tokenizer_cases.py with tokenizers {tokenizers.__version__}", "vocab": vocab, "merges": merges,
           "suites": suites, "demo_model_cases": [case(whole, t) for t in TEXTS]}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(out, indent=None, separators=(",", ":")).replace('{"name"', '\n{"name"').replace('{"text"', '\n{"text"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
