"""YOLOS of transformers on PyTorch, with SDPA attention. Opened by TorchDeployment, and by the export as reference."""

from pathlib import Path

import torch
import transformers
from transformers import YolosForObjectDetection

from serve_app.detection.engines import cpu
from serve_app.detection.spec import EngineInfo, Pixels, RawOutputs
from serve_app.errors import ConfigurationError
from serve_app.settings import TorchSettings

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TorchDetector:
    """YolosForObjectDetection from safetensors weights, in inference mode."""

    def __init__(self, folder: Path, settings: TorchSettings) -> None:
        """Load the checkpoint in `folder`. Raises ConfigurationError when the device or the CPU does not fit."""
        if settings.device != "cpu" and not torch.cuda.is_available():
            raise ConfigurationError(f"device {settings.device}: this machine offers PyTorch no CUDA; set device: cpu")
        if settings.device == "cpu":
            cpu.require(settings.precision)
        self._device, self._dtype = torch.device(settings.device), _DTYPES[settings.precision]
        model: torch.nn.Module = YolosForObjectDetection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, attn_implementation="sdpa", dtype=self._dtype
        )
        self._model = model.to(self._device).eval()
        # transformers maps the weights from their file. Overwritten in place, it would change this model or, if it is
        # shorter then, end the process.
        for weights in (*self._model.parameters(), *self._model.buffers()):
            weights.data = weights.data.clone()
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
