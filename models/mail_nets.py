"""Networks for the e-mails of `spam.py`, as models `NAME.onnx` in the folder OUT.

    python models/mail_nets.py OUT

`mail_gru` has two layers of GRUs in both directions; `mail_transformer` two transformer encoder layers. Both take the mean
over all places, padding included, as the networks of the Opacus paper do.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from nets import Tokens
from recipes import export

WORDS, PLACES = 10_000, 256


def mail_gru(width=16, hidden=16):
    return Tokens(
        lambda s, tokens: s.fc(s.gru(s.emb(tokens))[0].mean(1)),
        emb=nn.Embedding(WORDS, width),
        gru=nn.GRU(width, hidden, num_layers=2, batch_first=True, bidirectional=True),
        fc=nn.Linear(2 * hidden, 2),
    )


def mail_transformer(width=16, heads=2, layers=2):
    def forward(s, tokens):
        return s.fc(s.encoder(s.emb(tokens) + s.position).mean(1))

    layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
    return Tokens(
        forward,
        emb=nn.Embedding(WORDS, width),
        position=0.02 * torch.randn(1, PLACES, width),
        encoder=nn.TransformerEncoder(layer, layers, enable_nested_tensor=False),
        fc=nn.Linear(width, 2),
    )


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for seed, build in enumerate((mail_gru, mail_transformer)):
        torch.manual_seed(seed)
        export("ts", build(), {"tokens": torch.zeros(2, PLACES, dtype=torch.int64)}, out / f"{build.__name__}.onnx")


if __name__ == "__main__":
    main()
