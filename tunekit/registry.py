"""A registry of named things: register, look up with "did you mean", list."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

T = TypeVar("T")


class NameTaken(ValueError):
    """Something is registered under a name that is another's."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} is registered twice")
        self.kind, self.name = kind, name


class Registry(Generic[T]):
    """Named items of one kind (``kind`` is the word used in messages, e.g. "model")."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator (or plain call) that files an item under ``name``. Raises NameTaken."""

        def add(item: T) -> T:
            if name in self._items:
                raise NameTaken(self.kind, name)
            self._items[name] = item
            return item

        return add

    def remove(self, name: str) -> None:
        """Take ``name`` out."""
        del self._items[name]

    def __getitem__(self, name: str) -> T:
        """The item called ``name``. Raises UserError, with the nearest names, where there is none."""
        if name not in self._items:
            hint = did_you_mean(name, self._items) or "."
            raise UserError(f"unknown {self.kind} {name!r}{hint} Registered {self.kind}s: {', '.join(self._items)}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
