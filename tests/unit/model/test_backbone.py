"""Our patch layout is the library's own image processor's."""

import itertools

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from volano.model.backbone import packed_attention, patches
from volano.model.config import BackboneFamily
from volano.model.families import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_patches_equal_the_librarys_processor(family: BackboneFamily) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)
    processor = Qwen2VLImageProcessorPil(
        patch_size=8,
        merge_size=2,
        temporal_patch_size=2,
        min_pixels=64,
        max_pixels=10**6,
        image_mean=list(FAMILIES[family].mean),
        image_std=list(FAMILIES[family].deviation),
    )
    expected = processor(list(images), return_tensors="pt", do_resize=False)["pixel_values"]
    found = patches(torch.from_numpy(images), 8, 2, 2, FAMILIES[family])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_packed_attention_keeps_images_apart_whatever_their_sizes() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 12, 8, generator=generator).unbind(0)
    for bounds in ([0, 4, 8, 12], [0, 2, 12]):
        found, _ = packed_attention(
            torch.nn.Identity(), query, key, value, scaling=0.3, cu_seq_lens_q=torch.tensor(bounds)
        )
        for start, end in itertools.pairwise(bounds):
            alone = torch.nn.functional.scaled_dot_product_attention(
                query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scale=0.3
            )
            torch.testing.assert_close(found[:, start:end], alone.transpose(1, 2))
