import numpy as np
import pytest
import torch

from xpscale.model.nn import asinh


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_asinh_is_asinh(dtype):
    size = np.concatenate([[0.0], 10 ** np.linspace(-30, 18, 20_000)])
    x = torch.tensor(np.concatenate([-size[::-1], size])).to(dtype)
    exact = np.arcsinh(x.double().numpy())
    with torch.inference_mode():
        found = asinh(x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), exact, rtol=3e-7 if dtype == torch.float32 else 1e-15)
    assert (found.signbit() == x.signbit()).all()


def test_asinh_of_anything_is_finite_unless_it_is_not_a_number():
    with torch.inference_mode():
        found = asinh(torch.tensor([1e30, -torch.inf, torch.nan]))
    assert found[0] == found[0] > 40
    assert found[1] < -40
    assert found[2].isnan()


def test_asinh_and_its_slope_are_torchs():
    x = torch.cat([torch.logspace(-6, 15, 200), -torch.logspace(-6, 15, 200), torch.zeros(1)])
    found, exact = (
        x.clone().to(dtype).requires_grad_() for dtype in (torch.float32, torch.float64)
    )
    values, wanted = asinh(found), exact.asinh()
    torch.testing.assert_close(values.double(), wanted, rtol=3e-7, atol=0)
    for each in (values.sum(), wanted.sum()):
        each.backward()
    torch.testing.assert_close(found.grad.double(), exact.grad, rtol=1e-6, atol=0)
