"""Errors a user can cause. Their text is all that is shown: what is wrong, where, and what to do."""

from collections.abc import Callable


class UserError(Exception):
    """One clear message; the command prints it without a traceback and exits with 1.

    `<name>` in it stands for a config key, given by name. A command without a config calls keys by its options.
    """

    def __init__(self, text: str, **keys: str) -> None:
        """Keep the text, and the keys that it names."""
        super().__init__(text)
        self._text, self._keys = text, keys

    def __str__(self) -> str:
        """Return the message with the config's keys."""
        return self.called(lambda key: key)

    def called(self, name_of: Callable[[str], str]) -> str:
        """Return the message with its keys called as `name_of` calls them."""
        text = self._text
        for name, key in self._keys.items():
            text = text.replace(f"<{name}>", name_of(key))
        return text
