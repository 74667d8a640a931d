#!/usr/bin/env python3
"""onnxruntime from Python, on a graph fused for it: a worker after docs/PROTOCOL.md."""
from export import onnx_file
from protocol import batches, limit, one_of, serve, whole

KNOBS = {"dtype": ("fp32", one_of("fp32", "int8")), "batch_size": (32, whole), "max_tokens": ("none", limit),
         "order": ("arrival", one_of("arrival", "length"))}
text = lambda value: isinstance(value, str)
SETTINGS = {"onnx": ("", text), "cache": ("cache", text)}


def prepare(r):
    r["file"] = onnx_file({"fp32": "fused", "int8": "int8"}[r["knobs"]["dtype"]], r)


def load(r):
    import numpy as np
    import onnxruntime

    # Its defaults: all optimisations of the graph, a thread for each core.
    session = onnxruntime.InferenceSession(r["file"], providers=["CPUExecutionProvider"])

    def start(ids, mask):
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return lambda hidden=session.run(None, inputs)[0]: hidden

    return f"onnxruntime {onnxruntime.__version__}, {r['file'].name}", batches(r["model"], start)


serve(load, KNOBS, SETTINGS, prepare)
