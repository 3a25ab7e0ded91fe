import pytest
import torch
from torch.testing import assert_close

from spinesearch.training.optim.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(5, 8, 8), (3, 4, 40), (3, 40, 4), (2, 64, 147)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    short = min(shape[1:])
    left = torch.linalg.qr(torch.randn(shape[0], shape[1], short, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(shape[0], shape[2], short, generator=generator)).Q
    # Values from 0.1 to 1 in any unit: divided by the norm the least is at least 0.1 / sqrt(64), and what is
    # above 0.01 the published coefficients bring into [0.65, 1.25] in five iterations.
    values = torch.linspace(0.1, 1.0, short).expand(shape[0], -1)
    out = orthogonalize(1e3 * (left * values.unsqueeze(1)) @ right.mT)
    new_values = left.mT @ out @ right
    diagonal = new_values.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.65
    assert diagonal.max() < 1.25
    assert_close(new_values, torch.diag_embed(diagonal), rtol=0, atol=1e-4)


def test_each_matrix_by_itself_and_zero_stays_zero() -> None:
    matrices = torch.randn(4, 6, 9, generator=torch.Generator().manual_seed(1))
    matrices[2] = 0
    out = orthogonalize(matrices)
    for i in range(4):
        assert_close(out[i], orthogonalize(matrices[i : i + 1])[0])
    assert (out[2] == 0).all()


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (4, 32), (32, 4)])
def test_a_step_turns_a_kernel_by_about_the_learning_rate(rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(2)
    stack = (
        torch.randn(3, rows, columns, generator=generator) / columns**0.5
    )  # fan-in initialisation: norm sqrt(R)
    before = stack.clone()
    stack.grad = torch.randn(3, rows, columns, generator=generator)
    Muon([stack], momentum=0.9, weight_decay=0.0).step(0.1)
    change = torch.linalg.matrix_norm(stack - before)
    assert_close(change, torch.full((3,), 0.1 * rows**0.5), rtol=0.25, atol=0)


def test_momentum_and_decay_typed_out() -> None:
    stack = torch.full((1, 1, 1), 10.0)
    muon = Muon([stack], momentum=0.5, weight_decay=0.1)
    one = float(orthogonalize(torch.ones(1, 1, 1)))  # what the iteration makes of a unit matrix
    expected = 10.0
    # Averages 0.5, 0.1 and 0.05; with the newest gradient counted again 0.75, -0.1 and 0.025.
    for grad, sign in ((1.0, 1), (-0.3, -1), (0.0, 1)):
        stack.grad = torch.full((1, 1, 1), grad)
        muon.step(0.1)
        expected = expected * 0.99 - 0.1 * sign * one
        assert_close(stack, torch.full((1, 1, 1), expected))
