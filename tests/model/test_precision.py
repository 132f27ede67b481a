import numpy as np
import pytest
import torch

from samgeo.model.nano_network import build_nano
from samgeo.model.predict import Model
from samgeo.model.spec import MODELS
from samgeo.pixels import PixelPrompts


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_precision_decodes_what_it_stored(precision):
    torch.manual_seed(0)
    sam = build_nano()
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    prompts = PixelPrompts(boxes=np.array([[8, 10, 50, 40]], dtype=np.float32))
    found = {}
    for name in ("exact", precision):
        model = Model(
            sam, name="random", sha256="0" * 64, device=torch.device("cpu"), precision=name, spec=MODELS["samgeo-nano"]
        )
        embedding = model.encode(image)
        first = model.decode(embedding, prompts)
        found[name] = model.decode(embedding, PixelPrompts(boxes=prompts.boxes, masks=first.logits[:, 0]))
    np.testing.assert_allclose(found[precision].scores, found["exact"].scores, atol=0.02)
    spread = found["exact"].logits.std()
    assert np.abs(found[precision].logits - found["exact"].logits).mean() < 0.2 * spread
