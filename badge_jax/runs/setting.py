"""What a comparison of strategies is about: a data set, a network and a batch size."""

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_LONGEST_SLUG = 120  # bytes; file systems allow 255 for a whole name


class Setting(NamedTuple):
    """Where strategies are compared. Runs of one setting differ in their strategy and seed.

    Attributes:
        dataset: The data set as in config.json: a name, ``openml:ID``, a file or a function.
        model: The network as in config.json.
        batch_size: Labels queried a round.
    """

    dataset: str
    model: str
    batch_size: int

    @property
    def title(self) -> str:
        """The setting in words.

        Example:
            >>> Setting("letter", "mlp", 1000).title
            'letter, mlp, batches of 1,000'
        """
        return f"{self.dataset}, {self.model}, batches of {self.batch_size:,}"

    @property
    def slug(self) -> str:
        """The setting as part of a file name. Two settings may share a slug: see `unique_slugs`.

        Example:
            >>> Setting("openml:184", "mlp", 1000).slug
            'openml_184_mlp_1000'
        """
        return re.sub(r"[^\w.-]+", "_", f"{self.dataset}_{self.model}_{self.batch_size}")


def setting_of(config: Mapping[str, Any]) -> Setting:
    """The setting of a run.

    Args:
        config: The content of the run's config.json.

    Returns:
        Its data set, network and batch size.

    Example:
        >>> setting_of({"dataset": "letter", "model": "mlp", "batch_size": 100, "strategy": "badge", "seed": 0})
        Setting(dataset='letter', model='mlp', batch_size=100)
    """
    return Setting(*(config[name] for name in Setting._fields))


def unique_slugs(settings: Iterable[Setting]) -> dict[Setting, str]:
    """A file name for each setting, no two alike, also where upper and lower case count as the same.

    Args:
        settings: The settings of one folder; repeats are ignored.

    Returns:
        Setting → its slug. Slugs that clash, or are too long for a file name, end in a checksum of the setting.

    Example:
        >>> settings = [Setting(dataset, "mlp", 9) for dataset in ("a/b.npz", "a_b.npz", "c")]
        >>> list(unique_slugs(settings).values())
        ['a_b.npz_mlp_9-e27a4aac', 'a_b.npz_mlp_9-2b12dee4', 'c_mlp_9']
    """
    sharing: dict[str, list[Setting]] = defaultdict(list)
    for setting in dict.fromkeys(settings):
        sharing[setting.slug.casefold()].append(setting)
    return {
        setting: setting.slug
        if len(group) == 1 and len(setting.slug.encode()) <= _LONGEST_SLUG
        else f"{setting.slug[: _LONGEST_SLUG // 4]}-{zlib.crc32(repr(tuple(setting)).encode()):08x}"
        for group in sharing.values()
        for setting in group
    }
