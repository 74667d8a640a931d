#!/usr/bin/env python3
"""A whole worker for autotune, after docs/PROTOCOL.md. It embeds a text as its hashed character n-grams: each is
hashed to a place of a vector and counted there, and the vector is then made of length one."""
import json, math, os, platform, sys, zlib
from time import perf_counter as clock

WIDTH = 256
DEFAULTS = {"ngram": 3, "batch_size": 32, "max_chars": "none"}
# All that a load may ask for, and the kind of failure if it asks for something else: this worker never falls back.
ONLY = {"protocol": (1, "refused"), "task": ("embed", "refused"), "model": ("hashed-ngrams", "not-available"),
        "settings": ({}, "refused")}
loaded = {}


class Failure(Exception):
    """Its arguments are the kind and the message of a `failed` event."""


def checked(knobs):
    """The knobs, and defaults for the rest. A knob that would have no effect must not look as if it had one."""
    for name, value in knobs.items():
        whole = type(value) is int and value >= 1  # isinstance would take true for a number
        if name not in DEFAULTS or not (whole or (name == "max_chars" and value == "none")):
            raise Failure("refused", f"{name}={value!r}: no such knob, or not a value of it")
    return {**DEFAULTS, **knobs}


def load(r):
    start = clock()
    loaded.clear()  # if this load fails, nothing may answer in its name
    for field, (mine, kind) in ONLY.items():
        if r[field] != mine:
            raise Failure(kind, f"{field} is {r[field]!r}, and this worker has only {mine!r}")
    knobs = checked(r["knobs"])
    with open(r["corpus"], "rb") as lines:  # as bytes: json takes them for UTF-8, whatever the locale says
        loaded.update(knobs=knobs, texts=[json.loads(line)["text"] for line in lines])
    return {"event": "loaded", "protocol": 1, "device": "cpu", "seconds": clock() - start,
            "version": f"hashed-ngrams 1, {platform.python_implementation()} {platform.python_version()}"}


def embed(r):
    """One pass over the corpus: its vectors and its figures."""
    if not loaded:
        raise Failure("failed", "nothing is loaded")
    knobs = checked({**loaded["knobs"], **r["knobs"]})
    n, size, cut = knobs["ngram"], knobs["batch_size"], knobs["max_chars"]
    vectors, tokens, times, begin = [], 0, [], clock()
    for first in range(0, len(loaded["texts"]), size):
        t = [clock()]
        texts = [text if cut == "none" else text[:cut] for text in loaded["texts"][first:first + size]]
        # A text has one n-gram at least, if a short one, so that no vector is all zeros.
        grams = [[text[i:i + n] for i in range(max(1, len(text) - n + 1))] for text in texts]
        t.append(clock())
        # A batch hashes each n-gram once: that's what a larger one saves. Not by hash(): it differs by process.
        place = {gram: zlib.crc32(gram.encode()) % WIDTH for gram in set().union(*grams)}
        counts = [[0] * WIDTH for _ in texts]
        for row, own in zip(counts, grams):
            for gram in own:
                row[place[gram]] += 1
        t.append(clock())
        lengths = [math.hypot(*row) for row in counts]
        vectors += [[count / length for count in row] for row, length in zip(counts, lengths)]
        times.append(t + [clock()])
        tokens += sum(map(len, grams))
    split = {part: sum(t[i + 1] - t[i] for t in times) for i, part in enumerate(("tokenise", "compute", "finish"))}
    return vectors, {"seconds": clock() - begin, "documents": len(vectors), "tokens": tokens,
                     "batch_seconds": [t[-1] - t[0] for t in times], "split": split}


def measure(r):
    start, warm, passes = clock(), [embed(r)[1]["seconds"] for _ in range(2)], []
    while warm[-1] < 0.95 * warm[-2]:  # as long as passes get faster, by more than they differ anyway
        warm.append(embed(r)[1]["seconds"])
    while len(passes) < max(1, r["passes"]) or sum(p["seconds"] for p in passes) < r["seconds"]:
        passes.append(embed(r)[1])
    return {"event": "measured", "passes": passes, "warmup_passes": len(warm), "busy_seconds": clock() - start}


def answer(r):
    return {"event": "answered", "answers": [{"vector": vector} for vector in embed(r)[0]]}


def unload(r):
    loaded.clear()
    return {"event": "unloaded"}


# Only events may go to stdout: keep it for them, and send all else that's printed, by C libraries too, to stderr.
events = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for request in map(json.loads, sys.stdin.buffer):
    try:
        event = {"load": load, "answer": answer, "measure": measure, "unload": unload}[request["do"]](request)
    except Exception as e:  # one event for each request, whatever goes wrong
        kind, message = e.args if isinstance(e, Failure) else ("failed", f"{type(e).__name__}: {e}")
        kind = "out-of-memory" if isinstance(e, MemoryError) else kind
        event = {"event": "failed", "kind": kind, "message": message}
    print(json.dumps({"id": request["id"], **event}), file=events, flush=True)
