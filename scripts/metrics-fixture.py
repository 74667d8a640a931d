#!/usr/bin/env python3
"""Draws 1,000 cases for each metric by labels, and writes them with what published libraries make of them.

    pip install pytrec_eval-terrier==0.5.11 scikit-learn==1.9.1 seqeval==1.2.2
    scripts/metrics-fixture.py        # writes tests/fixtures/metrics.json.gz

A unit test (src/quality/published.rs) holds the program's own metrics against the file, to 1e-9.
"""
import gzip
import json
import random
import warnings
from pathlib import Path

import pytrec_eval
from seqeval.metrics import f1_score as span_f1
from sklearn.metrics import accuracy_score, f1_score

CASES = 1000
FIXTURE = Path(__file__).parent.parent / "tests/fixtures/metrics.json.gz"
draw = random.Random(11)


def ranking():
    """A search's documents with scores, of which many are equal, and grades for some of these and for some others."""
    count = draw.randint(1, 30) if draw.random() < 0.9 else draw.randint(90, 150)
    ids = [f"d{number}" for number in draw.sample(range(1000), count + 5)]
    # Scores are single precision in trec_eval and in the program: these are exact in it.
    scores = {name: draw.randint(0, 12) / 8 for name in ids[:count]}
    grades = {name: draw.choice([0, 0, 1, 1, 2, 3]) for name in ids if draw.random() < 0.4}
    grades.setdefault(ids[0], draw.randint(0, 2))
    measures = {"ndcg_cut.10", "recall.10,100", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator({"q": grades}, measures).evaluate({"q": scores})["q"]
    reciprocal = found["recip_rank"] if found["recip_rank"] >= 0.1 - 1e-12 else 0.0
    expected = [found["ndcg_cut_10"], reciprocal, found["recall_10"], found["recall_100"]]
    return {"scores": scores, "grades": grades, "expected": expected}


def labels():
    classes = ["positive", "neutral", "negative", "mixed", "none"][: draw.randint(1, 5)]
    count = draw.randint(1, 30)
    wanted, given = ([draw.choice(classes) for _ in range(count)] for _ in range(2))
    given = [right if draw.random() < 0.5 else label for right, label in zip(wanted, given)]
    expected = [accuracy_score(wanted, given), f1_score(wanted, given, average="macro", zero_division=0)]
    return {"wanted": wanted, "given": given, "expected": expected}


def tags(length):
    """Tags of one document, every span begun by a B-."""
    made = []
    while len(made) < length:
        kind = draw.choice(["PER", "LOC", "ORG"])
        made += draw.choice([["O"], ["O"], [f"B-{kind}"], [f"B-{kind}", f"I-{kind}"]])
    return made[:length]


def spans_of(made):
    found = []
    for place, tag in enumerate(made):
        if tag.startswith("B-"):
            found.append([place, place + 1, tag[2:]])
        elif tag.startswith("I-"):
            found[-1][1] = place + 1
    return found


def spans():
    wanted = [tags(draw.randint(1, 12)) for _ in range(draw.randint(1, 4))]
    given = [document if draw.random() < 0.4 else tags(len(document)) for document in wanted]
    if not any(map(spans_of, wanted + given)):
        return spans()  # seqeval calls nothing right that has nothing to find; the program calls it right.
    expected = [span_f1(wanted, given)]
    return {"wanted": list(map(spans_of, wanted)), "given": list(map(spans_of, given)), "expected": expected}


warnings.simplefilter("ignore")
cases = {kind.__name__: [kind() for _ in range(CASES)] for kind in (ranking, labels, spans)}
with gzip.GzipFile(FIXTURE, "wb", mtime=0) as out:
    out.write(json.dumps(cases, separators=(",", ":")).encode())
print(FIXTURE, FIXTURE.stat().st_size, "bytes")
