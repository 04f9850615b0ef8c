"""Writes tests/vectors/llama/: tiny random Llama models and what PyTorch and transformers make of them.

    python tools/vectors_llama.py

untied, tied    LlamaForCausalLM: logits of two sequences, the mean loss of their next tokens, its gradient for every
                tensor, and every tensor after three AdamW steps on it, the gradient clipped to half its norm
reward          LlamaForSequenceClassification with one label: scores, and gradients of a weighted sum of them

Each folder holds a model as transformers saves it, case.json (what was done) and expect.safetensors.
Needs torch, transformers, tokenizers, safetensors; fp32 throughout.  The same versions write the same bytes."""
import json
import os

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "vectors", "llama")
VOCAB = 288
ADAMW = {"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "eps": 1e-5, "weight_decay": 0.1, "steps": 3}
TEXT = ["the miller and the twins went down to the river in the rain, and there they met the old men of the village"]


def tokenizer(folder):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<|endoftext|>"], show_progress=False,
                                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.save(os.path.join(folder, "tokenizer.json"))


def liven(model):
    """Norms near 1, matrices large enough that every nonlinearity bends."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(1 + 0.2 * torch.randn_like(p) if p.dim() == 1 else 0.25 * torch.randn_like(p))


def start(name, kind, seed, **shape):
    torch.manual_seed(seed)
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    config = LlamaConfig(vocab_size=VOCAB, max_position_embeddings=256, bos_token_id=0, eos_token_id=0, pad_token_id=0,
                         rms_norm_eps=1e-5, attn_implementation="eager", **shape)
    model = kind(config).float()
    liven(model)
    model.save_pretrained(folder)
    tokenizer(folder)
    sequences = [torch.randint(1, VOCAB, (n,)).tolist() for n in (11, 67)]      # one longer than a block of keys
    return folder, model, sequences


def finish(folder, case, tensors):
    case |= {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    with open(os.path.join(folder, "case.json"), "w") as f:
        json.dump(case, f, indent=1)
        f.write("\n")
    save_file({k: v.detach().float().contiguous().clone() for k, v in tensors.items()},
              os.path.join(folder, "expect.safetensors"))


def gradients(model, prefix="grad."):
    return {prefix + n: p.grad.clone() for n, p in model.named_parameters()}


def mean_loss(model, sequences):
    total, count = 0, 0
    for ids in sequences:
        logits = model(torch.tensor([ids])).logits[0]
        total = total + torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum")
        count += len(ids) - 1
    return total / count


def causal(name, seed, **shape):
    folder, model, sequences = start(name, LlamaForCausalLM, seed, **shape)
    tensors = {f"logits.{i}": model(torch.tensor([ids])).logits[0].detach() for i, ids in enumerate(sequences)}
    loss = mean_loss(model, sequences)
    loss.backward()
    tensors |= gradients(model)
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in model.parameters()])))
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": ADAMW["weight_decay"]},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=ADAMW["lr"], betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["eps"])
    losses = []
    for _ in range(ADAMW["steps"]):
        optimizer.zero_grad()
        step_loss = mean_loss(model, sequences)
        step_loss.backward()
        losses.append(step_loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), norm / 2)
        optimizer.step()
    tensors |= {"adamw." + n: p for n, p in model.named_parameters()}
    finish(folder, {"sequences": sequences, "loss": loss.item(), "grad_norm": norm, "max_grad_norm": norm / 2,
                    "adamw": ADAMW, "losses": losses}, tensors)


def reward(name, seed, **shape):
    folder, model, sequences = start(name, LlamaForSequenceClassification, seed, num_labels=1, **shape)
    weights = [0.7, -1.3]
    scores = [model(torch.tensor([ids])).logits[0, 0] for ids in sequences]
    sum(w * s for w, s in zip(weights, scores)).backward()
    finish(folder, {"sequences": sequences, "scores": [s.item() for s in scores], "weights": weights}, gradients(model))


if __name__ == "__main__":
    torch.set_num_threads(1)
    causal("untied", 1, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
           num_key_value_heads=1, tie_word_embeddings=False, rope_theta=10000.0)
    causal("tied", 2, hidden_size=64, intermediate_size=72, num_hidden_layers=1, num_attention_heads=2,
           num_key_value_heads=2, tie_word_embeddings=True, rope_theta=100000.0)
    reward("reward", 3, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3,
           num_key_value_heads=1, rope_theta=10000.0)
