import numpy as np
import pytest
import torch

from samgeo.model.build import ARCHITECTURES, assemble, official_names
from samgeo.model.precision import ALIGNMENT
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


def test_what_is_computed_with_lies_in_memory_as_torch_would_lay_it(network: tuple[str, Sam]) -> None:
    """Else some processors add in another order, and one model has different answers to the same question."""
    name, sam = network
    model = Model(sam, name=name, sha256="0" * 64, device=torch.device("cpu"), precision="exact", spec=SPECS[name])
    fresh = model.encode(picture(64, 96))
    arrays = {name: shifted(array) for name, array in fresh.arrays().items()}
    for embedding in (fresh, model.restore(arrays, fresh.shape)):
        for tensor in embedding.features:
            assert tensor is None or (tensor.data_ptr() % ALIGNMENT == 0 and tensor.is_contiguous())


def test_weights_lie_in_memory_as_torch_would_lay_them() -> None:
    spec = TINY["tiny-sam"]
    official = official_names(spec.architecture, seeded_model(spec).sam.state_dict())
    tensors = {name: torch.from_numpy(shifted(tensor.numpy())) for name, tensor in official.items()}
    assert all(weight.data_ptr() % ALIGNMENT for weight in tensors.values())
    network = assemble(spec, tensors, source="a test")
    assert not any(weight.data_ptr() % ALIGNMENT for weight in network.state_dict().values())


def shifted(array: np.ndarray) -> np.ndarray:
    """The same numbers at an address that is a multiple of 4 only."""
    memory = np.zeros(array.nbytes + 2 * ALIGNMENT, np.uint8)
    start = 4 + -memory.ctypes.data % ALIGNMENT
    there = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    there[...] = array
    return there
