"""Names of users as labels. Each label is a time series for good, so there must be an end of them."""

from __future__ import annotations

#: All names together that came when there were enough.
OTHER = "other"

#: A label has no more characters than this.
LABEL_CHARS_MAX = 200


class Labels:
    """The labels of one kind of name: the first names have their own, all later ones share `OTHER`."""

    __slots__ = ("_labels", "_most")

    def __init__(self, most: int) -> None:
        """Give `most` names labels of their own."""
        self._most = most
        self._labels: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return the label of a name."""
        label = self._labels.get(name)
        if label is not None:
            return label
        if len(self._labels) >= self._most:
            return OTHER
        label = name if len(name) <= LABEL_CHARS_MAX else f"{name[: LABEL_CHARS_MAX - 3]}..."
        self._labels[name] = label
        return label

    def has_own(self, name: str) -> bool:
        """Return whether a name that was asked for before has a label of its own."""
        return name in self._labels
