"""YOLOS of transformers on PyTorch, with SDPA attention. Opened by TorchDeployment, and by the export as reference."""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import YolosForObjectDetection

from serve_app.detection.engines import cpu
from serve_app.detection.model import weights
from serve_app.detection.spec import EngineInfo, Pixels, RawOutputs
from serve_app.errors import ConfigurationError, one_line
from serve_app.settings import TorchSettings

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_model(folder: Path, dtype: torch.dtype) -> YolosForObjectDetection:
    """The checkpoint in `folder` from its safetensors weights, ready for inference on the CPU.

    Raises ConfigurationError for damaged weights, and where transformers would put random numbers or leave some out.
    """
    try:
        loaded: Any = YolosForObjectDetection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, attn_implementation="sdpa", dtype=dtype,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    except Exception as error:  # for a damaged file the libraries raise many unrelated types
        torn = isinstance(error, SafetensorError | OSError)
        remedy = "fetch its weights again" if torn else "put its config.json right"
        raise ConfigurationError(f"checkpoint {folder} cannot be loaded ({one_line(error)}); {remedy}") from error
    model: YolosForObjectDetection
    model, report = loaded
    weights.refuse(
        folder,
        weights.Differences(
            missing=sorted(report["missing_keys"]),
            unexpected=sorted(report["unexpected_keys"]),
            misshaped=[weights.misshaped(*tensor) for tensor in sorted(report["mismatched_keys"])],
        ),
    )
    model.train(False)
    return model


class TorchDetector:
    """YolosForObjectDetection from safetensors weights, in inference mode."""

    def __init__(self, folder: Path, settings: TorchSettings) -> None:
        """Load the checkpoint in `folder`.

        Raises ConfigurationError when the device or the CPU does not fit, and for weights that are not whole.
        """
        if settings.device != "cpu" and not torch.cuda.is_available():
            raise ConfigurationError(f"device {settings.device}: this machine offers PyTorch no CUDA; set device: cpu")
        if settings.device == "cpu":
            cpu.require(settings.precision)
        self._device, self._dtype = torch.device(settings.device), _DTYPES[settings.precision]
        model: torch.nn.Module = load_model(folder, self._dtype)
        self._model = model.to(self._device)
        # transformers maps the weights from their file. Overwritten in place, it would change this model or, if it is
        # shorter then, end the process.
        for tensor in (*self._model.parameters(), *self._model.buffers()):
            tensor.data = tensor.data.clone()
        self.info = EngineInfo(
            engine="torch-sdpa",
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
            versions={"torch": torch.__version__, "transformers": transformers.__version__},
        )

    @torch.inference_mode()
    def infer(self, pixels: Pixels) -> RawOutputs:
        """Run the model on (batch, 3, height, width) pixels; the outputs are float32 arrays on the CPU."""
        # PyTorch keeps this number for the process and for each thread. Another model may have set it, even one that
        # failed to load and left this one in force.
        if torch.get_num_threads() != self.info.threads:
            torch.set_num_threads(self.info.threads)
        output = self._model(torch.from_numpy(pixels).to(self._device, self._dtype))
        return RawOutputs(output.logits.float().cpu().numpy(), output.pred_boxes.float().cpu().numpy())
