"""Checkpoint -> artifact folder: trace, compare, then put in place. Called by `python -m export` and the benchmarks."""

from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import torch
import transformers

from export import graph, parity, samples, target
from export.quantize import Kept, quantize
from export.request import Request
from serve_app.detection.engines import cpu
from serve_app.detection.engines.open import ENGINES, open_engine
from serve_app.detection.engines.torch import TorchDetector
from serve_app.detection.model import artifact, checkpoint
from serve_app.settings import OnnxSettings, TorchSettings

Say = Callable[[str], None]

# Bytes on disk while an export runs, for each byte of the weights. int8 starts from the fp32 graph and copies it once.
_ROOM: dict[artifact.Precision, float] = {"fp32": 1.2, "bf16": 1.2, "int8": 2.3}


class GateFailed(Exception):
    """The artifact's detections differ from the checkpoint's; nothing was put in place."""

    def __init__(self, verdict: parity.Verdict) -> None:
        super().__init__(f"{len(verdict.faults)} of {verdict.parity.images} images differ")
        self.verdict = verdict


def write(request: Request, say: Say) -> artifact.Manifest:
    """Export, compare with the checkpoint, and put the new artifact in place of an earlier one in `out`.

    Raises ConfigurationError for bad input and a folder that cannot take the artifact, and GateFailed when the engines
    disagree. Whatever is raised, `out` is as it was.
    """
    request = request._replace(out=request.out.absolute())
    target.check(request.out)
    cpu.require(request.precision)
    folder = checkpoint.resolve(request.checkpoint, request.revision)
    pictures = samples.load(request.images)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    with target.workspace(request.out, needed=int(weights * _ROOM[request.precision])) as work:
        draft, verdict = build_within(work, folder, request, pictures, say)
        if verdict.faults:
            raise GateFailed(verdict)
        manifest = draft.model_copy(update={"parity": verdict.parity})
        (work / artifact.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        target.replace(work, request.out)
    return manifest


def build(
    work: Path, folder: Path, name: str, precision: artifact.Precision, say: Say, kept: Kept = Kept.heads
) -> artifact.Manifest:
    """Write graph and position embeddings of the checkpoint in `folder` into `work`; returns the draft manifest.

    `name` is what the manifest calls the checkpoint. `kept` matters for int8 only: what stays in fp32. The draft has no
    `parity` yet.
    """
    say(f"tracing {name}")
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    spec = checkpoint.read_spec(folder)
    model = graph.load_model(folder)
    graph.write_positions(model, work / artifact.POSITIONS)
    graph.write_graph(model, spec, work / artifact.MODEL)
    del model
    if precision == "int8":
        say(f"quantising all but {kept}")
        quantize(work / artifact.MODEL, work / artifact.MODEL, kept)
    return artifact.Manifest(
        checkpoint=name,
        fingerprint=checkpoint.fingerprint(folder),
        precision=precision,
        opset=artifact.OPSET,
        files={file: artifact.file_hash(work / file) for file in (artifact.MODEL, artifact.POSITIONS)},
        spec=spec,
        parity=None,
        versions={
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    )


def build_within(
    work: Path, folder: Path, request: Request, pictures: list[samples.Sample], say: Say
) -> tuple[artifact.Manifest, parity.Verdict]:
    """Build an artifact in `work` and compare it with the checkpoint; returns its draft manifest and the verdict.

    int8 is tried with ever more of the graph kept in fp32, until an attempt is within the tolerance. Where none is, the
    last attempt is returned with its faults. Also called by the benchmarks.
    """
    for kept in Kept if request.precision == "int8" else [Kept.heads]:
        draft = build(work, folder, request.checkpoint, request.precision, say, kept)
        say(f"comparing both engines on {len(pictures)} images")
        verdict = _judge(work, folder, draft, request, pictures)
        if not verdict.faults:
            break
    return draft, verdict


def _judge(
    work: Path, folder: Path, draft: artifact.Manifest, request: Request, pictures: list[samples.Sample]
) -> parity.Verdict:
    threads = cpu.cores()
    engine = ENGINES[request.precision][0]
    candidate = open_engine(
        artifact.read(work, draft, "export it again"), draft, OnnxSettings(threads=threads, engine=engine)
    )
    reference = TorchDetector(folder, TorchSettings(threads=threads))
    exact = request.precision == "fp32"
    return parity.check(reference, candidate, draft.spec, pictures, request.tolerance, exact)
