"""SAM 2's part of the reference algorithm: stock modules, called as GLUS's `evaluate` calls its copy of them."""

from typing import Any

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn import functional

from glus_edge.benchmarks.reference.reference_language import Place
from glus_edge.export.vision.mask_decoder import STABILITY_DELTA, STABILITY_THRESHOLD
from glus_edge.runtime.bundle.manifest import MemorySettings
from glus_edge.runtime.policies.memory_rule import attended_steps
from glus_edge.runtime.utils.stopwatch import Stopwatch


class ReferenceSam2:
    """One video, one sentence: memories in a dict by step, as the reference keeps them."""

    def __init__(
        self, sam2: SAM2Base, settings: MemorySettings, stopwatch: Stopwatch, place: Place | None = None
    ) -> None:
        """`sam2`: with its weights; it is moved to `place`."""
        self._place = place or Place()
        self._sam2: Any = sam2.to(self._place.device, self._place.dtype).requires_grad_(False)
        # Stock SAM 2 makes these positions in float32 only.
        self._sam2.sam_prompt_encoder.pe_layer.float()
        decoder = self._sam2.sam_mask_decoder
        decoder.dynamic_multimask_via_stability = True
        decoder.dynamic_multimask_stability_delta = STABILITY_DELTA
        decoder.dynamic_multimask_stability_thresh = STABILITY_THRESHOLD
        self._settings, self._stopwatch = settings, stopwatch
        self._memories: dict[int, tuple[Tensor, Tensor]] = {}  # step -> features and positions, [h w, 1, channels]

    def reset(self) -> None:
        """Before the first frame of a run."""
        self._memories.clear()

    def track(self, step: int, pixels: Tensor, segment_embedding: Tensor, size: tuple[int, int]) -> Tensor:
        """sam_pixels [1, 3, S, S] and segment embedding [1, d_model] to a mask, bool [H, W]."""
        with self._stopwatch.stage("image_encoder"):
            output = self._sam2.forward_image(pixels)
            _, features, positions, sizes = self._sam2._prepare_backbone_features(output)
            # Stock SAM 2 leaves levels that were interpolated in float32.
            features, positions = ([self._place.of(level) for level in levels] for levels in (features, positions))
        with self._stopwatch.stage("memory_attention"):
            conditioned = self._conditioned(step, features[-1], positions[-1])
            conditioned = conditioned.permute(1, 2, 0).view(1, -1, *sizes[-1])
        with self._stopwatch.stage("mask_decoder"):
            finer = [
                level.permute(1, 2, 0).view(1, -1, *side) for level, side in zip(features[:-1], sizes[:-1], strict=True)
            ]
            prompt = self._sam2.sam_prompt_encoder
            logits, _, _, _ = self._sam2.sam_mask_decoder(
                image_embeddings=conditioned,
                image_pe=self._place.of(prompt.get_dense_pe()),
                sparse_prompt_embeddings=segment_embedding[:, None],
                dense_prompt_embeddings=prompt.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(conditioned),
                multimask_output=False,
                repeat_image=False,
                high_res_features=finer,
            )
        with self._stopwatch.stage("memory_encoder"):
            self._remember(step, conditioned, logits)
        with self._stopwatch.stage("masks"):
            mask = functional.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[0, 0] > 0
            return mask.cpu()

    def _conditioned(self, step: int, features: Tensor, positions: Tensor) -> Tensor:
        """[h w, 1, d_model]."""
        read = [self._memories[s] for s in attended_steps(step, self._settings) if s in self._memories]
        if not read:
            unconditioned: Tensor = features + self._sam2.no_mem_embed
            return unconditioned
        conditioned: Tensor = self._sam2.memory_attention(
            curr=[features],
            curr_pos=[positions],
            memory=torch.cat([memory for memory, _ in read]),
            memory_pos=torch.cat([position for _, position in read]),
            num_obj_ptr_tokens=0,
        )
        return conditioned

    def _remember(self, step: int, conditioned: Tensor, logits: Tensor) -> None:
        side = [self._sam2.image_size] * 2
        mask = functional.interpolate(logits.float(), side, mode="bilinear", align_corners=False).sigmoid()
        mask = self._place.of(mask * self._sam2.sigmoid_scale_for_mem_enc + self._sam2.sigmoid_bias_for_mem_enc)
        encoded = self._sam2.memory_encoder(conditioned, mask, skip_mask_sigmoid=True)
        memory, position = encoded["vision_features"], encoded["vision_pos_enc"][0]
        self._memories[step] = (memory.flatten(2).permute(2, 0, 1), position.flatten(2).permute(2, 0, 1))
        self._memories.pop(step - self._settings.slots * self._settings.stride - 1, None)  # none will be read again
