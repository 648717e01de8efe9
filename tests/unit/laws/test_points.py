import numpy as np

from clip_scaling.laws.points import all_points, binned_minimum, frontier, hull


def test_binned_minimum_takes_the_best_run_of_each_bin_at_the_bin_s_centre():
    # Range [0, 4.9 + 0.1] in 5 bins of width 1: bins hold {0, 0.5}, {1.2}, {}, {3.9}, {4.9}.
    x = np.array([0.0, 0.5, 1.2, 3.9, 4.9])
    y = np.array([1.0, 0.8, 0.9, 0.5, 0.6])
    chosen = binned_minimum(x, y)
    assert chosen.used.tolist() == [True, True, False, True, True]
    assert chosen.index[chosen.used].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(chosen.log_compute[chosen.used], [0.5, 1.5, 3.5, 4.5])


def test_binned_minimum_can_stand_at_the_winners_own_compute():
    x = np.array([0.0, 0.5, 1.2, 3.9, 4.9])
    y = np.array([1.0, 0.8, 0.9, 0.5, 0.6])
    chosen = binned_minimum(x, y, at_centre=False)
    np.testing.assert_allclose(chosen.log_compute[chosen.used], [0.5, 1.2, 3.9, 4.9])


def test_the_strict_frontier_drops_equalled_and_beaten_runs():
    x = np.array([3.0, 1.0, 2.0, 2.0, 4.0])
    y = np.array([0.5, 0.9, 0.7, 0.8, 0.5])
    chosen = frontier(x, y)
    assert chosen.index[chosen.used].tolist() == [1, 2, 0]


def test_the_hull_drops_frontier_runs_above_a_chord():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    y = np.array([0.0, -0.5, -2.0, -2.5])  # run 1 lies above the chord from run 0 to run 2
    chosen = hull(x, y)
    assert chosen.index[chosen.used].tolist() == [0, 2, 3]


def test_choices_of_a_batch_equal_the_choices_of_its_rows():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 7, 12))
    for choose in (all_points, binned_minimum, frontier, hull):
        batch = choose(x, y)
        for row in range(len(x)):
            alone = choose(x[row], y[row])
            np.testing.assert_array_equal(batch.index[row][batch.used[row]], alone.index[alone.used])
            np.testing.assert_array_equal(batch.log_compute[row][batch.used[row]], alone.log_compute[alone.used])
