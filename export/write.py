"""Checkpoint -> artifact folder: trace, compare, then put in place. Called by `python -m export` and the benchmarks."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime
import torch
import transformers

from export import graph, parity, samples
from export.current import is_current
from export.quantize import Kept, quantize
from export.request import Request
from serve_app.detection.engines import cpu
from serve_app.detection.engines.open import ENGINES, open_engine
from serve_app.detection.engines.torch import TorchDetector
from serve_app.detection.model import artifact, checkpoint
from serve_app.errors import ConfigurationError
from serve_app.settings import OnnxSettings, TorchSettings

Say = Callable[[str], None]


class GateFailed(Exception):
    """The artifact's detections differ from the checkpoint's; nothing was put in place."""

    def __init__(self, verdict: parity.Verdict) -> None:
        super().__init__(f"{len(verdict.faults)} of {verdict.parity.images} images differ")
        self.verdict = verdict


def write(request: Request, say: Say) -> artifact.Manifest:
    """Export, compare with the checkpoint, and replace `out` with the new artifact in one step.

    Raises ConfigurationError for bad input and GateFailed when the engines disagree. A refused artifact never
    reaches `out`. An earlier one stays there only if it is of this checkpoint and was within this tolerance.
    """
    request = request._replace(out=request.out.absolute())
    _check_target(request.out)
    cpu.require(request.precision)
    folder = checkpoint.resolve(request.checkpoint, request.revision)
    pictures = samples.load(request.images)
    with _beside(request.out) as work:
        draft, verdict = build_within(work, folder, request, pictures, say)
        if verdict.faults:
            _drop_earlier(request)
            raise GateFailed(verdict)
        manifest = draft.model_copy(update={"parity": verdict.parity})
        (work / artifact.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        _replace(work, request.out)
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


def _check_target(out: Path) -> None:
    """Refuse to replace anything but an artifact."""
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"{out} is a file; --out names a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / artifact.MANIFEST).is_file():
        raise ConfigurationError(f"{out} holds other files and no {artifact.MANIFEST}; choose an empty or new folder")


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A working folder on the same file system as `out`, so that the last step is a rename."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ConfigurationError(f"cannot write beside {out}: {error.strerror}") from error
    try:
        work.chmod(0o755)  # mkdtemp lets only this user in, but the server may run as another
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _judge(
    work: Path, folder: Path, draft: artifact.Manifest, request: Request, pictures: list[samples.Sample]
) -> parity.Verdict:
    threads = len(os.sched_getaffinity(0))
    engine = ENGINES[request.precision][0]
    candidate = open_engine(work, draft, OnnxSettings(threads=threads, engine=engine))
    reference = TorchDetector(folder, TorchSettings(threads=threads))
    exact = request.precision == "fp32"
    return parity.check(reference, candidate, draft.spec, pictures, request.tolerance, exact)


def _drop_earlier(request: Request) -> None:
    if not (request.out / artifact.MANIFEST).is_file():
        return
    if is_current(request.out, request.checkpoint, request.revision, precision=None):
        found = artifact.load_manifest(request.out, "").parity
        if found and max(found.score_deviation, found.box_deviation) <= request.tolerance:
            return
    shutil.rmtree(request.out)


def _replace(work: Path, out: Path) -> None:
    """Rename `work` to `out`, after an earlier artifact there: no folder can be renamed to one that holds files."""
    aside = work.with_name(f"{work.name}.old")
    if out.exists():
        out.rename(aside)
    work.rename(out)
    shutil.rmtree(aside, ignore_errors=True)
