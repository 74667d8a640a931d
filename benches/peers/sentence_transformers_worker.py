#!/usr/bin/env python3
"""sentence-transformers on PyTorch, fp32, as its users call it: a worker after docs/PROTOCOL.md."""
from protocol import limit, serve, whole

KNOBS = {"batch_size": (32, whole), "max_tokens": ("none", limit)}


def load(r):
    import sentence_transformers, torch, transformers

    model = sentence_transformers.SentenceTransformer(r["model"], device="cpu", local_files_only=True)
    if {parameter.dtype for parameter in model.parameters()} != {torch.float32}:
        raise TypeError("the weights aren't of float32")  # transformers takes them as the file has them
    positions = model[0].auto_model.config.max_position_embeddings
    fed = [0, 0]

    def count(module, arguments):
        mask = arguments[0]["attention_mask"]
        fed[0], fed[1] = fed[0] + int(mask.sum()), fed[1] + mask.numel()

    model[0].register_forward_pre_hook(count)  # some microseconds a batch

    def embed(texts, knobs):
        # The model's own limit (256 for MiniLM) is a choice; the most that the network can read is a fact.
        model.max_seq_length = positions if knobs["max_tokens"] == "none" else min(knobs["max_tokens"], positions)
        fed[:] = 0, 0
        # All texts in one call: it sorts them by length, and so pads as little as it can.
        vectors = model.encode(texts, batch_size=knobs["batch_size"])
        return vectors, {"tokens": fed[0], "padded_tokens": fed[1]}

    version = f"sentence-transformers {sentence_transformers.__version__}, transformers {transformers.__version__}"
    return f"{version}, torch {torch.__version__}, {torch.get_num_threads()} threads", embed


serve(load, KNOBS)
