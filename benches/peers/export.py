#!/usr/bin/env python3
"""ONNX files of a BERT, made once and kept in a cache: `python3 export.py plain|fused|int8 SOURCE TARGET MODEL`.
SOURCE is the model's folder for `plain`, and the plain file for the others."""
import hashlib, json, os, subprocess, sys
from pathlib import Path

from protocol import Failure


def onnx_file(kind, request):
    """The path of a model's ONNX file, which is made if it isn't in the cache. It's made by a process of its own, so
    that what exporting takes of memory isn't counted as the peer's."""
    model, settings, here = Path(request["model"]), request["settings"], Path(__file__).parent
    plain = settings["onnx"] and Path(settings["onnx"])
    if kind == "plain" and plain:
        return plain
    digest = hashlib.sha256()  # whatever the file comes from
    weights = plain or model / "model.safetensors"
    for source in (here / "export.py", here / "requirements.txt", model / "config.json", weights):
        digest.update(source.read_bytes())
    target = Path(settings["cache"]) / f"{digest.hexdigest()[:16]}-{kind}.onnx"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source = model if kind == "plain" else onnx_file("plain", request)
        half = target.with_suffix(f".{os.getpid()}.half")  # two workers may be at it, and either may be killed
        command = [sys.executable, str(here / "export.py"), kind, str(source), str(half), str(model)]
        made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
        if made.returncode != 0:
            half.unlink(missing_ok=True)
            missing = "ModuleNotFoundError" in made.stderr
            raise Failure("not-available" if missing else "failed", f"{kind} ONNX file: {made.stderr.strip()[-400:]}")
        half.replace(target)
    return target


def plain(source, target, model):
    import torch, transformers

    # Eager attention and the older exporter: that's the graph whose patterns onnxruntime's optimizer knows. Of the
    # newer exporter's graph, and of SDPA's, it fuses no attention.
    network = transformers.AutoModel.from_pretrained(source, attn_implementation="eager", dtype=torch.float32)

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.network(input_ids=input_ids, attention_mask=attention_mask,
                                token_type_ids=token_type_ids).last_hidden_state

    ids = torch.randint(0, network.config.vocab_size, (2, 16))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    axes = {name: {0: "batch", 1: "length"} for name in [*inputs, "last_hidden_state"]}
    with torch.inference_mode():
        torch.onnx.export(Hidden().eval(), tuple(inputs.values()), target, input_names=list(inputs), dynamo=False,
                          output_names=["last_hidden_state"], dynamic_axes=axes, opset_version=17)


def fused(source, target, model):
    from onnxruntime.transformers.optimizer import optimize_model

    config = json.loads((Path(model) / "config.json").read_text("utf-8"))
    graph = optimize_model(source, model_type="bert", num_heads=config["num_attention_heads"],
                           hidden_size=config["hidden_size"])
    counts = graph.get_fused_operator_statistics()
    if counts["Attention"] != config["num_hidden_layers"]:  # half a fusion would be measured under the name of a whole
        raise ValueError(f"the optimizer fused {counts['Attention']} of {config['num_hidden_layers']} attentions")
    graph.save_model_to_file(target)


def int8(source, target, model):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)


if __name__ == "__main__":
    kind, *paths = sys.argv[1:]
    {"plain": plain, "fused": fused, "int8": int8}[kind](*paths)
