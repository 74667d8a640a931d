#!/usr/bin/env python3
"""sentence-transformers on PyTorch, as its users call it, on the processor or a GPU: a worker after docs/PROTOCOL.md."""
from protocol import Failure, limit, one_of, serve, whole

KNOBS = {"dtype": ("fp32", one_of("fp32", "fp16", "bf16")), "batch_size": (32, whole), "max_tokens": ("none", limit)}


def load(r):
    import sentence_transformers, torch, transformers

    on_gpu = r["device"] != "cpu"
    if on_gpu and not torch.cuda.is_available():
        raise Failure("not-available", "this PyTorch sees no GPU")
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[r["knobs"]["dtype"]]
    model = sentence_transformers.SentenceTransformer(r["model"], device=r["device"], local_files_only=True)
    model = model.to(dtype)  # transformers takes the weights as the file has them
    if {parameter.dtype for parameter in model.parameters()} != {dtype}:
        raise TypeError(f"the weights aren't of {dtype}")
    positions = model[0].auto_model.config.max_position_embeddings
    fed = [0, 0]

    def count(module, arguments):
        mask = arguments[0]["attention_mask"]
        fed[0], fed[1] = fed[0] + mask.sum(), fed[1] + mask.numel()  # a tensor: to read it here would wait for the GPU

    model[0].register_forward_pre_hook(count)  # some microseconds a batch

    def embed(texts, knobs):
        # The model's own limit (256 for MiniLM) is a choice; the most that the network can read is a fact.
        model.max_seq_length = positions if knobs["max_tokens"] == "none" else min(knobs["max_tokens"], positions)
        fed[:] = 0, 0
        # All texts in one call: it sorts them by length, and so pads as little as it can.
        vectors = model.encode(texts, batch_size=knobs["batch_size"])
        return vectors, {"tokens": int(fed[0]), "padded_tokens": fed[1]}

    version = f"sentence-transformers {sentence_transformers.__version__}, transformers {transformers.__version__}"
    version = f"{version}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    if not on_gpu:
        return version, embed
    return version, embed, torch.cuda.reset_peak_memory_stats, torch.cuda.max_memory_reserved


serve(load, KNOBS, devices=("cpu", "cuda"))
