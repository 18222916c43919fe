"""Writes small tokenizers of the kinds that models have, texts in several scripts, and their tokens.

    pip install tokenizers numpy pandas pyarrow
    python make.py

`expected.npz` has ids, masks and types of `texts.csv` by Python's `tokenizers`, with padding and truncation to 12 and 40.
"""

import numpy as np
import pandas as pd
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Don't panic: it's 3.14159, or 22/7 -- isn't it?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "敏捷的棕色狐狸跳过了懒狗。今天天气很好。",
    "すばやい茶色の狐がのろまな犬を飛び越える",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "Η γρήγορη καφέ αλεπού πηδάει πάνω από το τεμπέλικο σκυλί",
    "तेज भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है",
    "Zażółć gęślą jaźń \U0001f98a\U0001f469\u200d\U0001f680 naïve café, Straße, ﬁne",
    "one",
    "tabs\tand   spaces, \"quotes\" and a very_long_identifier_that_goes_on(and, on) = 1e-5;",
    "The quick brown fox, the lazy dog, the quick dog and the lazy fox: over and over and over again they jump.",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
wordpiece.normalizer = normalizers.BertNormalizer(lowercase=True)
wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
# The last texts are not learned from, so that some characters are unknown.
wordpiece.train_from_iterator(TEXTS[:8], trainers.WordPieceTrainer(vocab_size=220, special_tokens=SPECIAL, show_progress=False))
wordpiece.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    special_tokens=[(name, wordpiece.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
)
wordpiece.decoder = decoders.WordPiece()

bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = pre_tokenizers.ByteLevel.alphabet()
bpe.train_from_iterator(
    TEXTS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False)
)
bpe.decoder = decoders.ByteLevel()
# As for a decoder that generates: what is cut and what is filled up is the beginning.
bpe.enable_padding(direction="left", pad_id=0, pad_token="<|end|>", pad_type_id=3)
bpe.enable_truncation(max_length=5, direction="left")

unigram = Tokenizer(models.Unigram())
unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("``", '"')])
unigram.pre_tokenizer = pre_tokenizers.Metaspace()
unigram.train_from_iterator(
    TEXTS, trainers.UnigramTrainer(vocab_size=240, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
)
unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])

expected = {}
for name, tokenizer, padding in [
    ("wordpiece", wordpiece, {"pad_id": 0, "pad_token": "[PAD]"}),
    ("bpe", bpe, {"direction": "left", "pad_id": 0, "pad_token": "<|end|>", "pad_type_id": 3}),
    ("unigram", unigram, {"pad_id": 0, "pad_token": "<pad>"}),
]:
    tokenizer.save(f"{name}.json", pretty=False)
    for length in (12, 40):
        tokenizer.enable_padding(length=length, **padding)
        tokenizer.enable_truncation(max_length=length, direction="left" if name == "bpe" else "right")
        encoded = tokenizer.encode_batch(TEXTS)
        expected[f"{name}_ids_{length}"] = np.array([e.ids for e in encoded])
        expected[f"{name}_mask_{length}"] = np.array([e.attention_mask for e in encoded])
        expected[f"{name}_types_{length}"] = np.array([e.type_ids for e in encoded])
np.savez_compressed("expected.npz", **expected)

frame = pd.DataFrame({"text": TEXTS, "label": [i % 2 for i in range(len(TEXTS))]})
frame.to_csv("texts.csv", index=False)
frame.to_parquet("texts.parquet", index=False)
