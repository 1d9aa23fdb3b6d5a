"""A tiny, real causal language model whose weights are set so that it says one sentence.

What it says next follows from the last word alone: every word of the sentence leads to the next.
"""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT = (
    "{% for it in messages %}<turn> {{ it.role }} {{ it.content }} {% endfor %}"
    "{% if add_generation_prompt %}<go>{% endif %}"
)
SENTENCE = "A large red circle in the middle of blue paper."


def writer(
    folder: Path, says: str = SENTENCE, *, endless: bool = False, chat: str | None = CHAT
) -> Path:
    """Save one in a folder, and return it; `says` repeats no word. `endless`: again and again."""
    words = ["<end>", "<unknown>", "<turn>", "<go>", "Assistant:", *says.split()]
    ids = {word: index for index, word in enumerate(words)}
    model = Tokenizer(WordLevel(ids, unk_token="<unknown>"))
    model.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model, unk_token="<unknown>", eos_token="<end>"
    )
    if chat:
        tokenizer.chat_template = chat
    tokenizer.save_pretrained(folder)
    path = says.split()
    leads = dict(zip(path, [*path[1:], path[0] if endless else "<end>"], strict=True))
    leads |= {"<go>": path[0], "Assistant:": path[0]}
    _model(len(words), {ids[one]: ids[next] for one, next in leads.items()}).save_pretrained(folder)
    return folder


@torch.no_grad()
def _model(size: int, leads: dict[int, int]) -> LlamaForCausalLM:
    """Of many layers that change nothing: so that it takes a while to say much."""
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size + size % 2,
        intermediate_size=8,
        num_hidden_layers=24,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=1 << 20,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    model.model.embed_tokens.weight.copy_(torch.eye(size, config.hidden_size))
    model.lm_head.weight.zero_()
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    for one, next in leads.items():
        model.lm_head.weight[next, one] = 1.0
    return model
