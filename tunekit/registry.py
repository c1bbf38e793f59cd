"""A registry of named things, such as models: they are registered, looked up by name, and listed."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from tunekit.errors import UserError
from tunekit.parsing import did_you_mean

T = TypeVar("T")


class NameTaken(ValueError):
    """An item was registered under a name that is taken."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} is registered twice")
        self.kind, self.name = kind, name


class Registry(Generic[T]):
    """Items of one kind by their names; ``kind`` is the word that messages use, such as "model"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers an item under ``name``; it raises NameTaken where the name is taken."""

        def add(item: T) -> T:
            if name in self._items:
                raise NameTaken(self.kind, name)
            self._items[name] = item
            return item

        return add

    def remove(self, name: str) -> None:
        """Remove the item that is registered under ``name``. Raises KeyError where there is none."""
        del self._items[name]

    def __getitem__(self, name: str) -> T:
        """Return the item called ``name``. Raises UserError, which names the nearest item, where there is none."""
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
