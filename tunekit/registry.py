"""A registry of named things: register, look up with "did you mean", list."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from tunekit.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named items of one kind (``kind`` is the word used in messages, e.g. "model")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator (or plain call) that files an item under ``name``. Raises ValueError on a name already taken."""

        def add(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        """The item called ``name``. Raises UserError, with the nearest names, where there is none."""
        if name not in self._items:
            near = get_close_matches(str(name), self._items, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "no name is near it."
            raise UserError(f"unknown {self.kind} {name!r}: {hint} Known: {', '.join(self._items)}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
