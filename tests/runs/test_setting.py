"""Settings and their names in titles and files."""

from itertools import product

from badge_jax.runs.setting import Setting, setting_of, unique_slugs


def test_of_a_configuration():
    config = {"seed": 3, "batch_size": 1000, "dataset": "letter", "model": "mlp", "strategy": "badge"}
    setting = setting_of(config)
    assert setting == Setting("letter", "mlp", 1000)
    assert setting.title == "letter, mlp, batches of 1,000"
    assert setting.slug == "letter_mlp_1000"
    assert Setting("openml:7", "mine:net(width=2)", 10).slug == "openml_7_mine_net_width_2__10"


def test_settings_that_share_a_slug_get_names_of_their_own():
    parts = [
        "a/b.npz",
        "a_b.npz",
        "A_b.npz",
        "a:b.npz",
        "$",
        "€",
        "_",
        "\ud800",
        "a",
        "x" * 300,
        "x" * 301,
        "ж" * 300,
    ]
    settings = [Setting(*words, 10) for words in product(parts, repeat=2)]
    names = unique_slugs([*settings, *settings])
    assert set(names) == set(settings)
    assert len({name.casefold() for name in names.values()}) == len(settings)
    for name in names.values():
        assert len(name.encode()) <= 160
        assert "/" not in name


def test_a_name_depends_on_the_setting_and_on_whether_it_is_shared():
    first, second, third = Setting("a/b", "m", 1), Setting("a_b", "m", 1), Setting("a:b", "m", 1)
    assert unique_slugs([first]) == {first: first.slug}
    assert unique_slugs([first, second])[first] == unique_slugs([third, first])[first] != first.slug
