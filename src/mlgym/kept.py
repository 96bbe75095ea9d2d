"""The attempts of an episode as they are stored, with their files; and graded on both splits at its end."""

from mlgym import outcome
from mlgym.cache import cache_dir
from mlgym.env import ResearchEnv
from mlgym.sandbox import scratch
from mlgym.store import Episode


class Kept:
    """The stored attempts, by number in `by_n`; those of an interrupted episode are given to the environment."""

    def __init__(self, store: Episode, research: ResearchEnv) -> None:
        self.by_n = {attempt.n: attempt for attempt in store.attempts()}
        self._store, self._research = store, research
        research.recorded, research.checkout = dict(self.by_n), store.checkout

    def add_new(self) -> None:
        """Store the attempts that were made since."""
        attempts = self._research.attempts
        for attempt in attempts.made:
            if self.by_n.get(attempt.n) == attempt:
                continue
            files = attempts.frozen.get(attempt.n)
            self._store.add_attempt(attempt, [files, files.with_name("code")] if files else [])
            self.by_n[attempt.n] = attempt
            self._store.prune(filter(None, (attempt, outcome.selected(self.by_n.values(), self._research.task))))

    def score_all(self) -> list[str]:
        """Grade what is valid on the splits that it lacks; returns a note for each whose files are gone.

        Raises GradingError.
        """
        notes = []
        for n, attempt in sorted(self.by_n.items()):
            if not attempt.valid or (attempt.test is not None and attempt.validation is not None):
                continue
            with scratch(cache_dir() / "scratch") as folder:
                try:
                    files = self._store.checkout(attempt.files, folder)
                except FileNotFoundError:
                    notes.append(f"Attempt {n}: its files were let go for space, so it has no test score.")
                    continue
                self.by_n[n] = self._research.attempts.complete(attempt, files)
            self._store.add_attempt(self.by_n[n])
        return notes
