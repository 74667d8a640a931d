#!/usr/bin/env python3
"""Makes a GLiNER folder of the size of urchade/gliner_small-v2.1, with random weights of a fixed seed. The package writes it.

Random weights would find every span, or none. So the head is scaled and shifted: a threshold of 0.5 finds about SPANS spans
in a text of the given corpus, and no score is too near to it.
"""
import argparse, json, math
from pathlib import Path

import torch
from gliner import GLiNER
from gliner.config import UniEncoderSpanConfig
from gliner.model import UniEncoderSpanGLiNER
from transformers import PreTrainedTokenizerFast

ENCODER = dict(
    model_type="deberta-v2", vocab_size=128004, hidden_size=768, num_hidden_layers=6, num_attention_heads=12,
    intermediate_size=3072, max_position_embeddings=512, type_vocab_size=0, layer_norm_eps=1e-7, hidden_act="gelu",
    pad_token_id=0, position_biased_input=False, relative_attention=True, share_att_key=True, pos_att_type="p2c|c2p",
    norm_rel_ebd="layer_norm", position_buckets=256, max_relative_positions=-1,
)
HEAD = dict(hidden_size=512, max_width=12, max_len=384, num_rnn_layers=1, span_mode="markerV0", subtoken_pooling="first")
SPECIAL = dict(pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]", mask_token="[MASK]")
LABELS = ["person", "organisation", "place", "date", "product"]  # of gliner.toml
SPREAD = 2.0  # standard deviation of the logits
SPANS = 4  # that are found in a text, on average
STEPS = 400  # shifts that are tried


def make(tokenizer_file):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=tokenizer_file, **SPECIAL)
    # A stand-in of autotune has <<ENT>> and <<SEP>> as the checkpoint has them: the last two. So nothing is added.
    ent = tokenizer.convert_tokens_to_ids("<<ENT>>")
    assert (ent, len(tokenizer)) == (128002, 128004), "not a tokenizer of gliner_small's stand-in"
    config = UniEncoderSpanConfig(encoder_config=dict(ENCODER), class_token_index=ent, vocab_size=len(tokenizer), **HEAD)
    gliner = UniEncoderSpanGLiNER(config, tokenizer=tokenizer)
    gliner.eval()
    random = torch.Generator().manual_seed(1)
    for name, tensor in gliner.model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=random)
        if "norm" in name.lower():
            tensor.copy_(0.2 * noise + name.endswith(".weight"))
        elif name.endswith(".bias"):
            tensor.copy_(0.2 * noise)
        elif "embeddings" in name:
            tensor.copy_(noise * (1 if "word_embeddings" in name else 0.3))
        else:
            # With more of the attention, every word of a text would look like its mean, and so would every span.
            factor = 0.3 if "attention.output" in name else 1.5
            tensor.copy_(noise * factor / math.sqrt(tensor.shape[-1]))
    return gliner


def run(gliner, text):
    """What the network is given for a text, and what it answers."""
    words, _, _ = gliner.prepare_inputs([text])
    collate = gliner.data_collator_class(
        gliner.config, data_processor=gliner.data_processor, return_tokens=True, prepare_labels=False
    )
    batch = collate(gliner.prepare_base_input(words), entity_types=LABELS)
    return batch["tokens"], gliner.model(**batch)


def inside(logits):
    """Those of the spans that end within the text."""
    words, widths, _ = logits[0].shape
    return torch.cat([logits[0, at, : min(widths, words - at)] for at in range(words)])


def balance(gliner, texts):
    runs = [run(gliner, text) for text in texts]
    scale = SPREAD / torch.cat([inside(output.logits).flatten() for _, output in runs]).std()
    # A logit is a product of a span and a label. A span is shifted along the mean label, and so a logit by the label's share.
    label = scale * torch.cat([output.prompts_embedding[0] for _, output in runs]).mean(0)
    names = dict(enumerate(LABELS, 1))

    def shifted(shift):
        for words, output in runs:
            share = scale * output.prompts_embedding[0] @ label / label.dot(label)
            yield words, scale * output.logits + shift * share

    def found(shift):
        kept = [gliner.decoder.decode(words, names, logits, flat_ner=True, threshold=0.5)[0]
                for words, logits in shifted(shift)]
        return sum(map(len, kept)) / len(texts)

    def gap(shift):
        return min(inside(logits).abs().min().item() for _, logits in shifted(shift))

    # Of the shifts that find about so many spans, the one whose nearest logit is furthest from 0.
    low, high = -10 * SPREAD, 10 * SPREAD
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) > SPANS else (middle, high)
    shift = max((low + SPREAD * (step / STEPS - 0.5) / 4 for step in range(STEPS)), key=gap)

    state = gliner.model.state_dict()
    for name in ["prompt_rep_layer.3.weight", "prompt_rep_layer.3.bias"]:
        state[name] *= scale
    state["span_rep_layer.span_rep_layer.out_project.3.bias"] += shift * label / label.dot(label)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", help="tokenizer.json of autotune's stand-in for urchade/gliner_small-v2.1")
    parser.add_argument("corpus", type=Path, help="corpus.jsonl of a run of gliner.toml")
    parser.add_argument("folder", type=Path, help="where to put the model, some 600 MB")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    texts = [json.loads(line)["text"] for line in arguments.corpus.read_text("utf-8").splitlines()]
    gliner = make(arguments.tokenizer)
    balance(gliner, texts)
    gliner.save_pretrained(arguments.folder, safe_serialization=True)

    gliner = GLiNER.from_pretrained(arguments.folder, local_files_only=True, strict=True)
    logits = torch.cat([inside(run(gliner, text)[1].logits).flatten() for text in texts])
    spans = [gliner.predict_entities(text, LABELS) for text in texts]
    kinds = {span["label"] for span in sum(spans, [])}
    print(f"{sum(map(len, spans)) / len(texts):.1f} spans a text, {len(kinds)} labels, {logits.numel()} logits with a deviation "
          f"of {logits.std():.2f}, the nearest to the threshold by {logits.abs().min():.4f}")


if __name__ == "__main__":
    main()
