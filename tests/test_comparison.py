"""Whether a difference between protocols is real: permutation test, correction, words."""

import numpy as np
import pytest

from p3m_jax.evaluation.comparison import compare, holm, sign_flip_p


def test_a_shift_is_found_and_noise_is_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 50)
    assert sign_flip_p(noise + 1) == pytest.approx(1 / 10_001)
    assert sign_flip_p(noise - 1) == pytest.approx(1 / 10_001)
    assert sign_flip_p(noise - noise.mean()) == 1
    # Under the hypothesis every p is as likely as another: here a twentieth lies below 0.05.
    ps = [sign_flip_p(rng.normal(0, 1, 10)) for _ in range(400)]
    assert 0.025 < np.mean(np.array(ps) <= 0.05) < 0.08


def test_few_pairs_are_flipped_in_all_ways():
    assert sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip_p([1.0, 2.0, -3.0]) == 1
    assert sign_flip_p([0.1] * 10 + [0.0] * 90) == 2 / 1024
    assert sign_flip_p([0.0] * 40) == 1
    many = np.random.default_rng(1).normal(0.3, 1, 13)
    drawn = sign_flip_p(np.repeat(many, 2) * np.tile([1, 1e-12], 13))  # 26 pairs, 13 count
    assert drawn == pytest.approx(sign_flip_p(many), abs=0.015)


def test_a_difference_is_judged_by_a_reference_implementation():
    from scipy.stats import permutation_test

    values = np.random.default_rng(2).normal(0.25, 1, 12)
    reference = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(values) == pytest.approx(reference.pvalue)


def test_several_tests_are_corrected_as_holm_does():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]


def _made_rows(count):
    """B:N is worse than B:B and N:N by 1, N:B than N:N by nothing but noise."""
    rng = np.random.default_rng(3)
    base, noise = rng.gamma(2, 4, count), rng.normal(0, 0.5, (2, count))
    noise -= noise.mean(axis=1, keepdims=True)
    values = {"B:B": base, "B:N": base + 1 + noise[0], "N:B": base + noise[1], "N:N": base}
    return {
        name: [{"stem": str(i), "SAD": v} for i, v in enumerate(sad)]
        for name, sad in values.items()
    }


def test_comparisons_are_paired_and_said_in_words():
    rows = _made_rows(40)
    comparisons = compare(rows)
    assert compare(rows) == comparisons
    assert compare(rows, seed=1) != comparisons
    first, second, third = comparisons
    for comparison in (first, second):
        sad = comparison.differences["SAD"]
        assert sad.mean == pytest.approx(1)
        assert 0.7 < sad.low < 1 < sad.high < 1.3  # of the pairs, not of the pictures
        assert comparison.p_holm == 3 / 10_001
        assert comparison.p == 1 / 10_001
        assert comparison.verdict.startswith("real: ")
        assert "errs more" in comparison.verdict
    assert third.differences["SAD"].low < 0 < third.differences["SAD"].high
    assert third.verdict.startswith("not shown")
    flipped = compare({**rows, "B:N": rows["B:B"], "B:B": rows["B:N"]})
    assert "errs less on normal faces than on blurred ones" in flipped[0].verdict


def test_equal_mattes_do_not_differ_by_rounding():
    rows = _made_rows(40)
    rows["B:N"] = [{**row, "SAD": row["SAD"] * (1 + 1e-13)} for row in rows["N:N"]]
    second = compare(rows)[1]
    assert second.differences["SAD"] == (0, 0, 0, 40)
    assert second.p == 1


def test_few_pictures_are_not_judged():
    for comparison in compare(_made_rows(29)):
        assert comparison.p is None
        assert comparison.p_holm is None
        assert comparison.differences["SAD"].low is None
        assert "29 pictures are too few to test significance; at least 30" in comparison.verdict
