#!/usr/bin/env python3
"""OpenVINO from Python, with shapes as they come: a worker after docs/PROTOCOL.md."""
import itertools

from export import onnx_file
from protocol import Failure, batches, limit, one_of, serve, whole

KNOBS = {"dtype": ("fp32", one_of("fp32", "bf16")), "hint": ("latency", one_of("latency", "throughput")),
         "batch_size": (32, whole), "max_tokens": ("none", limit), "order": ("arrival", one_of("arrival", "length"))}
text = lambda value: isinstance(value, str)
SETTINGS = {"onnx": ("", text), "cache": ("cache", text)}


def prepare(r):
    r["file"] = onnx_file("plain", r)


def load(r):
    import numpy as np
    import openvino

    wanted, hint = {"fp32": "f32", "bf16": "bf16"}[r["knobs"]["dtype"]], r["knobs"]["hint"].upper()
    # Told nothing of the precision, it would take bf16 where the processor has it.
    hints = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": wanted}
    compiled = openvino.Core().compile_model(r["file"], "CPU", hints)
    got = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if got != wanted:
        raise Failure("refused", f"OpenVINO computes in {got} on this processor, not in {wanted}")
    at_once = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    # One more than run at once, so that none of them waits for the tokenizer.
    slots = 1 if at_once == 1 else at_once + 1
    requests = itertools.cycle([compiled.create_infer_request() for _ in range(slots)])

    def start(ids, mask):
        request = next(requests)
        request.start_async({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})

        def wait():
            request.wait()
            return request.get_output_tensor(0).data

        return wait

    threads = compiled.get_property("INFERENCE_NUM_THREADS")
    version = f"openvino {openvino.__version__}, {wanted}, {threads} threads, {at_once} at once"
    return version, batches(r["model"], start, slots)


serve(load, KNOBS, SETTINGS, prepare)
