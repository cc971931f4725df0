"""A user: a name, groups, and what else the proof said."""

from __future__ import annotations

from dataclasses import dataclass

from fairway.apiserver.access.roles import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED


@dataclass(frozen=True)
class User:
    """``name`` and ``groups`` as Kubernetes reads them from a certificate: its CN and its Os.

    ``extra`` are further facts about the proof, such as which token it was.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def known(self) -> User:
        """The same user as a member of everybody who has shown who they are."""
        if AUTHENTICATED in self.groups:
            return self
        return User(self.name, (*self.groups, AUTHENTICATED), self.uid, self.extra)


NOBODY = User(ANONYMOUS, (UNAUTHENTICATED,))
