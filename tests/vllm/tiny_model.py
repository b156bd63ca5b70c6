"""Writes a model that means nothing and starts at once: Qwen2 with half a million random weights.

    tiny_model.py FOLDER

The same files on every machine: all that is random has a fixed seed. A token of its KV cache is 512 bytes, so a block of
128 tokens is 64 KiB; it takes up to 8192 tokens.
"""

import json
import random
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY, HIDDEN, INNER, LAYERS, CONTEXT = 2048, 128, 256, 2, 8192
HEADS, KV_HEADS = 4, 2
HEAD = HIDDEN // HEADS
END_OF_TEXT, TURN, END_OF_TURN = SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer():
    """Byte-level BPE, taught on made-up words until the vocabulary is full."""
    dice = random.Random(20)
    sounds = [first + rest for first in "bcdfghklmnprstvwz" for rest in ("a", "e", "i", "o", "u", "an", "en", "ing", "or", "ul")]
    words = ["".join(dice.choices(sounds, k=dice.randint(1, 3))) for _ in range(4000)]
    lines = [" ".join(dice.choices(words, k=150)) + "." for _ in range(250)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    if made.get_vocab_size() != VOCABULARY:
        sys.exit(f"the tokenizer has {made.get_vocab_size()} tokens, not {VOCABULARY}: teach it on more words")
    return made


def weights():
    source = torch.Generator().manual_seed(20)

    def dice(*shape):
        return (torch.randn(*shape, generator=source) * 0.02).to(torch.bfloat16)

    def ones():
        return torch.ones(HIDDEN, dtype=torch.bfloat16)

    tensors = {"model.embed_tokens.weight": dice(VOCABULARY, HIDDEN), "model.norm.weight": ones()}
    for number in range(LAYERS):
        layer = {"input_layernorm.weight": ones(), "post_attention_layernorm.weight": ones()}
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            layer[f"self_attn.{name}_proj.weight"] = dice(heads * HEAD, HIDDEN)
            layer[f"self_attn.{name}_proj.bias"] = dice(heads * HEAD)
        layer["self_attn.o_proj.weight"] = dice(HIDDEN, HEADS * HEAD)
        layer["mlp.gate_proj.weight"] = dice(INNER, HIDDEN)
        layer["mlp.up_proj.weight"] = dice(INNER, HIDDEN)
        layer["mlp.down_proj.weight"] = dice(HIDDEN, INNER)
        tensors.update({f"model.layers.{number}.{name}": tensor for name, tensor in layer.items()})
    return tensors


def main(folder):
    folder.mkdir(parents=True)

    def write(name, content):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")

    made = tokenizer()
    made.save(str(folder / "tokenizer.json"))
    end_of_text, end_of_turn = made.token_to_id(END_OF_TEXT), made.token_to_id(END_OF_TURN)
    write("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "chat_template": CHAT,
        "bos_token": None, "eos_token": END_OF_TURN, "pad_token": END_OF_TEXT, "add_bos_token": False,
        "additional_special_tokens": [TURN, END_OF_TURN], "clean_up_tokenization_spaces": False,
    })
    write("generation_config.json", {"eos_token_id": [end_of_turn, end_of_text], "pad_token_id": end_of_text, "do_sample": False})
    write("config.json", {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "torch_dtype": "bfloat16", "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": CONTEXT, "hidden_act": "silu", "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "initializer_range": 0.02, "attention_dropout": 0.0, "use_cache": True,
        "use_sliding_window": False, "tie_word_embeddings": True, "bos_token_id": end_of_text, "eos_token_id": end_of_turn,
    })
    save_file(weights(), str(folder / "model.safetensors"), metadata={"format": "pt"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
