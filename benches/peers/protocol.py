"""What the Python peers share: the worker's side of docs/PROTOCOL.md, its clock, and documents as padded batches."""
import hashlib, json, os, sys
from collections import deque
from pathlib import Path
from time import perf_counter as clock

# A pass still belongs to the warm-up when the one after it is faster by more than this share; but after so many passes
# an engine drifts. The two rules that the tuner itself had first; docs/BIAS.md tells what it has besides.
SETTLED, MOST_WARMUP_PASSES = 0.05, 6

# An engine is cold for so many batches after a load, as the tuner has it of its own (worker/src/worker/serve.rs), and for no
# longer than so many times what is measured.
COLD_BATCHES, MOST_TIMES = 64, 10


# Of docs/PROTOCOL.md.
VERSION = 5

# What a model's folder holds, by the task.
CONFIGS = {"embed": "config.json", "entities": "gliner_config.json"}


class Failure(Exception):
    """Its arguments are the kind and the message of a `failed` event."""


def whole(value):
    return type(value) is int and value >= 1  # isinstance would take true for a number


def limit(value):
    return value == "none" or whole(value)


def one_of(*words):
    return lambda value: value in words


def checked(what, known, given):
    """A knob or a setting that would have no effect must not look as if it had one."""
    for name, value in given.items():
        if name not in known or not known[name][1](value):
            raise Failure("refused", f"{name}={value!r}: no such {what}, or not a value of it")
    return given


def mean_pooled_bert(model):
    """The config of a model's folder. What needs more than a mean and a normalisation is refused."""
    read = lambda name: json.loads((Path(model) / name).read_text("utf-8"))
    config, pooling = read("config.json"), read("1_Pooling/config.json")
    kinds = [module["type"].rsplit(".", 1)[-1] for module in read("modules.json")]
    mean = pooling.get("pooling_mode_mean_tokens") or pooling.get("pooling_mode") == "mean"
    if config["model_type"] != "bert" or not mean or kinds != ["Transformer", "Pooling", "Normalize"]:
        raise Failure("refused", "this worker has BERT with mean pooling and normalisation only")
    return config


def batches(model, start, slots=1):
    """Makes an `embed` for `serve` of `start`: it takes ids and their mask, and gives what waits for the last hidden
    states. So many `slots` are the batches that may be under way before the oldest is waited for."""
    import numpy as np
    from tokenizers import Tokenizer

    config = mean_pooled_bert(model)
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    tokenizer.no_padding()  # the file asks for rows of 128

    def embed(texts, knobs):
        positions = config["max_position_embeddings"]
        tokenizer.enable_truncation(positions if knobs["max_tokens"] == "none" else min(knobs["max_tokens"], positions))
        order = list(range(len(texts)))
        if knobs["order"] == "length":
            order.sort(key=lambda index: -len(texts[index]))  # longest first: memory runs out at once or never
        vectors, tokens, padded = np.zeros((len(texts), config["hidden_size"]), np.float32), 0, 0
        split, batch_seconds, pending = dict.fromkeys(("tokenise", "pad", "compute", "finish"), 0.0), [], deque()

        def finish():
            begin, members, mask, wait = pending.popleft()
            t = [clock()]
            hidden = wait()
            t.append(clock())
            sums = (mask[:, None, :].astype(np.float32) @ hidden)[:, 0]  # a mean's divisor is lost in the length below
            vectors[members] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
            t.append(clock())
            split["compute"], split["finish"] = split["compute"] + t[1] - t[0], split["finish"] + t[2] - t[1]
            batch_seconds.append(t[2] - begin)

        for first in range(0, len(texts), knobs["batch_size"]):
            t, members = [clock()], order[first:first + knobs["batch_size"]]
            rows = [encoding.ids for encoding in tokenizer.encode_batch_fast([texts[index] for index in members])]
            t.append(clock())
            lengths = np.array([len(row) for row in rows])
            mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
            ids = np.full(mask.shape, config["pad_token_id"], np.int64)
            ids[mask == 1] = np.concatenate(rows)
            t.append(clock())
            pending.append((t[0], members, mask, start(ids, mask)))
            t.append(clock())
            for i, part in enumerate(("tokenise", "pad", "compute")):
                split[part] += t[i + 1] - t[i]
            tokens, padded = tokens + int(lengths.sum()), padded + mask.size
            while len(pending) >= slots:
                finish()
        while pending:
            finish()
        return vectors, {"tokens": tokens, "padded_tokens": padded, "batch_seconds": batch_seconds, "split": split}

    return embed


def stretch_of(texts, knobs, stretch):
    """The texts of a part of a pass's batches, as `measure` in docs/PROTOCOL.md has it."""
    if knobs.get("order", "length") == "length":  # sentence-transformers has no such knob, and sorts by itself
        texts = sorted(texts, key=lambda text: -len(text))
    (index, of), size = stretch, knobs["batch_size"]
    count = -(-len(texts) // size)
    first, end = index * count // of, (index + 1) * count // of
    if first == end:
        raise Failure("refused", f"stretch {index} of {of}: no batch of {count} is in it")
    return texts[first * size:end * size]


def written(vectors, file):
    """A file of answers, by its name and its digest: the length of a header, the header, the numbers."""
    numbers = vectors.astype("<f4").tobytes()
    tensor = {"dtype": "F32", "shape": list(vectors.shape), "data_offsets": [0, len(numbers)]}
    header = json.dumps({"vectors": tensor}).encode()
    content = len(header).to_bytes(8, "little") + header + numbers
    Path(file).write_bytes(content)
    return {"file": file, "digest": hashlib.sha256(content).hexdigest()}


def serve(load, knobs, settings={}, prepare=lambda request: None, devices=("cpu",), task="embed"):
    """Answers requests until stdin ends. `knobs` and `settings` are a default and a test of values by name.
    `load(request)` gives a version and `embed`; `embed(texts, knobs)` gives vectors in the order of the texts, or for the
    task `entities` lists of spans, and a pass's figures but for its time. `devices` are the kinds of device that it can
    run on. What `prepare(request)` does comes before the load's clock: files made once."""
    loaded = {}

    def do_load(r):
        loaded.clear()  # if this load fails, nothing may answer in its name
        if r["protocol"] > VERSION or r.get("slot") or r["task"] != task:
            raise Failure("refused", f"this worker has protocol {VERSION} without slots, and the task {task}")
        if ("prompt" in r) != (task == "entities"):
            raise Failure("refused", f"for the task {task}, a stage has {'no' if 'prompt' in r else 'to have'} labels")
        device = r.setdefault("device", "cpu")
        if device.split(":")[0] not in devices:
            raise Failure("refused", f"this worker runs on {' or '.join(devices)}, not on {device}")
        r["model"] = r.get("folder") or r["model"]
        if not (Path(r["model"]) / CONFIGS[task]).is_file():
            raise Failure("not-available", f"no model in {Path(r['model']).absolute()}")
        for what, known in (("knob", knobs), ("setting", settings)):
            defaults = {name: default for name, (default, _) in known.items()}
            r[what + "s"] = {**defaults, **checked(what, known, r[what + "s"])}
        prepare(r)
        start = clock()
        version, embed, *memory = load(r)
        loaded.update(knobs=r["knobs"], embed=embed, texts=texts_of(r), batches=0)
        if memory:
            loaded["forget_peak"], loaded["peak"] = memory
        return {"event": "loaded", "protocol": VERSION, "device": device, "seconds": clock() - start, "version": version}

    def texts_of(r):
        with open(r["corpus"], "rb") as lines:  # as bytes: json takes them for UTF-8, whatever the locale says
            return [json.loads(line)["text"] for line in lines]

    def one_pass(r, texts=None):
        if not loaded:
            raise Failure("failed", "nothing is loaded")
        now = {**loaded["knobs"], **checked("knob", knobs, r["knobs"])}
        if texts is None:
            texts = stretch_of(loaded["texts"], now, r["stretch"]) if "stretch" in r else loaded["texts"]
        start = clock()
        vectors, figures = loaded["embed"](texts, now)
        loaded["batches"] += len(figures.get("batch_seconds") or [0])
        return vectors, {"seconds": clock() - start, "documents": len(vectors), **figures}

    def heat(r):
        """Runs the shortest text until as many batches were run since the load as engines are cold for."""
        start = clock()
        while loaded and loaded["batches"] < COLD_BATCHES and clock() - start < MOST_TIMES * r["seconds"]:
            one_pass(r, [min(loaded["texts"], key=len)])

    def measure(r):
        loaded.get("forget_peak", lambda: None)()
        start = clock()
        heat(r)
        warm, before, passes = 1, one_pass(r)[1], [one_pass(r)[1]]
        while passes[0]["seconds"] < before["seconds"] * (1 - SETTLED) and warm < MOST_WARMUP_PASSES:
            warm, before, passes[0] = warm + 1, passes[0], one_pass(r)[1]
        while len(passes) < r["passes"] or sum(p["seconds"] for p in passes) < r["seconds"]:
            passes.append(one_pass(r)[1])
        figures = {"passes": passes, "warmup_passes": warm, "busy_seconds": clock() - start}
        peak = loaded.get("peak", lambda: None)()
        return {"event": "measured", **figures, **({} if peak is None else {"peak_vram_bytes": peak})}

    def answer(r):
        vectors = one_pass(r, texts_of(r) if "corpus" in r else None)[0]
        if task == "entities":
            return {"event": "answered", "answers": [{"spans": spans} for spans in vectors]}
        if "into" in r:
            return {"event": "answered", **written(vectors, r["into"] + ".safetensors")}
        finite = lambda vector: [x if x - x == 0 else None for x in vector]  # NaN is no JSON
        return {"event": "answered", "answers": [{"vector": finite(v)} for v in vectors.tolist()]}

    def unload(r):
        loaded.clear()
        return {"event": "unloaded"}

    # Only events may go to stdout: keep it for them, and send all else that's printed, by C libraries too, to stderr.
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for request in map(json.loads, sys.stdin.buffer):
        try:
            event = {"load": do_load, "answer": answer, "measure": measure, "unload": unload}[request["do"]](request)
        except Exception as e:  # one event for each request, whatever goes wrong
            kind, message = e.args if isinstance(e, Failure) else ("failed", f"{type(e).__name__}: {e}")
            if isinstance(e, ModuleNotFoundError):
                kind, message = "not-available", f"{e}: `pip install -r requirements.txt` for the python3 in PATH"
            words = ("not enough memory", "CUDA out of memory", "Failed to allocate memory")  # torch's and onnxruntime's
            if isinstance(e, MemoryError) or any(those in message for those in words):
                kind = "out-of-memory"
            event = {"event": "failed", "kind": kind, "message": message}
        print(json.dumps({"id": request["id"], **event}), file=events, flush=True)
