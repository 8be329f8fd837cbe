"""What griffe is told while it reads docstrings: our heading "Example:" is its section of examples."""

import griffe


class Examples(griffe.Extension):
    """Reads "Example:" as "Examples:", so that what follows is shown as code."""

    def on_instance(self, *, obj, **kwargs):
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
