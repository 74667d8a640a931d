#!/usr/bin/env python3
"""GLiNER by its own package on PyTorch, as its users call it, on the processor: a worker after docs/PROTOCOL.md."""
from time import perf_counter as clock

from protocol import one_of, serve, whole

KNOBS = {
    "dtype": ("fp32", one_of("fp32")),
    "batch_size": (8, whole),  # the package's own
    "order": ("arrival", one_of("arrival", "length")),  # the package takes texts as they come
}


def load(r):
    import gliner, torch, transformers

    model = gliner.GLiNER.from_pretrained(r["model"], local_files_only=True, strict=True)
    if {parameter.dtype for parameter in model.model.parameters()} != {torch.float32}:
        raise TypeError("the weights aren't of fp32")
    labels, threshold = r["prompt"]["labels"], r["prompt"]["threshold"]
    fed = [0, 0]

    def count(module, arguments, named):
        mask = named["attention_mask"]
        fed[0], fed[1] = fed[0] + int(mask.sum()), fed[1] + mask.numel()

    model.model.register_forward_pre_hook(count, with_kwargs=True)

    def in_bytes(text, entity):
        start, end = (len(text[:entity[side]].encode()) for side in ("start", "end"))
        return {"start": start, "end": end, "label": entity["label"]}

    @torch.inference_mode()
    def find(texts, knobs):
        fed[:] = 0, 0
        order = list(range(len(texts)))
        if knobs["order"] == "length":
            order.sort(key=lambda index: -len(texts[index]))
        spans, batch_seconds = [None] * len(texts), []
        for first in range(0, len(texts), knobs["batch_size"]):
            start, members = clock(), order[first:first + knobs["batch_size"]]
            batch = [texts[index] for index in members]
            # A call for each batch shows its time. All texts in one call take as long.
            found = model.inference(batch, labels, threshold=threshold, batch_size=len(batch))
            for index, entities in zip(members, found):
                spans[index] = [in_bytes(texts[index], entity) for entity in entities]
            batch_seconds.append(clock() - start)
        return spans, {"tokens": fed[0], "padded_tokens": fed[1], "batch_seconds": batch_seconds}

    version = f"gliner {gliner.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    return f"{version}, {torch.get_num_threads()} threads", find


serve(load, KNOBS, task="entities")
