"""What to measure: the demo's checkpoint and a random YOLOS-small, in every engine and precision this machine runs.

Used by `bench.engines` and `bench.batching`.
"""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from serve_app.detection.agreement import TOLERANCE
from serve_app.detection.engines import cpu
from serve_app.detection.engines.open import ENGINES
from serve_app.detection.model import artifact
from serve_app.detection.model.artifact import Precision
from serve_app.errors import ConfigurationError
from serve_app.settings import DEFAULT_CHECKPOINT

WORK = Path(".cache/bench")
_SMALL = WORK / "yolos-small"
_COCO_LABELS = 91
Size = tuple[int, int]  # height, width


class Subject(NamedTuple):
    """A model, the image sizes to run it on, the rounds, and how many images to compare answers on."""

    name: str
    checkpoint: Path
    sizes: list[Size]
    rounds: int
    compared: int

    def artifact(self, precision: Precision) -> Path:
        """Where its exported folder lies."""
        return WORK / f"{self.name}-{precision}"


def demo() -> Subject:
    """The shipped checkpoint at the sizes its processor makes of photographs."""
    return Subject("demo", Path(DEFAULT_CHECKPOINT), [(224, 288), (288, 224), (224, 384)], rounds=60, compared=12)


def small() -> Subject:
    """YOLOS-small as published (30.7 million parameters), with random weights: its time depends on its shape alone."""
    if not (_SMALL / "preprocessor_config.json").is_file():
        _write_small(_SMALL)
    return Subject("yolos-small", _SMALL, [(512, 688), (800, 1056)], rounds=9, compared=2)


def _write_small(folder: Path) -> None:
    import torch
    from transformers import YolosConfig, YolosForObjectDetection

    torch.manual_seed(0)
    labels = {index: f"label {index}" for index in range(_COCO_LABELS)}
    config = YolosConfig(
        hidden_size=384,
        intermediate_size=1536,
        num_attention_heads=6,
        image_size=[512, 864],
        id2label=labels,
        label2id={name: index for index, name in labels.items()},
    )
    model = YolosForObjectDetection(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1:  # transformers' own start is so small that every image gives the same answer
                scale = 0.5 if "position" in name or "token" in name else 1.5 * weights[0].numel() ** -0.5
                weights.normal_(std=scale)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 800, "longest_edge": 1333}}))


def export(subject: Subject, precision: Precision) -> None:
    """Write one artifact as the export would; also one that its gate refuses, as the report shows the deviation."""
    from export import samples, write  # imports torch, which no other part of this process needs
    from export.request import Request

    folder = subject.artifact(precision)
    folder.mkdir(parents=True, exist_ok=True)
    request = Request(subject.name, revision=None, out=folder, images=None, tolerance=TOLERANCE, precision=precision)
    pictures = samples.load(None)[: subject.compared]
    manifest, _ = write.build_within(folder, subject.checkpoint, request, pictures, say=lambda _: None)
    (folder / artifact.MANIFEST).write_text(manifest.model_dump_json())


class Contender(NamedTuple):
    """One engine in one precision."""

    engine: Literal["torch", "onnxruntime", "openvino"]
    precision: Precision

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.engine} {self.precision}"


REFERENCE = Contender("torch", "fp32")


def available(say: Callable[[str], object]) -> list[Contender]:
    """The reference first, then whatever this machine runs; says which it does not, and why."""
    wanted = [REFERENCE, Contender("torch", "bf16")]
    wanted += [Contender(engine, precision) for precision, engines in ENGINES.items() for engine in engines]
    found = []
    for contender in wanted:
        try:
            if find_spec(contender.engine) is None:
                raise ConfigurationError("not installed")
            cpu.require(contender.precision)
            found.append(contender)
        except ConfigurationError as error:
            say(f"left out: {contender.name}: {error.detail}")
    return found
