"""Batches as tasks of Label Studio, and the answers in its exports.

A task carries the row of the pool in its data, as ``badge_index`` and, where there are ids, ``badge_id``. What
exports call ``id`` is Label Studio's own number of the task. The answer is a choice in the control named
``label``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import numpy as np

from badge_jax.errors import InputError

INDEX, ID, LABEL = "badge_index", "badge_id", "label"

_ITEM = "item"  # the name of what is shown
_VARIABLE = re.compile(r"\$[\w\[\].{}]")  # the interface replaces $name by a field of the task
_IS_URL = re.compile(r"https?://|/", re.IGNORECASE)


def label_studio_tasks(
    rows: Sequence[int] | np.ndarray,
    *,
    classes: Sequence[str],
    ids: Sequence[str] | None = None,
    images: str | None = None,
    predicted: Sequence[int | None] | None = None,
    scores: Sequence[float] | None = None,
    model_version: str = "",
) -> list[dict[str, Any]]:
    """The tasks of a batch, to be imported as JSON.

    The data of a task are ``badge_index``, ``badge_id`` where there are ids, and what is shown: ``image``,
    which is ``images`` with the id behind it, or ``text``, which is the id or "row 7". You may change what is
    shown; leave the first two as they are. In an address (``http://``, ``https://``, or one that begins with
    ``/``) the id is percent-encoded; in a bucket's (``s3://``, ``gs://``) it stands as it is.

    Args:
        rows: [k] rows of the pool.
        classes: names of the classes.
        ids: [k] their ids; None if rows have none.
        images: where the images lie, such as ``https://images.example/``; it ends where the id begins.
        predicted: [k] the class that the model gives each row, or None where it is not to be shown. None: no
            task has a pre-annotation.
        scores: [k] the model's probability of that class.
        model_version: name of the model.

    Raises:
        InputError: for images without ids.

    Example:
        >>> from badge_jax.campaign import label_studio_tasks
        >>> tasks = label_studio_tasks([7, 3], classes=["cat", "dog"], predicted=[1, None], scores=[0.8, 0.6])
        >>> tasks[0]["data"], tasks[0]["predictions"][0]["result"][0]["value"]
        ({'badge_index': 7, 'text': 'row 7'}, {'choices': ['dog']})
        >>> tasks[0]["predictions"][0]["score"], "predictions" in tasks[1]
        (0.8, False)
    """
    if images is not None and ids is None:
        raise InputError("--image-urls are made of ids; wanted a campaign that was started with --ids")
    tasks: list[dict[str, Any]] = []
    for place, row in enumerate(rows):
        data: dict[str, Any] = {INDEX: int(row)}
        if ids is not None:
            data[ID] = ids[place]
        if images is not None and ids is not None:
            data["image"] = images + (quote(ids[place]) if _IS_URL.match(images) else ids[place])
        else:
            data["text"] = f"row {row}" if ids is None else ids[place]
        tasks.append({"data": data})
        label = None if predicted is None else predicted[place]
        if label is not None and scores is not None:
            tasks[-1]["predictions"] = [_prediction(classes[label], float(scores[place]), model_version)]
    return tasks


def labeling_interface(classes: Sequence[str], *, has_images: bool = False) -> str:
    """The labeling interface that these tasks want: XML, to be given to a project of Label Studio as its code.

    Args:
        classes: names of the classes.
        has_images: whether the tasks show images.

    Raises:
        InputError: for a name with a dollar sign that Label Studio would take for a field of the task.

    Example:
        >>> from badge_jax.campaign import labeling_interface
        >>> print(labeling_interface(["cat", "R&D"]), end="")
        <View>
          <Text name="item" value="$text"/>
          <Choices name="label" toName="item" choice="single-radio" required="true">
            <Choice value="cat"/>
            <Choice value="R&amp;D"/>
          </Choices>
        </View>
    """
    for name in classes:
        if found := _VARIABLE.search(name):
            raise InputError(
                f"class {name[:40]!r}: Label Studio takes {found[0]!r} for the start of a field's name; wanted "
                "a class without it, or --format csv"
            )
    shown = f'<Image name="{_ITEM}" value="$image"/>' if has_images else f'<Text name="{_ITEM}" value="$text"/>'
    lines = [
        "<View>",
        f"  {shown}",
        f'  <Choices name="{LABEL}" toName="{_ITEM}" choice="single-radio" required="true">',
        *(f'    <Choice value="{escape(name, {chr(34): "&quot;"})}"/>' for name in classes),
        "  </Choices>",
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def parsed_json(text: str) -> Any:
    """What a text says as JSON; None if it is none, or nested too deep."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def export_records(tasks: Any, path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The answers in an export, JSON or JSON-MIN.

    Each annotation is an answer. One that was cancelled is a skipped row; so is one without a choice. A task
    without an annotation says nothing, nor do predictions and drafts.

    Args:
        tasks: the export, parsed.
        path: of the file, for messages.

    Yields:
        Where the answer stands, and its texts ``id``, ``index`` (one of them may be missing) and ``label``.

    Raises:
        InputError: for anything that is no such export, or holds no annotation.

    Example:
        >>> from badge_jax.campaign.label_studio import export_records
        >>> tasks = [{"id": 1, "badge_index": 7, "label": "dog", "annotation_id": 5}]
        >>> list(export_records(tasks, "export.json"))
        [('export.json, task 1, annotation 5', {'index': '7', 'label': 'dog'})]
    """
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError(f"{path} is JSON, and not a list of objects; wanted an export of Label Studio")
    if not any("data" in task or INDEX in task or ID in task for task in tasks):
        raise InputError(
            f"{path} holds {len(tasks)} objects without data, {INDEX} or {ID}; wanted an export of Label Studio"
        )
    count = 0
    for number, task in enumerate(tasks, start=1):
        where = f"{path}, task {_short(task['id'])}" if "id" in task else f"{path}, task number {number}"
        for answer in _of_task(task, where) if "data" in task else _of_flat(task, where):
            count += 1
            yield answer
    if not count:
        raise InputError(f"{path} holds {len(tasks)} tasks and no annotation; wanted an export with answers")
    if not any(LABEL in task or "data" in task for task in tasks):
        raise InputError(
            f'{path}: no task has a field {LABEL}; wanted the answers of <Choices name="{LABEL}" …>; nothing '
            "was taken"
        )


def _prediction(name: str, score: float, model_version: str) -> dict[str, Any]:
    result = {"from_name": LABEL, "to_name": _ITEM, "type": "choices", "value": {"choices": [name]}}
    return {"model_version": model_version, "score": score, "result": [result]}


def _of_task(task: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The answers of a task in an export as JSON."""
    for annotation in _objects(task.get("annotations", []), f"{where}, annotations"):
        place = f"{where}, annotation {_short(annotation['id'])}" if "id" in annotation else where
        if not isinstance(task["data"], dict):
            raise InputError(
                f"{where}, data: found {_short(task['data'])}, wanted an object; nothing was taken"
            )
        is_skipped = annotation.get("was_cancelled") is True
        label = "" if is_skipped else _choice(annotation.get("result"), place)
        yield place, {**_names(task["data"], where), "label": label}


def _of_flat(task: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The answer of an object in an export as JSON-MIN, which has one for each annotation."""
    number = task.get("annotation_id", "")
    if number is None:  # a task without annotations, in an export of all tasks
        return
    place = where if number == "" else f"{where}, annotation {_short(number)}"
    label = task.get(LABEL, "")
    if isinstance(label, dict) and isinstance(label.get("choices"), list):
        label = _only(label["choices"], place)
    yield place, {**_names(task, where), "label": _text(label, f"{place}: its {LABEL}")}


def _choice(results: Any, where: str) -> str:
    """The choice that an annotation makes; "" for none."""
    choices: list[Any] = []
    others: list[Any] = []
    for result in _objects(results, f"{where}, result"):
        name, kind, value = (result.get(key) for key in ("from_name", "type", "value"))
        if name == LABEL:
            chosen = value.get("choices") if isinstance(value, dict) else None
            if kind != "choices" or not isinstance(chosen, list):
                raise InputError(
                    f"{where}: {LABEL} is of type {_short(kind)}; wanted choices; nothing was taken"
                )
            choices += chosen
        elif kind == "choices":
            others.append(name)
    if others and not choices:
        raise InputError(
            f"{where}: a choice in {_short(others[0])}, and none in {LABEL}; wanted the answers of <Choices "
            f'name="{LABEL}" …>; nothing was taken'
        )
    return _only(choices, where)


def _only(choices: Sequence[Any], where: str) -> str:
    if len(choices) > 1:
        raise InputError(f"{where}: {len(choices)} choices in {LABEL}; wanted one; nothing was taken")
    return _text(choices[0], f"{where}: its {LABEL}") if choices else ""


def _names(data: Mapping[str, Any], where: str) -> dict[str, str]:
    """Which row a task is about."""
    if INDEX not in data and ID not in data:
        raise InputError(
            f"{where}: its data have neither {INDEX} nor {ID}; wanted tasks of `campaign next --format "
            "label-studio`; nothing was taken"
        )
    named = {"index": data.get(INDEX), "id": data.get(ID)}
    return {key: _text(value, f"{where}: its badge_{key}") for key, value in named.items() if value is not None}


def _text(value: Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise InputError(f"{what} is {_short(value)}; wanted text or a number; nothing was taken")
    return str(value)


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise InputError(f"{what}: found {_short(value)}, wanted a list of objects; nothing was taken")
    return value


def _short(value: Any) -> str:
    """A value for messages, in one short line."""
    return repr(value)[:40]
