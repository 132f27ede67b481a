import numpy as np
import pytest
import torch

from samgeo.model.build import ARCHITECTURES
from samgeo.model.predict import Model
from samgeo.model.sam import Sam
from samgeo.model.spec import MODELS
from samgeo.pixels import PixelPrompts
from tests.model.seeded import TINY, picture, seeded_model

SPECS = {"samgeo-nano": MODELS["samgeo-nano"], **TINY}


@pytest.fixture(scope="module", params=SPECS)
def network(request) -> tuple[str, Sam]:
    if request.param in TINY:
        return request.param, seeded_model(TINY[request.param]).sam
    torch.manual_seed(0)
    return request.param, ARCHITECTURES["nano"].build(SPECS[request.param])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_precision_decodes_what_it_stored(network: tuple[str, Sam], precision: str) -> None:
    name, sam = network
    image = picture(64, 96)
    prompts = PixelPrompts(boxes=np.array([[8, 10, 50, 40]], dtype=np.float32))
    found = {}
    for kind in ("exact", precision):
        model = Model(sam, name=name, sha256="0" * 64, device=torch.device("cpu"), precision=kind, spec=SPECS[name])
        embedding = model.encode(image)
        embedding = model.restore(embedding.arrays(), embedding.shape)
        first = model.decode(embedding, prompts)
        found[kind] = model.decode(embedding, PixelPrompts(boxes=prompts.boxes, masks=first.logits[:, 0]))
    np.testing.assert_allclose(found[precision].scores, found["exact"].scores, atol=0.04)
    spread = found["exact"].logits.std()
    assert np.abs(found[precision].logits - found["exact"].logits).mean() < 0.2 * spread
