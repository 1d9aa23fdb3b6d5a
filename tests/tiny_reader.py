"""A tiny, real text classifier whose weights are set so that it takes offence at one word.

Its only layer looks at all words alike, and so sees whether the word is among them.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

FORBIDDEN = "offence"
TOXIC, FINE = "toxic", "fine"
LONGEST = 16
"""Words that it reads at once."""


@torch.no_grad()
def reader(folder: Path) -> Path:
    """Save one in a folder, and return it."""
    words = {"<pad>": 0, "<unknown>": 1, FORBIDDEN: 2}
    tokens = Tokenizer(WordLevel(words, unk_token="<unknown>"))
    tokens.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        unk_token="<unknown>",
        pad_token="<pad>",
        model_max_length=LONGEST,
    ).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=LONGEST,
        pad_token_id=0,
        id2label={0: FINE, 1: TOXIC},
        label2id={FINE: 0, TOXIC: 1},
    )
    model = LlamaForSequenceClassification(config).eval()
    (layer,) = model.model.layers
    for weights in (*layer.self_attn.parameters(), *layer.mlp.parameters()):
        weights.zero_()
    model.model.embed_tokens.weight.copy_(torch.eye(3, 4))
    for projection in (layer.self_attn.v_proj, layer.self_attn.o_proj):
        projection.weight.copy_(torch.eye(4))
    model.score.weight.copy_(torch.tensor([[0, 5, 0, 0], [0, 0, 100, 0]]))
    model.save_pretrained(folder)
    return folder
