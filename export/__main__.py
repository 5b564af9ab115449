"""`python -m export`: exports a checkpoint to an ONNX artifact and compares both. The command line only."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from export.current import is_current
from export.request import Request
from serve_app.detection.engines import cpu, threads
from serve_app.detection.model.artifact import Parity, Precision
from serve_app.errors import ConfigurationError
from serve_app.settings import DEFAULT_ARTIFACT, DEFAULT_CHECKPOINT

_WORST_SHOWN = 5


def main(
    checkpoint: Annotated[str, typer.Option(help="Folder or hub id of a YOLOS checkpoint.")] = DEFAULT_CHECKPOINT,
    revision: Annotated[str | None, typer.Option(help="Commit or tag, for a hub id.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the artifact; only an earlier one is replaced.")] = Path(
        DEFAULT_ARTIFACT
    ),
    images: Annotated[Path | None, typer.Option(help="Folder of images to compare on; default: the demo's.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, max=1, help="Largest deviation of a score or box.")] = 0.05,
    precision: Annotated[
        Precision, typer.Option(help="fp32 is exact; int8 needs VNNI; bf16 needs OpenVINO and a CPU with bf16.")
    ] = "fp32",
    if_stale: Annotated[bool, typer.Option("--if-stale", help="Do nothing if the artifact is current.")] = False,
) -> None:
    """Export a YOLOS checkpoint to ONNX, compare both engines, and keep the artifact only if they agree."""
    try:
        _export(Request(checkpoint, revision, out, images, tolerance, precision), if_stale)
    except ConfigurationError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        raise typer.Exit(2) from None


def _export(request: Request, if_stale: bool) -> None:
    if if_stale and is_current(request):
        print(f"{request.out} is current")
        return
    threads.reserve(cpu.cores(), spinning=False)
    from export.write import GateFailed, write  # imports torch, which takes seconds: only for a real export

    try:
        manifest = write(request, say=lambda line: print(line, flush=True))
    except GateFailed as failure:
        sys.stderr.write(f"error: {request.checkpoint} and its graph disagree: {failure}; worst first:\n")
        sys.stderr.writelines(f"  {fault}\n" for fault in failure.verdict.faults[:_WORST_SHOWN])
        if failure.verdict.nothing_found:
            sys.stderr.write("  only raw outputs were compared; name images of what it detects with --images DIR\n")
        raise typer.Exit(1) from None
    if manifest.parity:
        print(_summary(request.out, manifest.parity))


def _summary(out: Path, parity: Parity) -> str:
    found = f"{parity.detections} detections over {parity.threshold:.3g} on {parity.images} images agree"
    if not parity.detections:
        found = (
            f"nothing is detected over {parity.threshold:.3g} on {parity.images} images (name others with --images "
            f"DIR), so only raw outputs were compared: those of {parity.queries} queries agree"
        )
    elif parity.queries:
        found += f", and so do the raw outputs of {parity.queries} queries"
    return (
        f"{out}: {found}; scores within {parity.score_deviation:.2g}, boxes within {parity.box_deviation:.2g} of the "
        f"side, logits within {parity.logit_deviation:.2g}"
    )


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that temporary files go
    typer.run(main)
