"""Turns SmolLM2-135M-Instruct from a GGUF file into the folder that vLLM reads.

    smollm2_model.py FILE.gguf FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
# GGUF's type of a token that is a control token.
CONTROL = 3


def rotary_halves(matrix, heads):
    """GGUF interleaves the two halves of a head that rotary embedding turns; vLLM wants one after the other."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def weights(tensors, heads, kv_heads):
    made = {}
    for tensor in tensors:
        values = dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape.tolist()[::-1])
        part, *rest = tensor.name.split(".")
        if part == "blk":
            number, part = rest[0], rest[1]
            if part == "attn_q":
                values = rotary_halves(values, heads)
            elif part == "attn_k":
                values = rotary_halves(values, kv_heads)
            name = f"model.layers.{number}.{LAYER[part]}.weight"
        else:
            name = f"{WHOLE[part]}.weight"
        made[name] = torch.from_numpy(np.array(values, dtype=np.float32, order="C")).to(torch.bfloat16)
    return made


def tokenizer(tokens, types, merges):
    pairs = [tuple(merge.split(" ")) for merge in merges]
    made = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=pairs))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types) if kind == CONTROL]
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return made


def main(source, folder):
    reader = GGUFReader(source)
    facts = {name: field.contents() for name, field in reader.fields.items()}

    def shape(name):
        return facts[f"llama.{name}"]

    def write(name, content):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")

    folder.mkdir(parents=True)
    heads, kv_heads, context = shape("attention.head_count"), shape("attention.head_count_kv"), shape("context_length")
    tensors = weights(reader.tensors, heads, kv_heads)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    tokens = facts["tokenizer.ggml.tokens"]
    made = tokenizer(tokens, facts["tokenizer.ggml.token_type"], facts["tokenizer.ggml.merges"])
    made.save(str(folder / "tokenizer.json"))
    bos, eos, pad = (facts[f"tokenizer.ggml.{kind}_token_id"] for kind in ("bos", "eos", "padding"))
    write("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context, "bos_token": tokens[bos],
        "eos_token": tokens[eos], "pad_token": tokens[pad], "unk_token": tokens[0],
        "chat_template": facts["tokenizer.chat_template"], "clean_up_tokenization_spaces": False,
    })
    write("generation_config.json", {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad})
    write("config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "hidden_size": shape("embedding_length"), "intermediate_size": shape("feed_forward_length"),
        "num_hidden_layers": shape("block_count"), "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": context, "rms_norm_eps": shape("attention.layer_norm_rms_epsilon"),
        "rope_theta": shape("rope.freq_base"), "vocab_size": len(tokens), "bos_token_id": bos, "eos_token_id": eos,
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": "lm_head.weight" not in tensors,
    })


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
